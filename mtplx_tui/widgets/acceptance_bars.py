"""Acceptance at each depth: a bar, the share, the counts behind it, and its 95 % interval."""

from __future__ import annotations

from textual.content import Content

from mtplx_tui.marks import UNICODE, Marks
from mtplx_tui.view import RequestView, wilson_interval
from mtplx_tui.widgets.answer_page import AnswerPage

TITLES = ("Acceptance at each depth", "Acceptance")
"""The second where the columns leave no room for the first."""
LEAST_BAR, MOST_BAR = 6, 48
MARK, SHARE, COUNTS, SURE = 2, 6, 13, 8
"""Cells of the other columns."""


class AcceptanceBars(AnswerPage):
    """One row a depth.

    A bar is thick up to the share, and goes on thin to the interval's upper end.
    """

    def __init__(self, marks: Marks = UNICODE, *, id: str | None = None) -> None:
        super().__init__(acceptance_page, marks, id=id)


def acceptance_page(request: RequestView | None, width: int, marks: Marks) -> Content:
    """Return the rows, a title above them."""
    if request is None:
        return Content.styled(TITLES[0], "bold")
    depths = depths_of(request)
    if not depths:
        return Content.assemble((TITLES[0], "bold"), "\n", ("plain decoding drafts nothing", "dim"))
    rows = [_row(request, depth, width, marks) for depth in range(1, depths + 1)]
    return Content("\n").join([_title(width), *rows])


def _title(width: int) -> Content:
    columns = "accepted".rjust(COUNTS) + "95 %".rjust(SURE)
    cells = MARK + _bar_cells(width) + SHARE + COUNTS + SURE - len(columns)
    title = TITLES[0] if len(TITLES[0]) < cells else TITLES[1]
    return Content.assemble((title.ljust(cells), "bold"), (columns, "dim"))


def depths_of(request: RequestView) -> int:
    """Return how many depths are worth a row: those drafted to now, or judged before."""
    judged = sum(count > 0 for count in request.reached_at)
    return max(request.depth_now, judged)


def _row(request: RequestView, depth: int, width: int, marks: Marks) -> Content:
    accepted, reached = request.accepted_at[depth - 1], request.reached_at[depth - 1]
    low, high = wilson_interval(accepted, reached)
    color = f"$depth-{depth}"
    cells = _bar_cells(width)
    if not reached:
        empty = Content.styled(marks.track * cells, "$foreground 20%")
        mark = Content.styled(f"{marks.depths[depth]} ", color)
        return Content.assemble(mark, empty, ("  not reached", "dim"))
    full = round(cells * accepted / reached)
    upper = max(full, round(cells * high))
    counts = f"{accepted}/{reached}"
    sure = f"{_percent(low)}{marks.range}{_percent(high)}"
    return Content.assemble(
        (f"{marks.depths[depth]} ", color),
        (marks.bar * full, color),
        (marks.track * (upper - full), color),
        (marks.track * (cells - upper), "$foreground 20%"),
        (f"{_percent(accepted / reached)} %".rjust(SHARE), "bold"),
        counts.rjust(COUNTS),
        (sure.rjust(SURE), "dim"),
    )


def _bar_cells(width: int) -> int:
    return min(max(width - MARK - SHARE - COUNTS - SURE, LEAST_BAR), MOST_BAR)


def _percent(share: float) -> str:
    return f"{100 * share:.0f}"
