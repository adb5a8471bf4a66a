"""Breaks streamed text at blanks, where a terminal would break it in the midst of a word.

A word is held back until what follows shows that it is whole, which is mostly the next token: so
nothing that was written has to be taken back, and any terminal will do. What must keep its lines, code and
tables, is left to the terminal, which copies it without breaks of ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from mtplx_tui.wording import cells

__all__ = ["Wrapping"]

_PARTS = re.compile(r"\n|[ \t]+|[^ \t\n]+")
_IDEOGRAPHS = re.compile(r"([\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff00-\uff60])")
"""Signs of scripts without blanks: a line may end behind each, but not before what ends a sentence."""
_NOT_FIRST = "、。，．！？：；）」』】〉》・ー"  # noqa: RUF001 - meant as they are
_FENCES = ("```", "~~~")
_CODE_INDENT = 4
_TAB = 8


class Wrapping:
    """See the module.

    Args:
        columns: tells how wide the terminal is now; 0 where it can't be told, which breaks nothing.
    """

    def __init__(self, columns: Callable[[], int]) -> None:
        self._columns = columns
        self._column = 0
        """Cells of the present line that are written."""
        self._gap = ""
        """Blanks behind them, not written yet."""
        self._word = ""
        """What is held back: the beginning of a word."""
        self._is_cut = False
        """Whether a part of that word was written, being longer than a line."""
        self._begins = True
        """Whether nothing but blanks was in this line of the text yet."""
        self._is_fenced = False
        self._keeps_line = False
        """Whether this line is code, or a row of a table."""

    def add(self, text: str) -> str:
        """Return what is to be written now that a text came."""
        columns = self._columns()
        return "".join(self._take(part, columns) for part in _PARTS.findall(text))

    def rest(self) -> str:
        """Return what was held back; the text is at its end, or goes on elsewhere."""
        return self._end_word(self._columns())

    def _take(self, part: str, columns: int) -> str:
        if part == "\n":
            written = self._end_word(columns) + "\n"
            self._column, self._gap, self._begins = 0, "", True
            return written
        if part[0] in " \t":
            written = self._end_word(columns)
            self._gap += part
            return written
        *whole, self._word = _pieces(self._word + part)
        written = "".join(self._put(piece, columns) for piece in whole)
        if columns and len(self._word) > columns:
            written += self._end_word(columns)
            self._is_cut = True
        return written

    def _end_word(self, columns: int) -> str:
        word, self._word = self._word, ""
        written = self._put(word, columns) if word else ""
        self._is_cut = False
        return written

    def _put(self, piece: str, columns: int) -> str:
        """Return a part of the text that no line may end in, behind the blanks before it or a line's end."""
        if self._begins:
            self._look_at_line(piece)
        gap, self._gap = self._gap, ""
        wide = cells(piece)
        end = len((" " * self._column + gap).expandtabs(_TAB)) + wide
        stays = end <= columns or not columns or not self._column
        if stays or self._keeps_line or self._is_cut:
            written = gap + piece
        else:
            written, end = f"\n{piece}", wide
        # Longer than a line, it is broken by the terminal.
        self._column = end if end <= columns or not columns else (end - 1) % columns + 1
        self._is_cut = False
        return written

    def _look_at_line(self, word: str) -> None:
        """Find out from a line's first word whether it is code or a table."""
        self._begins = False
        is_fence = word.startswith(_FENCES)
        is_code = "\t" in self._gap or len(self._gap) >= _CODE_INDENT
        self._keeps_line = self._is_fenced or is_fence or is_code or word.startswith("|")
        if is_fence:
            self._is_fenced = not self._is_fenced


def _pieces(word: str) -> Iterator[str]:
    """Yield the parts of a word between which a line may end."""
    begun = ""
    for piece in _IDEOGRAPHS.split(word):
        if begun and piece and piece[0] not in _NOT_FIRST and _may_end(begun, piece):
            yield begun
            begun = ""
        begun = f"{begun}{piece}"
    if begun:
        yield begun


def _may_end(before: str, after: str) -> bool:
    """Whether an ideograph is on either side."""
    return bool(_IDEOGRAPHS.match(before[-1]) or _IDEOGRAPHS.match(after[0]))
