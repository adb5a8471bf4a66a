"""What each depth would give, beside what was measured; and what drafting saved."""

from __future__ import annotations

from textual.content import Content

from mtplx_tui.forecast import Forecast, forecasts, saving, saving_words
from mtplx_tui.marks import UNICODE, Marks
from mtplx_tui.view import RequestView
from mtplx_tui.widgets.answer_page import AnswerPage

TITLES = ("What each depth would give", "Each depth")
MARK, SPEED, SURE, SEEN, CYCLES = 2, 8, 9, 9, 7
LEAST_BAR, MOST_BAR = 4, 36


class DepthForecast(AnswerPage):
    """One row a depth: a bar up to the prediction, thin up to its interval's end."""

    def __init__(self, marks: Marks = UNICODE, *, id: str | None = None) -> None:
        super().__init__(forecast_page, marks, id=id)


def forecast_page(request: RequestView | None, width: int, marks: Marks) -> Content:
    """Return the rows, a title above them, the saving beneath."""
    known = () if request is None else forecasts(request)
    if request is None or not known:
        nothing = Content.styled("too few cycles to tell yet", "dim")
        return Content("\n").join([Content.styled(TITLES[0], "bold"), nothing])
    bar = min(max(width - MARK - SPEED - SURE - SEEN - CYCLES, LEAST_BAR), MOST_BAR)
    most = max(each.tokens_per_s.value for each in known)
    rows = [_row(each, most, bar, marks) for each in known]
    told = Content.assemble(
        ("against plain decoding: ", "dim"), saving_words(saving(request), marks.about)
    )
    return Content("\n").join([_title(bar), *rows, told])


def _title(bar: int) -> Content:
    columns = "tok/s".rjust(SPEED) + "95 %".rjust(SURE) + "measured".rjust(SEEN)
    columns += "cycles".rjust(CYCLES)
    cells = MARK + bar
    title = next((title for title in TITLES if len(title) <= cells + 2), TITLES[-1])
    spare = max(0, len(title) - cells)
    return Content.assemble((title.ljust(cells), "bold"), (columns[spare:], "dim"))


def _row(each: Forecast, most: float, bar: int, marks: Marks) -> Content:
    own = each.tokens_per_s
    color = f"$depth-{each.depth}" if each.depth else ""
    full = round(bar * own.value / most)
    upper = min(bar, max(full, round(bar * own.high / most)))
    sign = "" if own.is_measured else "~"
    sure = f"{own.low:.0f}{marks.range}{own.high:.0f}"
    seen = each.measured_tokens_per_s
    return Content.assemble(
        (f"{marks.depths[each.depth]} ", color),
        (marks.bar * full if own.is_measured else marks.track * full, color),
        (marks.track * (upper - full), color if own.is_measured else "$foreground 20%"),
        (marks.track * (bar - upper), "$foreground 20%"),
        (f"{sign}{own.value:.1f}".rjust(SPEED), "bold" if own.is_measured else "dim"),
        (sure.rjust(SURE), "dim"),
        ("" if seen is None else f"{seen:.1f}").rjust(SEEN),
        (f"{each.cycles:,}".rjust(CYCLES), "dim"),
    )
