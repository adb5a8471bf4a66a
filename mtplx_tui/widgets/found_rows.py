"""Rows of text as one that can be searched, and the places found in them, row by row."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate

from mtplx_tui.finding import Hit

__all__ = ["FoundRows"]

Span = tuple[int, int, bool]
"""First character of a row, the one behind the last, and whether the place is the marked one."""


class FoundRows:
    """Rows joined by a blank each, as words that were wrapped are.

    Args:
        rows: their texts.
    """

    def __init__(self, rows: Iterable[str] = ()) -> None:
        self._rows = list(rows)
        self._starts = list(accumulate((len(row) + 1 for row in self._rows), initial=0))
        self._spans: dict[int, list[Span]] = {}

    @property
    def text(self) -> str:
        """All of them as one."""
        return " ".join(self._rows)

    def row_of(self, character: int) -> int:
        """Return the row that a character of the text stands in."""
        return min(bisect_right(self._starts, character) - 1, max(0, len(self._rows) - 1))

    def mark(self, hits: Iterable[Hit], marked: Hit | None) -> None:
        """Take these places for those found."""
        self._spans = {}
        for hit in hits:
            for row in range(self.row_of(hit.start), self.row_of(hit.end - 1) + 1):
                start = self._starts[row]
                end = min(hit.end - start, len(self._rows[row]))
                span = (max(0, hit.start - start), end, hit == marked)
                self._spans.setdefault(row, []).append(span)

    def spans(self, row: int) -> list[Span]:
        """Return what was found in a row."""
        return self._spans.get(row, [])
