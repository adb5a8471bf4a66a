"""Rows cut and restyled, by cells and by characters."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

__all__ = ["cropped", "restyled"]

LEAST_GROUP = 5
"""Cells from which on something cut can be read."""


def restyled(strip: Strip, start: int, end: int, style: Style) -> Strip:
    """Return a row with some of its characters in another style."""
    text = strip.text
    left, right = cell_len(text[:start]), cell_len(text[:end])
    inside = strip.crop(left, right)
    marked = Strip([type(s)(s.text, (s.style or Style()) + style) for s in inside])
    return Strip.join([strip.crop(0, left), marked, strip.crop(right, strip.cell_length)])


def cropped(segments: list[Segment], room: int, more: str) -> list[Segment]:
    """Return segments cut to a number of cells, the cut marked; the mark alone where it must.

    Two marks side by side would read as one number, so there is nothing where no cell is left.
    """
    if room < LEAST_GROUP:
        return segments[: max(0, min(1, room))]
    if sum(cell_len(segment.text) for segment in segments) <= room:
        return segments
    kept: list[Segment] = []
    left = room - 1
    for segment in segments:
        cells = cell_len(segment.text)
        if cells > left:
            kept.append(Segment(set_cell_size(segment.text, left) + more, segment.style))
            break
        kept.append(segment)
        left -= cells
    return kept
