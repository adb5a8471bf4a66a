"""One line with something at each end: the left end is cut where both don't fit."""

from __future__ import annotations

from dataclasses import dataclass

from textual.content import Content
from textual.widgets import Static

from mtplx_tui.marks import UNICODE, Marks

GAP = 2
LEAST_LEFT = 3
"""One in so many cells is the left end's, before an aside gets any."""


@dataclass(frozen=True, slots=True)
class Ends:
    """What the line tells."""

    left: Content
    right: Content
    aside: Content
    """Before the right end, where there is room for it."""


class Heading(Static):
    """A line that fits itself to its width."""

    DEFAULT_CSS = "Heading { height: 1; text-wrap: nowrap; text-overflow: clip; }"

    def __init__(self, marks: Marks = UNICODE, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self._marks = marks
        self._ends: Ends | None = None

    def show(self, ends: Ends) -> None:
        """Show this from now on."""
        self._ends = ends
        self._draw()

    def on_resize(self) -> None:
        """Fit the line to the width."""
        self._draw()

    def _draw(self) -> None:
        width = self.content_size.width
        if self._ends is None or not width:
            return
        line = heading_line(self._ends, width, self._marks)
        if line != self.content:
            self.update(line, layout=False)


def heading_line(ends: Ends, width: int, marks: Marks) -> Content:
    """Return the line for a width."""
    left, right = ends.left, ends.right
    full = Content.assemble(ends.aside, "   ", right)
    if ends.aside and width - full.cell_length - GAP >= min(left.cell_length, width // LEAST_LEFT):
        right = full
    room = max(0, width - right.cell_length - GAP)
    if left.cell_length > room:
        left = left.truncate(max(0, room - 1)) + Content(marks.more)
    gap = " " * max(0, width - left.cell_length - right.cell_length)
    return Content.assemble(left, gap, right)
