"""The legend of the ribbon: each mark in its colour, and how many tokens bear it."""

from __future__ import annotations

from dataclasses import dataclass, field

from textual.content import Content
from textual.widgets import Static

from engine.protocol import MAX_DEPTH
from mtplx_tui.marks import UNICODE, Marks
from mtplx_tui.view import RequestView
from mtplx_tui.widgets.ribbon_lines import BONUS, PLAIN, RESIDUAL, kind_of, mark_of

WORDS = {PLAIN: "plain", BONUS: "bonus", RESIDUAL: "residual"}


@dataclass(slots=True)
class Tally:
    """Counts the kinds of an answer's tokens, looking at each cycle once."""

    request: str = ""
    taken: int = 0
    kinds: list[int] = field(default_factory=lambda: [0] * (MAX_DEPTH + 3))
    rejected: int = 0

    def follow(self, request: RequestView) -> None:
        """Count what is new in an answer; another answer is counted from its start."""
        if request.request != self.request or len(request.cycles) < self.taken:
            self.request, self.taken, self.rejected = request.request, 0, 0
            self.kinds = [0] * (MAX_DEPTH + 3)
        for cycle in request.cycles.since(self.taken):
            for index in range(len(cycle.emitted)):
                self.kinds[kind_of(cycle, index)] += 1
            self.rejected += cycle.accepted < cycle.depth
        self.taken = len(request.cycles)


class DepthLegend(Static):
    """One line, always there."""

    DEFAULT_CSS = """
    DepthLegend { height: 1; text-wrap: nowrap; text-overflow: clip; background: $surface; padding: 0 1; }
    """

    def __init__(self, marks: Marks = UNICODE, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self._marks = marks
        self._tally = Tally()
        self._depth = 0

    def show(self, request: RequestView | None, depth: int | None) -> None:
        """Count an answer's tokens.

        Args:
            request: the answer, if there is one.
            depth: that would be drafted to without one; None: automatic.
        """
        if request is None:
            self._tally, self._depth = Tally(), depth or 0
        else:
            self._tally.follow(request)
            self._depth = request.depth_now
        self._draw()

    def on_resize(self) -> None:
        """Fit the line to the width."""
        self._draw()

    def _draw(self) -> None:
        line = legend_line(self._tally, self._depth, self.size.width, self._marks)
        if line != self.content:
            self.update(line, layout=False)


def legend_line(tally: Tally, depth: int, width: int, marks: Marks) -> Content:
    """Return the line: with words where they fit, else with marks and counts alone.

    What does not fit even so is left out whole: half a number would be another one.
    """
    entries: list[Content] = []
    for gap, has_words, has_title in LADDER:
        entries = _entries(tally, depth, marks, has_words=has_words)
        if has_title and _most(tally, depth):
            entries.insert(0, Content.styled("accepted", "dim"))
        line = Content(gap).join(entries)
        if line.cell_length <= width:
            return line
    while entries:
        entries.pop()
        line = Content(LADDER[-1][0]).join([*entries, Content(marks.more)])
        if line.cell_length <= width:
            return line
    return Content("")


LADDER = (("   ", True, True), ("  ", True, True), ("  ", True, False), ("  ", False, False))
"""Gap, words or marks alone, a title or none: the first that fits is taken."""


def _entries(tally: Tally, depth: int, marks: Marks, *, has_words: bool) -> list[Content]:
    most = _most(tally, depth)
    if not most and not any(tally.kinds[PLAIN + 1 :]):
        return [_counted(PLAIN, tally, marks, has_words=has_words)]
    entries = []
    for at in range(1, most + 1):
        color = f"$depth-{at}"
        entries.append(Content.styled(f"{marks.depths[at]} {tally.kinds[at]:,}", color))
    for kind in (BONUS, RESIDUAL, PLAIN):
        if kind != PLAIN or tally.kinds[PLAIN]:
            entries.append(_counted(kind, tally, marks, has_words=has_words))
    word = "rejected" if has_words else ""
    struck = Content.styled(word or marks.rejected, "strike dim")
    bracketed = Content.assemble((marks.opening, "dim"), struck, (marks.closing, "dim"))
    entries.append(Content.assemble(bracketed, f" {tally.rejected:,}"))
    return entries


def _most(tally: Tally, depth: int) -> int:
    """Return the greatest depth that is drafted to, or has an accepted token."""
    return max([depth, *(at for at in range(1, MAX_DEPTH + 1) if tally.kinds[at])])


def _counted(kind: int, tally: Tally, marks: Marks, *, has_words: bool) -> Content:
    word = WORDS[kind] if has_words else ""
    style = "" if kind == PLAIN else "bold"
    return Content.assemble((mark_of(kind, marks), style), word, f" {tally.kinds[kind]:,}")
