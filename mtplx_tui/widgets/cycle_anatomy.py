"""Where a cycle's milliseconds go: draft, verify, accept, and the host around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content

from engine.protocol import CycleDone
from mtplx_tui.marks import UNICODE, Marks
from mtplx_tui.theming import PARTS
from mtplx_tui.view import RequestView
from mtplx_tui.widgets.answer_page import AnswerPage

TITLE = "Anatomy of a cycle"
RECENT = 32
"""Cycles that count as just now."""
LABEL, FIGURE, MOST_BAR = 8, 8, 48
"""Cells of the columns."""
LEAST_BAR = len(TITLE) - LABEL
"""With less, figures go before a part of each would be cut off."""


@dataclass(frozen=True, slots=True)
class CycleTimes:
    """Mean milliseconds of some cycles, and what came of them."""

    parts_ms: tuple[float, ...]
    """In the order of PARTS."""
    tokens_per_s: float
    tokens_per_cycle: float

    @property
    def total_ms(self) -> float:
        """Of the whole cycle."""
        return sum(self.parts_ms)


def times_of(cycles: Sequence[CycleDone]) -> CycleTimes | None:
    """Return the means over some cycles; None of none."""
    if not cycles:
        return None
    return _times(
        len(cycles),
        sum(len(cycle.emitted) for cycle in cycles),
        (
            sum(cycle.draft_s for cycle in cycles),
            sum(cycle.verify_s for cycle in cycles),
            sum(cycle.accept_s for cycle in cycles),
        ),
        sum(cycle.total_s for cycle in cycles),
    )


def times_of_all(request: RequestView) -> CycleTimes | None:
    """Return the means over all cycles of an answer; None before the first."""
    if not len(request.cycles):
        return None
    known = (request.draft_s, request.verify_s, request.accept_s)
    return _times(len(request.cycles), request.emitted, known, request.cycle_s)


def _times(count: int, tokens: int, known: tuple[float, ...], total_s: float) -> CycleTimes:
    host_s = max(0.0, total_s - sum(known))
    parts = tuple(1e3 * seconds / count for seconds in (*known, host_s))
    return CycleTimes(parts, tokens / total_s if total_s > 0 else 0.0, tokens / count)


class CycleAnatomy(AnswerPage):
    """One row a part, each bar beginning where the one before ends."""

    def __init__(self, marks: Marks = UNICODE, *, id: str | None = None) -> None:
        super().__init__(self._with_selected, marks, id=id)
        self._selected: int | None = None

    def show(self, request: RequestView | None, selected: int | None = None) -> None:
        """Show an answer's cycles, and one of them beside the means."""
        self._selected = selected
        super().show(request)

    def _with_selected(self, request: RequestView | None, width: int, marks: Marks) -> Content:
        return anatomy_page(request, self._selected, width, marks)


def anatomy_page(
    request: RequestView | None, selected: int | None, width: int, marks: Marks
) -> Content:
    """Return the title, a row for each part, the whole, and what came of it."""
    head = Content.styled(TITLE, "bold")
    columns = [] if request is None else _columns(request, selected)
    if not columns:
        return head
    while len(columns) > 1 and width - LABEL - FIGURE * len(columns) < LEAST_BAR:
        columns.pop()
    bar = min(max(width - LABEL - FIGURE * len(columns), 0), MOST_BAR)
    labels = "".join(label.rjust(FIGURE) for label, _ in columns)
    space = LABEL + bar + len(labels) - len(head) - len(labels)
    title = Content.assemble(head, " " * space, (labels, "dim"))
    parts = [_part_row(at, columns, bar, marks) for at in range(len(PARTS))]
    totals = "".join(f"{times.total_ms:.1f}".rjust(FIGURE) for _, times in columns)
    whole = Content.assemble("cycle".ljust(LABEL), ("ms".rjust(bar), "dim"), (totals, "bold"))
    speeds = "".join(f"{times.tokens_per_s:.1f}".rjust(FIGURE) for _, times in columns)
    each = "".join(f"{times.tokens_per_cycle:.2f}".rjust(FIGURE) for _, times in columns)
    return Content("\n").join(
        [
            title,
            *parts,
            whole,
            Content.assemble("tokens".ljust(LABEL), ("a cycle".rjust(bar), "dim"), each),
            Content.assemble(" " * LABEL, ("a second".rjust(bar), "dim"), (speeds, "bold")),
            *(
                [_graphs_row(request, selected, bar, len(columns))]
                if request and request.graphs_built
                else []
            ),
        ]
    )


def _graphs_row(request: RequestView, selected: int | None, bar: int, columns: int) -> Content:
    """Return how many graphs had to be built, which is time that no other cycle takes."""
    count = len(request.cycles)
    shown = request.cycles.since(max(0, count - RECENT))
    if selected is not None:
        shown = [request.cycles[selected]]
    counts = (sum(cycle.graphs_built for cycle in shown), request.graphs_built)
    figures = "".join(str(each).rjust(FIGURE) for each in counts[:columns])
    return Content.assemble("graphs".ljust(LABEL), ("built".rjust(bar), "dim"), figures)


def _columns(request: RequestView, selected: int | None) -> list[tuple[str, CycleTimes]]:
    """Return the columns with their labels; the bars show the first one."""
    count = len(request.cycles)
    recent = request.cycles.since(max(0, count - RECENT))
    first = (f"last {RECENT}", times_of(recent))
    if selected is not None:
        first = ("this", times_of([request.cycles[selected]]))
    columns = [first, ("all", times_of_all(request))]
    return [(label, times) for label, times in columns if times is not None]


def _part_row(at: int, columns: list[tuple[str, CycleTimes]], bar: int, marks: Marks) -> Content:
    part = PARTS[at]
    times = columns[0][1]
    figures = "".join(f"{times.parts_ms[at]:.1f}".rjust(FIGURE) for _, times in columns)
    before, cells = _span(times, at, bar)
    block = marks.block * cells if cells else marks.sliver if times.parts_ms[at] > 0 else ""
    block = block[: bar - before]
    return Content.assemble(
        part.ljust(LABEL),
        " " * before,
        (block, f"$cycle-{part}"),
        " " * (bar - before - len(block)),
        figures,
    )


def _span(times: CycleTimes, at: int, bar: int) -> tuple[int, int]:
    """Return where a part's bar begins and how many cells it fills."""
    if times.total_ms <= 0 or bar <= 0:
        return 0, 0
    begun = sum(times.parts_ms[:at])
    start = round(bar * begun / times.total_ms)
    end = round(bar * (begun + times.parts_ms[at]) / times.total_ms)
    return min(start, bar - 1), end - start
