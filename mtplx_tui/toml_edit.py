"""TOML as people edit it: read with its errors named, and changed one value at a time.

All else stays as it is, comments too. Every edit is read back before it is handed out: a text too
intricate for a line editor is refused, never damaged.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mtplx_tui.files import read_whole

__all__ = ["line_of", "read_text", "read_toml", "with_value"]

_LONGEST_VALUE = 200
"""Lines a value that is replaced may span."""


def read_text(path: Path) -> str:
    """Return a file's text without a byte order mark; empty where there is no file.

    Raises:
        OSError: it can't be read.
        ValueError: it is not UTF-8 text.
    """
    try:
        if path.exists() and not path.is_file():
            raise OSError(None, "it is not a file")
        return read_whole(path, "utf-8-sig")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None


def read_toml(text: str) -> dict[str, object]:
    """Return what a TOML text holds. Raises ValueError with the line where it is none."""
    try:
        return dict[str, object](tomllib.loads(text))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def line_of(text: str, key: str, section: str = "") -> int | None:
    """Return the line, counted from 1, on which a key or a table begins; None if it can't be told.

    Args:
        text: a TOML document.
        key: a key.
        section: the table it is in; "" for the top.
    """
    quoted = rf"[\"']?{re.escape(key)}[\"']?"
    if section:
        quoted = rf"(?:[\"']?{re.escape(section)}[\"']?\s*\.\s*)?{quoted}"
    begins = re.compile(rf"\s*(?:\[+\s*{quoted}\s*[\].]|{quoted}\s*[=.])")
    lines = text.split("\n")
    for number, line in enumerate(lines):
        before = _parsed("\n".join(lines[:number])) if begins.match(line) else None
        if before is None or _has(before, key, section):
            continue
        for end in range(number + 1, min(number + _LONGEST_VALUE, len(lines)) + 1):
            if _has(_parsed("\n".join(lines[:end])), key, section):
                return number + 1
    return None


def _has(content: dict[str, Any] | None, key: str, section: str) -> bool:
    table = (content or {}).get(section) if section else content
    return isinstance(table, dict) and key in table


def with_value(text: str, key: str, value: object, section: str = "") -> str:
    """Return the text with a key set, or taken out where the value is None.

    Args:
        text: a TOML document.
        key: a key; it is quoted where it has to be.
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
    except (ValueError, RecursionError):
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
    name = key if re.fullmatch(r"[\w-]+", key, re.ASCII) else json.dumps(key)
    line = [] if value is None else [f"{name} = {_written(value)}\n"]
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
