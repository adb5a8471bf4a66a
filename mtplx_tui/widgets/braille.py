"""Curves drawn into text: braille dots, two by four a cell, or plain signs. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

__all__ = ["Dots", "area", "plain_area"]

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
    heights = _heights(values, 4 * rows, low, high)
    pairs = zip(heights[::2], heights[1::2], strict=True)
    return _stacked([_column(left, right, rows) for left, right in pairs], rows)


def plain_area(
    values: Sequence[float | None], rows: int, low: float, high: float
) -> tuple[str, ...]:
    """Return the same of plain signs, for terminals without braille."""
    steps = len(PLAIN) - 1
    heights = _heights(values, steps * rows, low, high)
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


def _heights(values: Sequence[float | None], most: int, low: float, high: float) -> list[int]:
    """Return heights in dots, an even number of them; written for speed, a call a lane a second."""
    scale = most / (high - low) if high > low else 0.0
    base = 0.5 - low * scale
    heights = [
        0 if value is None else 1 if (dots := int(value * scale + base)) < 1 else dots
        for value in values
    ]
    if heights and max(heights) > most:
        heights = [min(height, most) for height in heights]
    if len(heights) % 2:
        heights.insert(0, 0)
    return heights


def _dots(column: tuple[int, ...], filled: int) -> int:
    return column[min(filled, 4) - 1] if filled > 0 else 0


class Dots:
    """A sheet of cells, two by four dots each, that lines are drawn on.

    Args:
        columns: cells across.
        rows: cells down.
    """

    WIDE, HIGH = 2, 4
    _BITS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
    """By column and row within a cell, from the top left."""

    def __init__(self, columns: int, rows: int) -> None:
        self._cells = [[0] * columns for _ in range(rows)]

    def line(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Draw a line between two places in cells from the top left; what lies outside is cut."""
        (x0, y0), (x1, y1) = start, end
        steps = max(1, round(max(self.WIDE * abs(x1 - x0), self.HIGH * abs(y1 - y0))))
        for step in range(steps + 1):
            share = step / steps
            self._set(x0 + share * (x1 - x0), y0 + share * (y1 - y0))

    def signs(self, *, is_plain: bool = False) -> list[tuple[int, int, str]]:
        """Return row, column and sign of each cell that has a dot; a full stop if plain."""
        return [
            (at, column, "." if is_plain else chr(0x2800 + dots))
            for at, row in enumerate(self._cells)
            for column, dots in enumerate(row)
            if dots
        ]

    def _set(self, x: float, y: float) -> None:
        across, down = int(self.WIDE * x), int(self.HIGH * y)
        column, row = across // self.WIDE, down // self.HIGH
        if 0 <= row < len(self._cells) and 0 <= column < len(self._cells[row]):
            self._cells[row][column] |= self._BITS[across % self.WIDE][down % self.HIGH]
