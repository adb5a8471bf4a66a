"""Curves drawn into text: braille dots, two by four a cell, or plain signs. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

__all__ = ["area", "plain_area"]

LEFT = (0x40, 0x44, 0x46, 0x47)
"""The left column of a cell, filled from below to one, two, three or four dots."""
RIGHT = (0x80, 0xA0, 0xB0, 0xB8)
PLAIN = " .:#"


def area(values: Sequence[float | None], rows: int, low: float, high: float) -> tuple[str, ...]:
    """Return rows of braille, the highest first: the area under a curve.

    Args:
        values: two a cell; a value at or below `low` shows as one dot, None as nothing.
        rows: how many cells high.
        low: the value of the ground.
        high: the value of the top.
    """
    heights = [_height(value, 4 * rows, low, high) for value in values]
    if len(heights) % 2:
        heights.insert(0, 0)
    pairs = zip(heights[::2], heights[1::2], strict=True)
    return _stacked([_column(left, right, rows) for left, right in pairs], rows)


def plain_area(
    values: Sequence[float | None], rows: int, low: float, high: float
) -> tuple[str, ...]:
    """Return the same of plain signs, for terminals without braille."""
    steps = len(PLAIN) - 1
    heights = [_height(value, steps * rows, low, high) for value in values]
    if len(heights) % 2:
        heights.insert(0, 0)
    pairs = zip(heights[::2], heights[1::2], strict=True)
    return _stacked([_plain_column(max(pair), rows) for pair in pairs], rows)


def _stacked(columns: Sequence[str], rows: int) -> tuple[str, ...]:
    """Return columns, each read from the top, as rows."""
    return tuple("".join(row) for row in zip(*columns, strict=True)) if columns else ("",) * rows


@lru_cache(maxsize=8192)
def _column(left: int, right: int, rows: int) -> str:
    """Return a column of braille, filled to two heights in dots."""
    cells = []
    for row in reversed(range(rows)):
        dots = _dots(LEFT, left - 4 * row) | _dots(RIGHT, right - 4 * row)
        cells.append(chr(0x2800 + dots) if dots else " ")
    return "".join(cells)


@lru_cache(maxsize=512)
def _plain_column(height: int, rows: int) -> str:
    steps = len(PLAIN) - 1
    return "".join(PLAIN[min(max(height - steps * row, 0), steps)] for row in reversed(range(rows)))


def _height(value: float | None, most: int, low: float, high: float) -> int:
    if value is None:
        return 0
    share = (value - low) / (high - low) if high > low else 0.0
    return min(max(round(share * most), 1), most)


def _dots(column: tuple[int, ...], filled: int) -> int:
    return column[min(filled, 4) - 1] if filled > 0 else 0
