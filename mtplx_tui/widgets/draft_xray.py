"""One draft under the x-ray: what it was judged by, and what might have come in its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from textual.content import Content
from textual.widgets import Static

from engine.protocol import Candidate, CycleDone, WindowDetail
from mtplx_tui.marks import UNICODE, Marks
from mtplx_tui.verdict_words import Signs, draft_words, is_dropped, last_words
from mtplx_tui.widgets.ribbon_lines import kind_of, mark_of, shown

COLUMN, GAP = 24, 3
PIECE = 12
"""Cells of a candidate's text; the rest of its column is for its probability and bar."""
ROWS = 5
NOT_RECORDED = "This cycle was not recorded: x records those to come, at a small cost of speed."


@dataclass(frozen=True, slots=True)
class Place:
    """Where the x-ray looks."""

    cycle: CycleDone
    draft: int
    """From 0; the cycle's depth for the last token."""
    is_greedy: bool


class DraftXray(Static):
    """As high whatever it shows, so that nothing moves while a person walks."""

    DEFAULT_CSS = """
    DraftXray {
        height: 8; text-wrap: nowrap; text-overflow: clip; padding: 0 1; background: $surface;
        &:ansi { background: ansi_default; }
    }
    """

    def __init__(self, marks: Marks = UNICODE, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self._marks = marks

    def show(self, place: Place) -> None:
        """Show a draft, or a cycle's last token."""
        page = xray_page(place, self._marks)
        if page != self.content:
            self.update(page, layout=False)


def xray_page(place: Place, marks: Marks) -> Content:
    """Return the verdict in words, the numbers, and the likeliest tokens side by side."""
    cycle = place.cycle
    at = min(place.draft, cycle.depth)
    detail = cycle.detail
    head = _head(cycle, at, marks)
    if detail is None:
        return Content("\n").join([head, Content.styled(NOT_RECORDED, "$text-warning")])
    if at == cycle.depth:
        words, numbers = last_words(cycle), _last_numbers(detail)
    else:
        signs = Signs(at_least=marks.at_least)
        words = draft_words(cycle, at, signs, is_greedy=place.is_greedy)
        numbers = _numbers(detail, at)
    rows = [Content.assemble(head, "  ", (words, _color(words))), Content.styled(numbers, "dim")]
    return Content("\n").join([*rows, *_table(cycle, detail, at, marks)])


def _head(cycle: CycleDone, at: int, marks: Marks) -> Content:
    if at < cycle.depth:
        text = shown(cycle.drafted_pieces[at], marks).strip() or marks.space
        color = f"$depth-{at + 1}"
        where = f"draft {at + 1} of {cycle.depth}  "
        return Content.assemble((where, "dim"), (f"{marks.depths[at + 1]}{text}", f"bold {color}"))
    if is_dropped(cycle):
        return Content.assemble(("last token  ", "dim"), "dropped by a stop before it")
    text = shown(cycle.emitted_pieces[-1], marks).strip() or marks.space
    sign = mark_of(kind_of(cycle, len(cycle.emitted) - 1), marks)
    return Content.assemble(("last token  ", "dim"), (f"{sign}{text}", "bold"))


def _color(words: str) -> str:
    return {"acc": "$text-success", "rej": "$text-error"}.get(words[:3], "")


def _numbers(detail: WindowDetail, at: int) -> str:
    draft = detail.drafts[at]
    parts = [f"trunk {draft.target_prob:.4f}", f"head {draft.draft_prob:.4f}"]
    if draft.uniform is not None:
        parts.append(f"uniform {draft.uniform:.4f}")
    if draft.reach is not None and draft.chance is not None:
        parts += [f"reach p {draft.reach:.4f}", f"chance h {draft.chance:.4f}"]
    return "   ".join(parts)


def _last_numbers(detail: WindowDetail) -> str:
    drawn = "" if detail.next_uniform is None else f"   drawn by {detail.next_uniform:.4f}"
    return f"its probability {detail.next_prob:.4f}{drawn}"


def _table(cycle: CycleDone, detail: WindowDetail, at: int, marks: Marks) -> list[Content]:
    """Return the columns of likeliest tokens, a title above each."""
    columns: list[tuple[str, Sequence[Candidate], int | None]] = []
    if at < cycle.depth:
        token = cycle.drafted[at]
        columns += [
            ("the trunk", detail.drafts[at].target_top, token),
            ("the head", detail.drafts[at].draft_top, token),
        ]
    if at == cycle.accepted or at == cycle.depth:
        last = None if is_dropped(cycle) else cycle.emitted[-1]
        columns.append((_last_title(cycle, detail), detail.next_top, last))
    titles = [_fitted(title, COLUMN) for title, _, _ in columns]
    rows = [Content.styled((" " * GAP).join(titles), "bold")]
    for row in range(ROWS):
        cells = [_candidate(top, row, token, marks) for _, top, token in columns]
        rows.append(Content(" " * GAP).join(cells))
    return rows


def _last_title(cycle: CycleDone, detail: WindowDetail) -> str:
    is_residual = cycle.accepted < cycle.depth and detail.next_uniform is not None
    return "the residual" if is_residual else "the trunk's own row"


def _candidate(top: Sequence[Candidate], row: int, token: int | None, marks: Marks) -> Content:
    if row >= len(top):
        return Content(" " * COLUMN)
    each = top[row]
    text = shown(each.piece, marks).strip() or marks.space
    bar = marks.bar * round((COLUMN - PIECE - 7) * each.prob)
    line = _fitted(text, PIECE) + f"{each.prob:6.3f} "
    style = "bold" if each.token == token else ""
    return Content.assemble((line, style), (_fitted(bar, COLUMN - cell_len(line)), "$primary"))


def _fitted(text: str, cells: int) -> str:
    return set_cell_size(text, cells)
