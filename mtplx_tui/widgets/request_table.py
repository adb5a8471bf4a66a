"""Requests of the server, a row each: those that run with phase and speed, then those that ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from textual.content import Content
from textual.widgets import Static

from mtplx_tui.marks import UNICODE, Marks
from mtplx_tui.server.served import Phase, ServedRequest
from mtplx_tui.wording import showable

__all__ = ["RequestTable", "request_page"]

IS_LIVE = (Phase.QUEUED, Phase.READING, Phase.WRITING)
PHASES = {
    Phase.QUEUED: "dim",
    Phase.READING: "$text-accent",
    Phase.WRITING: "bold $text-primary",
    Phase.DONE: "$text-success",
    Phase.CANCELLED: "$text-warning",
    Phase.FAILED: "$text-error",
}


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    width: int
    cell: Callable[[ServedRequest, Marks], str]
    rank: int
    """Columns of a higher rank are left out first."""
    is_right: bool = True


def _phase(request: ServedRequest, _: Marks) -> str:
    if request.phase is Phase.READING and request.prompt_tokens:
        return f"reading {100 * request.read_tokens // request.prompt_tokens} %"
    return request.phase.value


def _reused(request: ServedRequest, _: Marks) -> str:
    if not request.prompt_tokens:
        return ""
    return f"{100 * request.cached_tokens / request.prompt_tokens:.0f} %"


def _saved(request: ServedRequest, marks: Marks) -> str:
    return "" if request.saved_s is None else f"{request.saved_s:+.1f} s"


def _or_nothing(value: float | None, form: str, unit: str = "") -> str:
    return "" if value is None else f"{value:{form}}{unit}"


_COLUMNS = (
    _Column("request", 9, lambda r, _: r.id, 0, is_right=False),
    _Column("api", 12, lambda r, _: r.api, 4, is_right=False),
    _Column("phase", 15, _phase, 0, is_right=False),
    _Column("prompt", 8, lambda r, _: f"{r.prompt_tokens:,}", 2),
    _Column("reused", 8, _reused, 3),
    _Column("tokens", 8, lambda r, _: f"{r.completion_tokens:,}", 1),
    _Column("tok/s", 8, lambda r, _: _or_nothing(r.tokens_per_s, ".1f"), 1),
    _Column("a cycle", 9, lambda r, _: _or_nothing(r.tokens_per_cycle, ".2f"), 6),
    _Column("first", 8, lambda r, _: _or_nothing(r.first_token_s, ".2f", " s"), 7),
    _Column("saved", 9, _saved, 5),
    _Column("whole", 9, lambda r, _: _or_nothing(r.total_s, ".1f", " s"), 8),
)
LEAST_WORDS = 12
"""Cells for the client's name or the note, at the end of a row."""


class RequestTable(Static):
    """Shows requests; one that runs may be marked."""

    DEFAULT_CSS = "RequestTable { text-wrap: nowrap; text-overflow: clip; }"

    def __init__(self, marks: Marks = UNICODE, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self._marks = marks
        self._live: Sequence[ServedRequest] = ()
        self._recent: Sequence[ServedRequest] = ()
        self._chosen = ""

    def show(
        self, live: Sequence[ServedRequest], recent: Sequence[ServedRequest], chosen: str
    ) -> None:
        """Show these from now on; `chosen` is the id of the one that is marked."""
        self._live, self._recent, self._chosen = live, recent, chosen
        self._draw()

    def on_resize(self) -> None:
        """Fit the rows to the size."""
        self._draw()

    def _draw(self) -> None:
        width, rows = self.content_size
        if not width:
            return
        page = request_page(
            self._live, self._recent, self._chosen, (width, max(rows, 4)), self._marks
        )
        if page != self.content:
            self.update(page, layout=False)


def request_page(
    live: Sequence[ServedRequest],
    recent: Sequence[ServedRequest],
    chosen: str,
    size: tuple[int, int],
    marks: Marks,
) -> Content:
    """Return the rows that fit: first what runs, then what ended, newest first."""
    width, rows = size
    columns = _fitting(width)
    lines = [_heading(columns, "Running", len(live), width)]
    lines += [_row(each, columns, width, marks, is_chosen=each.id == chosen) for each in live]
    if not live:
        lines.append(Content.styled("  nothing runs now", "dim"))
    if recent and len(lines) + 2 < rows:
        lines += [Content(""), _heading((), "Ended", len(recent), width)]
        lines += [_row(each, columns, width, marks, is_chosen=False) for each in recent]
    if len(lines) > rows:
        left_out = len(lines) - rows + 1
        lines = [*lines[: rows - 1], Content.styled(f"  {marks.more} {left_out} more", "dim")]
    return Content("\n").join(lines)


def _fitting(width: int) -> list[_Column]:
    columns = list(_COLUMNS)
    while len(columns) > 3 and 2 + sum(c.width for c in columns) + LEAST_WORDS > width:
        columns.remove(max(columns, key=lambda column: column.rank))
    return columns


def _heading(columns: Sequence[_Column], title: str, count: int, width: int) -> Content:
    first = f"{title} {count}" if count else title
    if not columns:
        return Content.styled(first, "bold")
    start = 2 + columns[0].width
    named = "".join(_cell(column.title, column) for column in columns[1:])
    return Content.assemble((set_cell_size(first, start), "bold"), (named[: width - start], "dim"))


def _row(
    request: ServedRequest,
    columns: Sequence[_Column],
    width: int,
    marks: Marks,
    *,
    is_chosen: bool,
) -> Content:
    parts: list[tuple[str, str]] = [(f"{marks.next if is_chosen else ' '} ", "bold $text-primary")]
    for column in columns:
        style = PHASES[request.phase] if column.title == "phase" else ""
        parts.append((_cell(column.cell(request, marks), column), style))
    room = width - sum(cell_len(text) for text, _ in parts) - 2
    words = request.client if request.phase in IS_LIVE else request.note or request.client
    parts.append((f"  {_cut(showable(words), room, marks)}", "dim"))
    return Content.assemble(*parts)


def _cell(text: str, column: _Column) -> str:
    if column.is_right:
        return text.rjust(column.width)
    return set_cell_size(text, column.width - 1) + " "


def _cut(text: str, room: int, marks: Marks) -> str:
    text = " ".join(text.split())
    if cell_len(text) <= room:
        return text
    return set_cell_size(text, max(0, room - 1)).rstrip() + marks.more if room > 0 else ""
