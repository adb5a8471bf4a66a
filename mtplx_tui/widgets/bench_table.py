"""The table of a bench: a row a depth, as many columns as fit; or what changed between two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from textual.content import Content
from textual.widgets import Static

from mtplx_tui.bench.report import (
    Change,
    Figure,
    Row,
    change_figures,
    change_name,
    depth_name,
)
from mtplx_tui.marks import UNICODE, Marks

__all__ = ["BenchTable", "change_page", "depth_style", "table_page"]

LEAST_ANSWERS = 2
"""Of a row, before it has a spread."""
VERDICTS = {"faster": "bold $text-success", "slower": "bold $text-error", "noise": "dim"}


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    width: int
    cell: Callable[[Row, Marks], str]
    rank: int
    """Columns of a higher rank are left out first."""
    style: str = ""


def _spread(figure: Figure, row: Row, marks: Marks) -> str:
    if row.answers < LEAST_ANSWERS:
        return ""
    return f"{figure.low:.2f}{marks.range}{figure.high:.2f}"


def _accepted(row: Row, _: Marks) -> str:
    return " ".join(f"{100 * share:.0f}" for share in row.accepted)


def _host_ms(row: Row) -> float:
    return row.ms_per_cycle - row.draft_ms - row.verify_ms - row.accept_ms


_ACCEPTED = _Column("accepted %", 18, _accepted, 6)
"""From depth 1 on; as many depths as fit."""
_COLUMNS = (
    _Column("x plain", 9, lambda row, _: f"{row.against_plain.median:.2f}", 1, "bold"),
    _Column("95 %", 13, lambda row, marks: _spread(row.against_plain, row, marks), 2, "dim"),
    _Column("tokens/s", 10, lambda row, _: f"{row.tokens_per_s.median:.1f}", 3),
    _Column("95 %", 15, lambda row, marks: _spread(row.tokens_per_s, row, marks), 11, "dim"),
    _Column("tok/cycle", 11, lambda row, _: f"{row.tokens_per_cycle:.2f}", 4),
    _Column("ms/cycle", 10, lambda row, _: f"{row.ms_per_cycle:.1f}", 5),
    _ACCEPTED,
    _Column("draft", 7, lambda row, _: f"{row.draft_ms:.1f}", 7),
    _Column("verify", 8, lambda row, _: f"{row.verify_ms:.1f}", 8),
    _Column("accept", 8, lambda row, _: f"{row.accept_ms:.1f}", 9),
    _Column("host", 6, lambda row, _: f"{_host_ms(row):.1f}", 10),
)
"""Beside the depth; cells of each."""
DEPTH_CELLS = 7
MOST_MORE = 8
"""Cells that acceptance takes beyond its own, where there is room."""


class BenchTable(Static):
    """Fits its columns to its width."""

    DEFAULT_CSS = "BenchTable { height: auto; text-wrap: nowrap; text-overflow: clip; }"

    def __init__(self, marks: Marks = UNICODE, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self._marks = marks
        self._rows: tuple[Row, ...] = ()

    def show(self, rows: Sequence[Row]) -> None:
        """Show the rows of one kind."""
        self._rows = tuple(rows)
        self._draw()

    def on_resize(self) -> None:
        """Fit the columns to the width."""
        self._draw()

    def _draw(self) -> None:
        page = table_page(self._rows, self.size.width, self._marks)
        if page != self.content:
            self.update(page)


def table_page(rows: Sequence[Row], width: int, marks: Marks) -> Content:
    """Return a heading and a row a depth."""
    columns = _fitting(width)
    titles = "".join(column.title.rjust(column.width) for column in columns)
    lines = [Content.styled("depth".ljust(DEPTH_CELLS) + titles, "dim")]
    lines += [_line(row, columns, marks) for row in rows]
    return Content("\n").join(lines)


def _fitting(width: int) -> list[_Column]:
    """Return the columns that there is room for, in their order."""
    chosen: list[_Column] = []
    room = width - DEPTH_CELLS
    for column in sorted(_COLUMNS, key=lambda column: column.rank):
        if room < column.width:
            break
        room -= column.width
        chosen.append(column)
    wider = replace(_ACCEPTED, width=_ACCEPTED.width + min(room, MOST_MORE))
    return [wider if column is _ACCEPTED else column for column in _COLUMNS if column in chosen]


def _line(row: Row, columns: Sequence[_Column], marks: Marks) -> Content:
    cells = [
        (_cut(column.cell(row, marks), column.width - 1).rjust(column.width), column.style)
        for column in columns
    ]
    return Content.assemble(_depth(row.depth), *cells)


def _cut(text: str, width: int) -> str:
    """Return as many whole words of a text as fit."""
    while len(text) > width:
        text = text.rpartition(" ")[0]
    return text


def _depth(depth: int | None) -> tuple[str, str]:
    return depth_name(depth).ljust(DEPTH_CELLS), depth_style(depth)


def depth_style(depth: int | None) -> str:
    """Return the colour that a depth has in a bench; the automatic one has its own."""
    if depth is None:
        return "bold $text-primary"
    return f"$depth-{depth}" if depth else "$foreground"


def change_page(changes: Sequence[Change]) -> Content:
    """Return what changed, depth by depth, each with its verdict."""
    lines = [Content.styled(f"{'depth':<12}{'change':>9}{'95 %':>20}  verdict", "dim")]
    for change in changes:
        figure, interval = change_figures(change)
        lines.append(
            Content.assemble(
                (change_name(change.depth).ljust(12), depth_style(change.depth)),
                (figure.rjust(9), "bold"),
                (interval.rjust(20), "dim"),
                ("  " + change.verdict, VERDICTS.get(change.verdict, "dim")),
            )
        )
    if not changes:
        lines.append(Content.styled("the two have nothing in common here", "dim"))
    return Content("\n").join(lines)
