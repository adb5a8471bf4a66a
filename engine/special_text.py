"""Keeps text from outside from being read as special tokens.

A message may hold what the tokenizer takes for a special token, such as a mark that ends a turn.
It is put between two characters that no text has, and read as plain text there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

__all__ = ["SpecialText"]

_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
"""Noncharacters of Unicode, for a program's own use; in a text from outside they are replaced."""
_REPLACED = {ord(mark): "\ufffd" for mark in (_OPEN, _CLOSE)}
_MARKED = re.compile(f"{_OPEN}([^{_CLOSE}]*){_CLOSE}")


class SpecialText:
    """See the module.

    Args:
        tokens: texts of the tokenizer's special tokens.
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        longest_first = sorted(filter(None, tokens), key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def quoted(self, text: str) -> str:
        """Return a text from outside with what looks like special tokens between marks."""
        clean = text.translate(_REPLACED)
        return self._special.sub(lambda found: f"{_OPEN}{found[0]}{_CLOSE}", clean)

    def shown(self, text: str) -> str:
        """Return a text without the marks."""
        return _MARKED.sub(lambda found: found[1], text)

    def parts(self, text: str) -> Iterator[tuple[int, str, bool]]:
        """Yield where each part of a text begins, the part, and whether it is plain text.

        The whole text is one part where nothing is marked, also where it is empty.
        """
        at = 0
        for found in _MARKED.finditer(text):
            if found.start() > at:
                yield at, text[at : found.start()], False
            yield found.start(1), str(found[1]), True
            at = found.end()
        if at < len(text) or not at:
            yield at, text[at:], False
