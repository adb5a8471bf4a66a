"""Heat, speed, fans and power over one time axis, a lane each, as many as there is room for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mtplx_tui.machine.history import FANS, POWER, RECENT_S, TOKENS, History
from mtplx_tui.machine.readings import Group
from mtplx_tui.marks import UNICODE, Marks
from mtplx_tui.widgets.braille import area, plain_area
from mtplx_tui.widgets.painted_rows import PaintedRows, Row

LABEL = 19
"""Cells of the column of names and figures: 7, 5 and 7."""
LEAST, ROOMY, TALLEST = 3, 4, 9
"""Rows a lane should have, those it needs before lanes are set apart, and those it gets at most."""
FEW = 4
"""So many lanes are kept even where they are low."""
WARM_CELSIUS, HOT_CELSIUS = 75.0, 90.0
GROUND_CELSIUS, TOP_CELSIUS = 25.0, 100.0
AXIS_MARKS = 4


@dataclass(frozen=True, slots=True)
class Lane:
    """One row of the history, and how it is drawn."""

    row: str
    title: str
    unit: str
    style: str = ""
    """Empty where the value itself gives it."""

    @property
    def is_heat(self) -> bool:
        """Whether it is a temperature."""
        return not self.style


LANES = (
    Lane(Group.CPU, "CPU", "°C"),
    Lane(Group.GPU, "GPU", "°C"),
    Lane(TOKENS, "speed", "tok/s", "speed"),
    Lane(FANS, "fans", "rpm", "fans"),
    Lane(POWER, "power", "W", "power"),
    Lane(Group.DISK, "disk", "°C"),
    Lane(Group.MEMORY, "memory", "°C"),
    Lane(Group.BOARD, "board", "°C"),
    Lane(Group.BATTERY, "battery", "°C"),
)
"""The first of them go last when there is no room."""


class ThermalGraphs(PaintedRows):
    """Lanes of a history."""

    def __init__(self, marks: Marks = UNICODE, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._marks = marks
        self._history: History | None = None
        self._is_whole = False

    def show(self, history: History, *, is_whole: bool) -> None:
        """Show the last minutes, or the whole run."""
        self._history, self._is_whole = history, is_whole
        self._draw()

    def on_resize(self) -> None:
        """Fit lanes to the room."""
        self._draw()

    def _draw(self) -> None:
        if self._history is not None and self.size.width:
            width, height = self.size
            rows = graph_rows(self._history, width, height, self._marks, is_whole=self._is_whole)
            self.put(rows)


def graph_rows(
    history: History, width: int, height: int, marks: Marks, *, is_whole: bool
) -> list[Row]:
    """Return the lanes and their axis, in no more than so many cells."""
    most = min(max(FEW, (height - 1) // LEAST), height - 1)
    lanes = [lane for lane in LANES if lane.row in history.rows][: max(1, most)]
    if not lanes or height < 2:
        return []
    each, gap = _heights(len(lanes), height - 1)
    rows: list[Row] = []
    for at, lane in enumerate(lanes):
        rows += [()] * (gap if at else 0)
        rows += _lane(lane, history, width, each[at], marks, is_whole=is_whole)
    rows.append(((_axis(history, width, is_whole=is_whole), "dim"),))
    return rows


def _heights(count: int, room: int) -> tuple[list[int], int]:
    """Return the rows of each lane, and the empty rows between two."""
    gap = 1 if room >= count * (ROOMY + 1) else 0
    room -= gap * (count - 1)
    each = [min(room // count, TALLEST)] * count
    if each[0] < TALLEST:
        for at in range(room % count):
            each[at] += 1
    return each, gap


def _lane(
    lane: Lane, history: History, width: int, rows: int, marks: Marks, *, is_whole: bool
) -> list[Row]:
    cells = max(1, width - LABEL)
    curve = history.curve(lane.row, 2 * cells, whole=is_whole)
    low, high = _range(lane, history)
    draw = area if marks is UNICODE else plain_area
    drawn = draw(curve, rows, low, high)
    starts = _color_starts(lane, curve)
    labels = _labels(lane, history, rows, marks)
    return [(*label, *_runs(text, starts)) for label, text in zip(labels, drawn, strict=True)]


def _range(lane: Lane, history: History) -> tuple[float, float]:
    if lane.is_heat:
        return GROUND_CELSIUS, max(TOP_CELSIUS, history.peak(lane.row))
    return 0.0, max(history.peak(lane.row), 1.0)


def heat_style(celsius: float) -> str:
    """Return the name of a temperature's style; the figure always stands beside it."""
    if celsius >= HOT_CELSIUS:
        return "hot"
    return "warm" if celsius >= WARM_CELSIUS else "cool"


HEAT_COLORS = {"hot": "$text-error", "warm": "$text-warning", "cool": "$text-success"}


def heat_color(celsius: float) -> str:
    """Return the colour of a temperature."""
    return HEAT_COLORS[heat_style(celsius)]


def _color_starts(lane: Lane, curve: Sequence[float | None]) -> list[tuple[int, str]]:
    """Return from which cell on which style is used."""
    if not lane.is_heat:
        return [(0, lane.style)]
    starts = [(0, "cool")]
    if max((value for value in curve if value is not None), default=0.0) < WARM_CELSIUS:
        return starts
    for at in range(0, len(curve), 2):
        values = [value for value in curve[at : at + 2] if value is not None]
        style = heat_style(max(values)) if values else starts[-1][1]
        if style != starts[-1][1]:
            starts.append((at // 2, style))
    return starts


def _runs(text: str, starts: Sequence[tuple[int, str]]) -> list[tuple[str, str]]:
    """Return a row of a curve in pieces of one style."""
    ends = [*(start for start, _ in starts[1:]), len(text)]
    return [(text[s:end], style) for (s, style), end in zip(starts, ends, strict=True) if end > s]


def _labels(lane: Lane, history: History, rows: int, marks: Marks) -> list[Row]:
    unit = lane.unit if marks is UNICODE else lane.unit.replace("°", "")
    figure = _figure(lane)
    now = history.last(lane.row)
    value = marks.track if now is None else figure(now)
    style = f"{heat_style(now)}-bold" if lane.is_heat and now is not None else "bold"
    first: Row = ((f"{lane.title:<7}", "bold"), (f"{value:>5}", style), (f" {unit:<6}", "dim"))
    second: Row = ((f"{'peak':<7}{figure(history.peak(lane.row)):>5}".ljust(LABEL), "dim"),)
    blank: Row = ((" " * LABEL, ""),)
    labels: list[Row] = [first, second, *[blank] * rows]
    return labels[:rows]


def _figure(lane: Lane) -> Callable[[float], str]:
    if lane.row in (TOKENS, POWER):
        return lambda value: f"{value:.1f}"
    return lambda value: f"{value:,.0f}"


def _axis(history: History, width: int, *, is_whole: bool) -> str:
    """Return how far back the curves go."""
    span_s = max(history.run_s, RECENT_S) if is_whole else RECENT_S
    cells = max(1, width - LABEL)
    words = [f"{duration(span_s * (AXIS_MARKS - at) / AXIS_MARKS)}" for at in range(AXIS_MARKS)]
    step = cells // AXIS_MARKS
    row = "".join(f"-{word}"[: step - 1].ljust(step) for word in words)
    row = row[: cells - 4].ljust(cells - 3) + "now" if cells > 8 else ""
    title = "whole run" if is_whole else "last minutes"
    return f"{title:<{LABEL}}{row}"


def duration(seconds: float) -> str:
    """Return a time as 0:05, 14:59 or 2:00:00."""
    whole = int(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
