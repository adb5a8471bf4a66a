"""What the Thermals tab does: follows the station, and hands fan policies on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from textual.widgets import Static

from mtplx_tui.machine import guarding
from mtplx_tui.machine.fans import FanState
from mtplx_tui.machine.policy import Policy
from mtplx_tui.machine.sensors import Sensors
from mtplx_tui.machine.station import Station
from mtplx_tui.screens.dialogs import Confirm
from mtplx_tui.traces import read_trace
from mtplx_tui.widgets.fan_gauge import FanGauge
from mtplx_tui.widgets.sensor_list import SensorList
from mtplx_tui.widgets.thermal_graphs import ThermalGraphs
from tests.fakes.heat import warming
from tests.fakes.processes import PATIENCE_S
from tests.fakes.streams import answer, plain_cycles
from tests.fakes.sysfs import FakeSysfs
from tests.tui.thermal_talk import HotTalk


def shown(talk: HotTalk, part: str) -> str:
    return str(talk.app.screen.query_one(part, Static).content)


async def until(talk: HotTalk, is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline
        await talk.pilot.pause(0.01)


async def test_without_a_sensor_the_tab_says_so_plainly(tmp_path: Path) -> None:
    talk = HotTalk(tmp_path)
    async with talk.at(80, 24):
        await talk.show()
        await talk.nothing()
        assert "No sensor and no fan can be seen here" in shown(talk, "#thermal-nothing")
        assert not talk.app.screen.query_one("#thermal-body").display


async def test_sensors_that_appear_are_shown(tmp_path: Path) -> None:
    talk = HotTalk(tmp_path)
    async with talk.at(120, 40):
        await talk.show()
        await talk.nothing()
        await talk.work(5)
        assert talk.app.screen.query_one("#thermal-body").display
        assert "Package id 0" in shown(talk, "#headline")
        assert "hwmon coretemp" in talk.app.screen.query_one(SensorList).plain


async def test_throttling_is_told_in_a_line_and_drawn_over_the_same_time(tmp_path: Path) -> None:
    talk = HotTalk(tmp_path)
    async with talk.at(120, 40):
        await talk.show()
        await talk.work(120)
        assert shown(talk, "#thermal-note") == ""
        await talk.work(260)
        assert "while the CPU went up to" in shown(talk, "#thermal-note")
        lanes = talk.app.screen.query_one(ThermalGraphs).plain
        assert "speed" in lanes
        assert "tok/s" in lanes


async def test_a_stale_reading_tells_its_age(tmp_path: Path) -> None:
    talk = HotTalk(tmp_path)
    async with talk.at(120, 40):
        await talk.show()
        await talk.work(50, stale_disk=True)
        assert " 49 s" in talk.app.screen.query_one(SensorList).plain


async def test_g_shows_the_whole_run(tmp_path: Path) -> None:
    talk = HotTalk(tmp_path)
    async with talk.at(80, 24):
        await talk.show()
        await talk.work(30)
        graphs = talk.app.screen.query_one(ThermalGraphs)
        assert "last minutes" in graphs.plain
        await talk.press("g")
        assert "whole run" in graphs.plain


async def test_a_hidden_tab_is_brought_up_to_date_when_it_comes_back(tmp_path: Path) -> None:
    talk = HotTalk(tmp_path)
    async with talk.at(80, 24):
        await talk.show()
        await talk.work(3)
        await talk.press("f2")
        await talk.work(200)
        await talk.press("f5")
        assert "critical at 100" in shown(talk, "#headline")
        assert talk.station.history.last("CPU") is not None


async def test_where_root_is_needed_the_command_is_shown_before_anything(tmp_path: Path) -> None:
    talk = HotTalk(tmp_path, needs_root=True)
    async with talk.at(120, 40):
        await talk.show()
        await talk.work(3)
        await talk.press("b")
        assert isinstance(talk.app.screen, Confirm)
        page = "\n".join(str(part.content) for part in talk.app.screen.query(Static))
        assert "sudo" in page
        assert "watchdog.py sysfs" in page.replace("\n", " ")
        await talk.press("escape")
        assert talk.station.fans.policy is Policy.AUTOMATIC
        assert not talk.station.keeper.has_guard


class RealFans(HotTalk):
    """A talk whose fans are a made-up tree with a real guard over it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.tree = FakeSysfs.desktop(folder / "tree")
        self.before = self.tree.fans()
        setup = guarding.GuardSetup("sysfs", str(self.tree.root), folder / "g", needs_root=False)
        self.app.station = self.station = Station(Sensors({}), setup, self.app._tell_thermals)

    async def boost(self) -> None:
        await self.press("b")
        self.app.feed(list(plain_cycles("r", ["x"])))
        await until(self, lambda: self.station.fans.state is FanState.HELD)

    @property
    def is_as_found(self) -> bool:
        return self.tree.fans() == self.before


async def test_boost_begins_with_a_token_and_f12_ends_it_from_any_tab(tmp_path: Path) -> None:
    talk = RealFans(tmp_path)
    async with talk.at(120, 40):
        await talk.show()
        await talk.boost()
        assert not talk.is_as_found
        await talk.press("f2", "f12")
        await until(talk, lambda: talk.station.fans.state is FanState.FREE)
        assert talk.is_as_found


async def test_leaving_the_app_gives_the_fans_back(tmp_path: Path) -> None:
    talk = RealFans(tmp_path)
    async with talk.at(120, 40):
        await talk.show()
        await talk.boost()
        talk.station.close()
        assert talk.is_as_found


async def test_a_killed_guard_shows_at_once_and_is_recovered(tmp_path: Path) -> None:
    talk = RealFans(tmp_path)
    async with talk.at(120, 40):
        await talk.show()
        await talk.boost()
        talk.station.take(next(warming(1)), is_generating=True)
        pid = guarding.guard_pid(talk.station.keeper.setup.state)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(talk, lambda: talk.station.fans.state is FanState.FREE)
        await talk.settle()
        assert talk.is_as_found
        assert "fan guard died (signal 9)" in shown(talk, "#thermal-note")
        assert "the machine's own control" in talk.app.screen.query_one(FanGauge).plain
        talk.station.close()


async def test_a_saved_trace_tells_the_heat_of_its_answer(tmp_path: Path) -> None:
    talk = HotTalk(tmp_path)
    begin, *cycles, end = answer("r1", 5)
    async with talk.at(120, 40):
        talk.app.feed([begin])
        await talk.work(90)
        talk.app.feed([*cycles, end])
        await talk.press("f3")
        await talk.press("s")
        (path,) = talk.app.places.traces.iterdir()
    heat = read_trace(path).header.heat
    assert heat.startswith("CPU 46 to 6")
    assert "rpm" in heat


async def test_a_key_for_fans_says_where_there_are_none(tmp_path: Path) -> None:
    talk = HotTalk(tmp_path)
    async with talk.at(80, 24):
        await talk.nothing()
        await talk.press("f12")
        assert talk.notices() == ["no fan can be seen here"]
