"""Speed against plain decoding, depth by depth: a curve with its intervals."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content
from textual.widgets import Static

from mtplx_tui.bench.report import Row, depth_name
from mtplx_tui.marks import UNICODE, Marks
from mtplx_tui.widgets.bench_table import depth_style
from mtplx_tui.widgets.braille import Dots

__all__ = ["BenchCurve", "curve_page"]

LABEL_CELLS = 6
"""Of the figures at the left."""
MOST_STEP = 16
"""Cells between two depths."""
LEAST_ROWS = 5
STEPS = (0.05, 0.1, 0.2, 0.25, 0.5, 1.0, 2.0, 5.0)
TITLE = "Speed against plain decoding"
Sheet = list[list[tuple[str, str]]]
"""Sign and style of each cell, by row and column."""


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where a depth and a ratio are drawn, in cells from the top left."""

    depths: tuple[int | None, ...]
    step: int
    rows: int
    low: float
    high: float

    @property
    def columns(self) -> int:
        return self.step * len(self.depths)

    def x(self, depth: int | None) -> int:
        return self.depths.index(depth) * self.step + self.step // 3

    def y(self, ratio: float) -> float:
        share = (self.high - ratio) / (self.high - self.low)
        return min(max(share, 0.0), 1.0) * (self.rows - 1) + 0.5


class BenchCurve(Static):
    """Draws itself for its size."""

    DEFAULT_CSS = "BenchCurve { text-wrap: nowrap; text-overflow: clip; }"

    def __init__(self, marks: Marks = UNICODE, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self._marks = marks
        self._rows: tuple[Row, ...] = ()
        self._before: tuple[Row, ...] = ()

    def show(self, rows: Sequence[Row], before: Sequence[Row] = ()) -> None:
        """Show the rows of one kind, those of an earlier result faintly behind them."""
        self._rows, self._before = tuple(rows), tuple(before)
        self._draw()

    def on_resize(self) -> None:
        """Fit the curve to the size."""
        self._draw()

    def _draw(self) -> None:
        size = self.content_size
        page = curve_page(self._rows, self._before, (size.width, size.height), self._marks)
        if page != self.content:
            self.update(page, layout=False)


def curve_page(
    rows: Sequence[Row], before: Sequence[Row], size: tuple[int, int], marks: Marks
) -> Content:
    """Return a title, the curve, and the depths under it; nothing where there is no room.

    Args:
        rows: of one kind.
        before: of the same kind, from an earlier result.
        size: columns and rows.
        marks: the signs to draw with.
    """
    frame = _frame([*rows, *before], size)
    if frame is None:
        return Content("")
    sheet: Sheet = [[(" ", "")] * frame.columns for _ in range(frame.rows)]
    for column in range(frame.columns):
        sheet[int(frame.y(1.0))][column] = (marks.track, "$foreground 25%")
    if before:
        _put_curve(sheet, frame, before, marks, is_faint=True)
    _put_curve(sheet, frame, rows, marks, is_faint=False)
    labels = _labels(frame)
    lines = [_title(marks, has_before=bool(before))]
    for at, row in enumerate(sheet):
        label = (labels.get(at, "").rjust(LABEL_CELLS - 1) + " ", "dim")
        lines.append(Content.assemble(label, *row))
    lines.append(_axis(frame))
    return Content("\n").join(lines)


def _title(marks: Marks, *, has_before: bool) -> Content:
    if not has_before:
        return Content.styled(TITLE, "bold")
    legend = f"   {marks.state} after   {marks.dot} before"
    return Content.assemble((TITLE, "bold"), (legend, "dim"))


def _frame(rows: Sequence[Row], size: tuple[int, int]) -> _Frame | None:
    columns, height = size[0] - LABEL_CELLS, size[1] - 2
    found = {row.depth for row in rows}
    depths = sorted(found, key=lambda depth: (depth is None, depth or 0))
    step = min(MOST_STEP, columns // len(depths)) if depths else 0
    if height < LEAST_ROWS or step < 4:
        return None
    low = min(1.0, *(row.against_plain.low for row in rows))
    high = max(1.0, *(row.against_plain.high for row in rows))
    room = max(0.05, (high - low) / 10)
    return _Frame(tuple(depths), step, height, low - room, high + room)


def _put_curve(
    sheet: Sheet, frame: _Frame, rows: Sequence[Row], marks: Marks, *, is_faint: bool
) -> None:
    dots = Dots(frame.columns, frame.rows)
    places = [
        (frame.x(row.depth) + 0.5, frame.y(row.against_plain.median))
        for row in rows
        if row.depth is not None
    ]
    for start, end in itertools.pairwise(places):
        dots.line(start, end)
    color = "$foreground 35%" if is_faint else "$primary"
    for at, column, sign in dots.signs(is_plain=marks is not UNICODE):
        sheet[at][column] = (sign, color)
    for row in rows:
        if is_faint:
            x, y = frame.x(row.depth), int(frame.y(row.against_plain.median))
            sheet[y][x] = (marks.dot, "$foreground 60%")
        else:
            _put_point(sheet, frame, row, marks)


def _put_point(sheet: Sheet, frame: _Frame, row: Row, marks: Marks) -> None:
    """Draw a depth's figure and its interval."""
    x, color = frame.x(row.depth), depth_style(row.depth)
    figure = row.against_plain
    for y in range(int(frame.y(figure.high)), int(frame.y(figure.low)) + 1):
        sheet[y][x] = (marks.stem, color)
    y = int(frame.y(figure.median))
    sheet[y][x] = (marks.state, color)
    text = f" {figure.median:.2f}"
    if row.depth != 0 and frame.step > len(text) + 1:
        sheet[y][x + 1 : x + 1 + len(text)] = [(sign, color) for sign in text]


def _labels(frame: _Frame) -> dict[int, str]:
    """Return ratios by the row that they stand at, at round places."""
    span = frame.high - frame.low
    most = max(2, frame.rows // 3)
    step = next((step for step in STEPS if span / step <= most), STEPS[-1])
    first, last = math.ceil(frame.low / step), math.floor(frame.high / step)
    ticks = (round(at * step, 2) for at in range(first, last + 1))
    found = {int(frame.y(tick)): f"{tick:.2f}" for tick in ticks}
    return found | {int(frame.y(1.0)): "1.00"}


def _axis(frame: _Frame) -> Content:
    parts: list[tuple[str, str]] = [(" " * LABEL_CELLS, "")]
    for depth in frame.depths:
        name = "plain" if depth == 0 and frame.step > 6 else depth_name(depth)
        before = max(0, frame.step // 3 - len(name) // 2)
        parts.append(((" " * before + name).ljust(frame.step), depth_style(depth)))
    return Content.assemble(*parts)
