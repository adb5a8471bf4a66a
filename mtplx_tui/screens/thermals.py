"""Thermals: the machine's heat over time beside the engine's speed, and its fans.

Reads the station; what it changes is the fan policy, through the app. Hidden, it does nothing.
"""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Vertical
from textual.content import Content
from textual.events import ScreenResume
from textual.widgets import Static

from mtplx_tui.keymap import THERMALS, bindings
from mtplx_tui.keys_file import STANDARD, Keys
from mtplx_tui.machine.history import slowdown
from mtplx_tui.machine.readings import Kind, Snapshot, hottest
from mtplx_tui.machine.station import Station
from mtplx_tui.marks import UNICODE, Marks
from mtplx_tui.messages import ThermalsChanged
from mtplx_tui.screens.app_screen import AppScreen
from mtplx_tui.widgets.fan_gauge import FanGauge, FanPage
from mtplx_tui.widgets.hints import hint_parts, in_a_row
from mtplx_tui.widgets.sensor_list import PRESSURES, SensorList
from mtplx_tui.widgets.status_bar import StatusBar
from mtplx_tui.widgets.tab_bar import TabBar
from mtplx_tui.widgets.thermal_graphs import ThermalGraphs, heat_color

HINTS = (
    ("{thermals.span}", "time span"),
    ("{thermals.sensors}", "sensors"),
    ("{thermals.automatic} {thermals.boost} {thermals.maximum}", "fans"),
    ("{app.fans}", "fans automatic, from anywhere"),
)
NOTHING = """\
No sensor and no fan can be seen here, as is usual in containers and virtual machines.

On Linux this tab reads /sys/class/hwmon and, with the extra `nvidia`, NVIDIA cards;
what they show appears here by itself."""


class ThermalsScreen(AppScreen):
    """Shows heat, power and fans."""

    CSS_PATH = "thermals.tcss"
    BINDINGS: ClassVar[list[BindingType]] = bindings(THERMALS)

    def __init__(self) -> None:
        super().__init__()
        self._is_whole = False

    def compose(self) -> ComposeResult:
        """Lay out the headline, the curves, and fans and sensors under or beside them."""
        marks = self.marks
        yield TabBar("thermals")
        yield Static(id="thermal-nothing", markup=False)
        with Vertical(id="thermal-body"):
            yield Static(id="headline", markup=False)
            yield Static(id="thermal-note", markup=False)
            with Container(id="thermal-panes"):
                yield ThermalGraphs(marks, id="graphs")
                with Vertical(id="thermal-side"):
                    yield FanGauge(marks, id="fans")
                    yield SensorList(marks, id="sensors")
        yield Static(id="hint", markup=False)
        yield StatusBar()

    @on(ScreenResume)
    @on(ThermalsChanged)
    def bring_up_to_date(self) -> None:
        """Show everything as it is now."""
        station = self.mtplx.station
        has_any = not station.snapshot.is_empty
        nothing = self.query_one("#thermal-nothing", Static)
        nothing.display = not has_any
        self.query_one("#thermal-body").display = has_any
        _put(self.query_one("#hint", Static), hint(self.mtplx.keys) if has_any else Content(""))
        if not has_any:
            _put(nothing, Content(NOTHING))
            return
        snapshot, fans = station.snapshot, station.fans
        _put(self.query_one("#headline", Static), headline(snapshot, self.marks))
        _put(self.query_one("#thermal-note", Static), note(station))
        self.query_one(ThermalGraphs).show(station.history, is_whole=self._is_whole)
        needs_root = station.keeper.setup.needs_root and not station.keeper.has_guard
        self.query_one(FanGauge).show(FanPage(snapshot, fans, station.now_s, needs_root))
        self.query_one(SensorList).show(snapshot)

    def action_span(self) -> None:
        """Show the last minutes, or the whole run."""
        self._is_whole = not self._is_whole
        self.bring_up_to_date()

    def action_sensors(self) -> None:
        """Show all sensors in place of the curves, or the curves again."""
        self.toggle_class("-sensors")


def headline(snapshot: Snapshot, marks: Marks) -> Content:
    """Return the hottest sensor, all power, and the system's own word for it."""
    parts = []
    warmest = hottest(r for r in snapshot.readings if not snapshot.is_stale(r))
    unit = "°C" if marks is UNICODE else "C"
    if warmest is not None:
        figure = Content.styled(f"{warmest.value:.0f} {unit}", f"bold {heat_color(warmest.value)}")
        parts.append(Content.assemble(figure, f"  {warmest.group}, {warmest.name}"))
        if warmest.critical is not None:
            parts.append(Content.styled(f"critical at {warmest.critical:.0f} {unit}", "dim"))
    power = snapshot.of(Kind.WATTS)
    if power:
        parts.append(Content.assemble((f"{sum(r.value for r in power):.1f} W", "bold")))
    pressure = max((r.value for r in snapshot.of(Kind.PRESSURE)), default=None)
    if pressure is not None:
        parts.append(Content(f"pressure {PRESSURES[min(int(pressure), len(PRESSURES) - 1)]}"))
    return Content.styled(f"  {marks.dot}  ", "dim").join(parts)


def note(station: Station) -> Content:
    """Return the one line that matters most now."""
    fans = station.fans
    if fans.note and fans.is_alarm:
        return Content.styled(fans.note, "bold $text-error")
    slow = slowdown(tuple(station.history.recent))
    if slow:
        return Content.styled(slow, "bold $text-warning")
    return Content.styled(fans.note, "dim")


def hint(keys: Keys = STANDARD) -> Content:
    """Return the keys."""
    return in_a_row(hint_parts(HINTS, keys))


def _put(part: Static, content: Content) -> None:
    """Show a text, if it is another one; the lines here have the height that the styles give."""
    if part.content != content:
        part.update(content, layout=False)
