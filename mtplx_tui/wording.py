"""Figures and texts as a person reads them."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["cells", "duration", "for_a_field", "in_bytes", "read_bytes", "read_size", "showable"]

_UNSHOWABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_UNITS = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


def in_bytes(count: float) -> str:
    """Return a number of bytes in three digits."""
    for unit, size in _UNITS:
        if count >= size:
            figure = count / size
            return (
                f"{figure:.2f} {unit}"
                if figure < 10
                else f"{figure:.1f} {unit}"
                if figure < 100
                else f"{figure:.0f} {unit}"
            )
    return f"{count:.0f} B"


def duration(seconds: float) -> str:
    """Return a time to wait, in its two largest parts."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def read_bytes(text: str) -> float:
    """Return the number of bytes that a text such as 20MB names. Raises ValueError."""
    text = text.strip().lower().removesuffix("/s").removesuffix("b")
    scales = {"k": 1e3, "m": 1e6, "g": 1e9}
    scale = scales.get(text[-1:], 1.0)
    count = float(text[:-1] if text[-1:] in scales else text) * scale
    if not 1 <= count < 1e15:
        raise ValueError("no such size")
    return count


def read_size(text: str) -> int:
    """Return the number of bytes that a text such as 4GB names, or 0. Raises ValueError."""
    return 0 if text == "0" else int(read_bytes(text))


def cells(text: str) -> int:
    """Return how many cells of a terminal a text takes that has neither tabs nor line ends."""
    return len(text) if text.isascii() else sum(map(_cells_of, text))


def _cells_of(sign: str) -> int:
    if unicodedata.category(sign) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(sign) in ("W", "F") else 1


def showable(text: str) -> str:
    """Return a text without what would steer the terminal or could not be encoded."""
    text = text.replace("\r\n", "\n")
    return _UNSHOWABLE.sub(_mark, text)


def for_a_field(text: str) -> str:
    """Return a text as it may stand in a field, which draws all signs as they are: none that steers the terminal.

    Line ends are newlines; marks of direction stay, they are part of what is written.
    """
    return _STEERING.sub(_mark, text.replace("\r\n", "\n").replace("\r", "\n"))


def _mark(match: re.Match[str]) -> str:
    code = ord(match.group())
    if 0x2000 <= code < 0x2100:
        return ""  # turns the direction of what comes behind it, to the end of the terminal's line
    if code == 0x7F:
        return "␡"
    return chr(0x2400 + code) if code < 0x20 else "\ufffd"
