"""Changes one value in a TOML text and leaves everything else as it stands, comments too.

Every edit is read back before it is handed out: a text too intricate for a line editor is
refused, never damaged.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any

__all__ = ["with_value"]

_LONGEST_VALUE = 200
"""Lines a value that is replaced may span."""


def with_value(text: str, key: str, value: object, section: str = "") -> str:
    """Return the text with a key set, or taken out where the value is None.

    Args:
        text: a TOML document.
        key: a bare key.
        value: str, bool, int, float or None.
        section: name of the table the key is in; "" for the top.

    Raises:
        ValueError: the text is no TOML, or the key stands in a way that can't be edited.
    """
    old = _parsed(text)
    if old is None:
        raise ValueError("it is not valid TOML")
    wanted = _expected(old, key, value, section)
    if wanted == old:
        return text
    for candidate in _candidates(text.splitlines(keepends=True), key, value, section):
        if _parsed(candidate) == wanted:
            return candidate
    raise ValueError(f"{key} stands there in a way that can't be edited")


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _expected(old: dict[str, Any], key: str, value: object, section: str) -> dict[str, Any]:
    wanted = dict(old)
    table = wanted
    if section:
        table = wanted[section] = dict(wanted.get(section, {}))
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value
    return old if value is None and section not in ("", *old) else wanted


def _candidates(lines: list[str], key: str, value: object, section: str) -> Iterator[str]:
    """Yield possible new texts, the most careful first."""
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    line = [] if value is None else [f"{key} = {_written(value)}\n"]
    named = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=")
    for start, old in enumerate(lines):
        if named.match(old):
            for end in range(start + 1, min(start + _LONGEST_VALUE, len(lines)) + 1):
                new = [_with_comment(line[0], old)] if line and end == start + 1 else line
                yield "".join([*lines[:start], *new, *lines[end:]])
    if section:
        header = re.compile(rf"\s*\[\s*[\"']?{re.escape(section)}[\"']?\s*\]")
        starts = [at + 1 for at, old in enumerate(lines) if header.match(old)]
    else:
        starts = [at for at, old in enumerate(lines) if old.lstrip().startswith("[")]
        starts = starts or [len(lines)]
    for at in starts:
        yield "".join([*lines[:at], *line, *lines[at:]])
    gap = ["\n"] if lines else []
    yield "".join([*lines, *gap, f"[{section}]\n", *line]) if section else ""


def _with_comment(line: str, old: str) -> str:
    """Return a new line with the comment that stood behind the old one's value."""
    for match in re.finditer("#", old):
        if _parsed(old[: match.start()]) is not None:
            gap = re.search(r"\s*$", old[: match.start()])
            space = gap.group() if gap else " "
            return f"{line.rstrip()}{space}{old[match.start() :].rstrip()}\n"
    return line


def _written(value: object) -> str:
    """Return a value as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    text = str(value)
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("a text with a broken character can't be kept")
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
