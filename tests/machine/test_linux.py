"""Sensors of a Linux machine, as the kernel shows them and as a hostile tree may."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from mtplx_tui.machine.linux import Hwmon
from mtplx_tui.machine.readings import Fan, Group, Kind, Owner, Reading, hottest, to_plain
from mtplx_tui.machine.sensors import Sensors, fresh_celsius
from tests.fakes.sysfs import FakeSysfs


@pytest.fixture
def tree(tmp_path: Path) -> FakeSysfs:
    return FakeSysfs.desktop(tmp_path / "sys")


def test_a_desktop_is_read_whole(tree: FakeSysfs) -> None:
    readings, fans = Hwmon(tree.root, lambda: 5.0).read()
    told = {(r.group, r.name, r.kind, r.value, round(r.critical or 0, 2)) for r in readings}
    assert told == {
        (Group.CPU, "Package id 0", Kind.CELSIUS, 61.0, 100.0),
        (Group.CPU, "Core 0", Kind.CELSIUS, 58.0, 0),
        (Group.BOARD, "SYSTIN", Kind.CELSIUS, 38.0, 0),
        (Group.GPU, "edge", Kind.CELSIUS, 52.0, 0),
        (Group.GPU, "amdgpu power1", Kind.WATTS, 31.0, 0),
        (Group.DISK, "Composite", Kind.CELSIUS, 41.85, 84.85),
    }
    assert {r.source for r in readings if r.group is Group.CPU} == {"hwmon coretemp"}
    assert {r.at_s for r in readings} == {5.0}
    first, second = fans
    assert (first.name, first.rpm, first.minimum_rpm, first.maximum_rpm) == (
        "CPU fan",
        820,
        300,
        2200,
    )
    assert first.percent == pytest.approx(38.04, abs=0.01)
    assert (second.name, second.rpm, second.maximum_rpm) == ("nct6775 fan 2", 640, None)
    assert {fan.owner for fan in fans} == {Owner.SYSTEM}


def test_nothing_there_is_nothing_read(tmp_path: Path) -> None:
    assert Hwmon(tmp_path / "none").read() == ([], [])


def test_thermal_zones_stand_in_where_hwmon_has_no_temperature(tmp_path: Path) -> None:
    zone = tmp_path / "class" / "thermal" / "thermal_zone0"
    zone.mkdir(parents=True)
    (zone / "temp").write_text("48500\n")
    (zone / "type").write_text("x86_pkg_temp\n")
    readings, _ = Hwmon(tmp_path).read()
    assert [(r.name, r.group, r.value) for r in readings] == [("x86_pkg_temp", Group.CPU, 48.5)]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "nonsense",
        "9" * 17,
        "9" * 60,
        "-128000",
        "-99999999",
        "255000",
        "6e4",
        "61,0",
        "\0",
        "nan",
    ],
)
def test_nonsense_is_no_reading(tree: FakeSysfs, content: str) -> None:
    tree.put("coretemp", "temp1_input", content)
    readings, _ = Hwmon(tree.root).read()
    assert [r.name for r in readings if r.group is Group.CPU] == ["Core 0"]


def test_files_that_cant_be_read_are_no_reading(tree: FakeSysfs) -> None:
    hwmon = Hwmon(tree.root)
    hwmon.read()
    chip = tree.chip("coretemp")
    (chip / "temp1_input").unlink()
    (chip / "temp1_input").mkdir()
    (chip / "temp2_input").unlink()
    os.mkfifo(chip / "temp2_input")
    readings, _ = hwmon.read()
    assert not any(r.group is Group.CPU for r in readings)
    assert hottest(readings) is not None


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no file here fails to be read")
def test_a_file_that_fails_to_read_is_no_reading(tree: FakeSysfs) -> None:
    chip = tree.chip("coretemp")
    (chip / "temp1_input").unlink()
    (chip / "temp1_input").symlink_to("/proc/self/mem")  # whose first byte is an I/O error
    with pytest.raises(OSError, match="Input/output error"):
        (chip / "temp1_input").read_bytes()
    readings, _ = Hwmon(tree.root).read()
    assert [r.name for r in readings if r.group is Group.CPU] == ["Core 0"]


def test_a_label_can_carry_no_escape(tree: FakeSysfs) -> None:
    tree.put("coretemp", "temp1_label", "\x1b[31mPackage\x07\n")
    readings, _ = Hwmon(tree.root).read()
    assert "[31mPackage" in {r.name for r in readings}


def test_a_sensor_keeps_its_id_when_devices_are_numbered_anew(tree: FakeSysfs) -> None:
    hwmon = Hwmon(tree.root)
    before = {(r.id, r.value) for r in hwmon.read()[0]}
    tree.renumber()
    assert {(r.id, r.value) for r in hwmon.read()[0]} == before


def test_a_device_that_comes_is_found_within_ten_seconds(tmp_path: Path) -> None:
    now = [0.0]
    hwmon = Hwmon(FakeSysfs(tmp_path).root, lambda: now[0])
    assert hwmon.read() == ([], [])
    FakeSysfs(tmp_path).add("nvme", "nvme0", {"temp1_input": "40000"})
    now[0] = 10.0
    assert len(hwmon.read()[0]) == 1


def test_a_manual_fan_is_told_as_such(tree: FakeSysfs) -> None:
    tree.put("nct6775", "pwm2_enable", 1)
    _, fans = Hwmon(tree.root).read()
    assert [fan.owner for fan in fans] == [Owner.SYSTEM, Owner.MANUAL]


class Watch:
    """Sensors over a tree, sampled by hand."""

    def __init__(self, tree: FakeSysfs) -> None:
        self.now = 100.0
        source = Hwmon(tree.root, lambda: self.now).read
        self.sensors = Sensors({"hwmon": source}, lambda: self.now, lambda: 0.0)

    def look(self) -> None:
        for shelf in self.sensors._shelves.values():
            shelf.read(self.now)


def test_what_stops_coming_goes_stale_and_is_dropped_after_a_minute(tree: FakeSysfs) -> None:
    watch = Watch(tree)
    watch.look()
    tree.put("coretemp", "temp1_input", "gone")
    watch.now += 4
    watch.look()
    snapshot = watch.sensors.snapshot()
    [package] = [r for r in snapshot.readings if r.name == "Package id 0"]
    assert package.value == 61.0
    assert snapshot.is_stale(package)
    assert fresh_celsius(snapshot) == 58.0
    watch.now += 60
    watch.look()
    assert "Package id 0" not in {r.name for r in watch.sensors.snapshot().readings}


def test_a_source_that_breaks_is_named_and_looked_at_again() -> None:
    fails = [True]

    def source() -> tuple[list[Reading], list[Fan]]:
        if fails[0]:
            raise RuntimeError("driver\nfell over")
        return [], []

    sensors = Sensors({"odd": source})
    [shelf] = sensors._shelves.values()
    shelf.read(0.0)
    assert sensors.problems() == ("odd: RuntimeError: driver fell over",)
    fails[0] = False
    shelf.read(1.0)
    assert sensors.problems() == ()


def test_a_source_that_hangs_holds_up_nobody(tree: FakeSysfs) -> None:
    release = threading.Event()

    def hangs() -> tuple[list[Reading], list[Fan]]:
        release.wait(10)
        return [], []

    sensors = Sensors({"hangs": hangs, "hwmon": Hwmon(tree.root).read})
    sensors.start()
    try:
        sensors._shelves["hwmon"].was_read.wait(5)
        assert len(sensors.snapshot().readings) == 6
    finally:
        sensors.stop()
        release.set()


def test_a_snapshot_is_one_json_object_with_ages(tree: FakeSysfs) -> None:
    watch = Watch(tree)
    watch.look()
    watch.now += 2
    plain = to_plain(watch.sensors.snapshot())
    assert [fan["age_s"] for fan in plain["fans"]] == [2.0, 2.0]  # ty: ignore[not-iterable] - JSON
    assert plain["pressure"] is None
