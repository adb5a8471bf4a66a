"""Heat while something ran: what is kept of it, what is told, and what a stranger's file may say."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from engine.protocol import ErrorInfo, RequestFailed
from mtplx_tui.machine.guarding import GuardSetup
from mtplx_tui.machine.heat import (
    Course,
    Heat,
    HeatLog,
    heat_from_plain,
    heat_to_plain,
    heat_words,
)
from mtplx_tui.machine.history import FANS, POWER, TOKENS, Sample
from mtplx_tui.machine.readings import Group, Kind, Reading, Snapshot
from mtplx_tui.machine.sensors import Sensors
from mtplx_tui.machine.station import MAX_LOGS, Station
from mtplx_tui.machine.watching import Watch
from mtplx_tui.traces import read_trace, write_trace
from tests.fakes.heat import warming
from tests.fakes.streams import answer, started


def logged(*celsius: float) -> HeatLog:
    log = HeatLog()
    for at, value in enumerate(celsius):
        log.add(Sample(float(at), {"CPU": value, POWER: 20.0, FANS: 900.0, TOKENS: 9.0}))
    return log


def test_the_course_of_each_row_is_kept() -> None:
    heat = logged(60, 91, 80).heat
    assert heat is not None
    assert heat.courses["CPU"] == Course(60, 91, 80)
    assert TOKENS not in heat.courses
    assert heat_words(heat) == "CPU 60 to 91 °C, power 20.0 W, fans 900 rpm"


def test_nothing_seen_is_nothing_told() -> None:
    log = HeatLog()
    log.add(Sample(0.0, {TOKENS: 3.0}))
    assert log.heat is None
    assert heat_words(None) == ""


def test_a_slowdown_by_heat_is_kept_though_it_passes() -> None:
    log = HeatLog()
    for at in range(60):
        is_hot = 20 <= at < 45
        speed, celsius = (14.0, 97.0) if is_hot else (20.0, 70.0)
        log.add(Sample(float(at), {"CPU": celsius, TOKENS: speed}))
    heat = log.heat
    assert heat is not None
    assert heat.slow.startswith("speed fell 30 % while the CPU went up to 97")
    assert heat.slow in heat_words(heat)


def test_it_comes_back_from_a_file_as_it_was() -> None:
    heat = logged(60, 91.25, 80).heat
    assert heat is not None
    told = json.loads(json.dumps(heat_to_plain(heat)))
    assert heat_from_plain(told) == Heat({**heat.courses, "CPU": Course(60, 91.2, 80)}, "")


@pytest.mark.parametrize(
    "plain",
    [
        None, [], "hot", {}, {"courses": []}, {"courses": {"CPU": [1, 2]}},
        {"courses": {"CPU": [1, 2, "3"]}}, {"courses": {"CPU": [1, 2, float("nan")]}},
        {"courses": {"CPU": [1, 2, 1e300]}}, {"courses": {"CPU": [True, 1, 2]}},
        {"courses": {"\x1b[31m": [1, 2, 3]}},
    ],
)  # fmt: skip
def test_what_is_no_heat_is_none(plain: object) -> None:
    assert heat_from_plain(plain) is None


@pytest.fixture
def station(tmp_path: Path) -> Station:
    setup = GuardSetup("sysfs", str(tmp_path / "sys"), tmp_path / "state", needs_root=False)
    return Station(Sensors({}), setup, lambda: None, lambda: 0.0)


def test_each_answer_has_the_heat_of_its_own_time(station: Station) -> None:
    seconds = list(warming(200))
    for at, snapshot in enumerate(seconds):
        if at == 61:
            station.follow([started("r1")])
        if at == 120:
            station.follow([RequestFailed("r1", ErrorInfo("x", ""))])
        station.take(snapshot, is_generating=True)
    heat = station.heat_of("r1")
    assert heat is not None
    cpu = heat.courses["CPU"]
    assert cpu.first == pytest.approx(hottest_at(seconds[60]))
    assert cpu.highest < hottest_at(seconds[199]) - 5
    assert station.heat_of("r2") is None


def hottest_at(snapshot: Snapshot) -> float:
    return max(r.value for r in snapshot.readings if r.group is Group.CPU)


def test_old_answers_are_forgotten(station: Station) -> None:
    station.watch("a bench")
    for number in range(MAX_LOGS + 2):
        station.follow([started(f"r{number}")])
        station.follow([RequestFailed(f"r{number}", ErrorInfo("x", ""))])
    for snapshot in warming(2):
        station.take(snapshot, is_generating=True)
    assert station.heat_of("r0") is None
    assert station.heat_of("a bench") is not None  # it is watched still


def test_a_command_notes_the_heat_beside_it() -> None:
    now = time.monotonic()
    reading = Reading("c", "Core", Kind.CELSIUS, Group.CPU, 55.0, "hwmon", now)
    with Watch(Sensors({"made up": lambda: ([reading], [])})) as watch:
        heat = watch.heat
    assert heat is not None
    assert heat.courses["CPU"].first == 55.0


def test_without_sensors_a_command_notes_nothing() -> None:
    with Watch(Sensors({"none": lambda: ([], [])})) as watch:
        assert watch.heat is None


def test_a_trace_tells_the_heat_and_an_older_one_none(tmp_path: Path) -> None:
    heat = logged(60, 91).heat
    for name, given, told in (("with", heat, heat_words(heat)), ("without", None, "")):
        write_trace(tmp_path / name, [*answer("r1", 3)], given)
        assert read_trace(tmp_path / name).header.heat == told


def test_a_strangers_heat_is_no_heat(tmp_path: Path) -> None:
    write_trace(tmp_path / "t", [*answer("r1", 3)], logged(60).heat)
    head, _, rest = (tmp_path / "t").read_text("utf-8").partition("\n")
    spoiled = {**json.loads(head), "heat": {"courses": {"CPU": ["\x1b[2J", 2, 3]}, "slow": 9}}
    (tmp_path / "t").write_text(f"{json.dumps(spoiled)}\n{rest}", "utf-8")
    assert read_trace(tmp_path / "t").header.heat == ""
