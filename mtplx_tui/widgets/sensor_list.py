"""All sensors, a row each: where it sits, what it says, who said it and how long ago."""

from __future__ import annotations

from functools import lru_cache

from mtplx_tui.machine.readings import Group, Kind, Reading, Snapshot
from mtplx_tui.marks import UNICODE, Marks
from mtplx_tui.widgets.painted_rows import PaintedRows, Row
from mtplx_tui.widgets.thermal_graphs import heat_style

GROUP, VALUE, AGE = 8, 10, 8
LEAST_NAME, MOST_SOURCE, SOURCE_FITS = 12, 20, 48
"""Cells of the columns; the source is left out of a list narrower than SOURCE_FITS."""
ORDER = tuple(Group)
PRESSURES = ("nominal", "moderate", "heavy", "critical", "sleeping")


class SensorList(PaintedRows):
    """See the module."""

    def __init__(self, marks: Marks = UNICODE, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._marks = marks
        self._snapshot: Snapshot | None = None

    def show(self, snapshot: Snapshot) -> None:
        """Show these from now on."""
        self._snapshot = snapshot
        self._draw()

    def on_resize(self) -> None:
        """Fit the rows to the room."""
        self._draw()

    def _draw(self) -> None:
        if self._snapshot is not None and self.size.width:
            self.put(sensor_rows(self._snapshot, *self.size, self._marks))


def sensor_rows(snapshot: Snapshot, width: int, height: int, marks: Marks) -> list[Row]:
    """Return a title and the rows that fit, in the order of their groups."""
    readings = sorted(snapshot.readings, key=lambda r: (r.kind, ORDER.index(r.group)))
    room = max(0, height - 1)
    shown = readings if len(readings) <= room else readings[: max(0, room - 1)]
    rows: list[Row] = [(("Sensors", "bold"), (f"  {len(readings)}", "dim"))]
    rows += [_row(reading, snapshot, width, marks) for reading in shown]
    if len(shown) < len(readings):
        rows.append(((f"{len(readings) - len(shown)} more {marks.more}", "dim"),))
    return rows


def _row(reading: Reading, snapshot: Snapshot, width: int, marks: Marks) -> Row:
    is_stale = snapshot.is_stale(reading)
    before, after = _ends(reading.group, reading.name, reading.source, width, marks)
    age = f"{snapshot.at_s - reading.at_s:.0f} s"
    return (
        (before[0], "dim"),
        (before[1], "dim" if is_stale else ""),
        (value_text(reading, marks).rjust(VALUE), "dim" if is_stale else _style(reading)),
        (age.rjust(AGE), "warm" if is_stale else "dim"),
        (after, "dim"),
    )


@lru_cache(maxsize=512)
def _ends(
    group: Group, name: str, source: str, width: int, marks: Marks
) -> tuple[tuple[str, str], str]:
    """Return what stands around a sensor's figures, which stays from second to second."""
    room = MOST_SOURCE if width >= SOURCE_FITS else 0
    cells = max(LEAST_NAME, width - GROUP - VALUE - AGE - room)
    name = name if len(name) < cells else name[: cells - 2] + marks.more
    return (f"{group:<{GROUP}}", name.ljust(cells)), f"  {source}"[:room].ljust(room)


def value_text(reading: Reading, marks: Marks) -> str:
    """Return a value with its unit."""
    if reading.kind is Kind.WATTS:
        return f"{reading.value:.1f} W"
    if reading.kind is Kind.PRESSURE:
        return PRESSURES[min(int(reading.value), len(PRESSURES) - 1)]
    return f"{reading.value:.1f} {'°C' if marks is UNICODE else 'C'}"


def _style(reading: Reading) -> str:
    if reading.kind is Kind.CELSIUS:
        return heat_style(reading.value)
    return "hot" if reading.kind is Kind.PRESSURE and reading.value >= 2 else ""
