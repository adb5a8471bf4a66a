"""A machine that warms up while it works: snapshots a second apart, made up but always the same."""

from __future__ import annotations

import math
from collections.abc import Iterator

from mtplx_tui.machine.readings import Fan, Group, Kind, Owner, Reading, Snapshot

START_S = 10_000.0


def warming(seconds: int, *, work_from: int = 60, stale_disk: bool = False) -> Iterator[Snapshot]:
    """Yield snapshots: idle at first, then at work, hotter and hotter."""
    for second in range(seconds):
        at_s = START_S + second
        work = max(0, second - work_from)
        cpu = 46 + 51 * (1 - math.exp(-work / 70)) + 1.5 * math.sin(second / 4)
        rpm = 800 + 1400 * (1 - math.exp(-work / 90))
        yield Snapshot(
            at_s,
            1_795_000_000.0 + second,
            (
                _heat("cpu", "Package id 0", Group.CPU, cpu, "hwmon coretemp", at_s, 100.0),
                _heat("core", "Core 0", Group.CPU, cpu - 3, "hwmon coretemp", at_s, 100.0),
                _heat("gpu", "edge", Group.GPU, 41 + work / 12, "hwmon amdgpu", at_s, 105.0),
                Reading(
                    "w", "PPT", Kind.WATTS, Group.GPU, 9 + work / 7, "hwmon amdgpu", at_s, None
                ),
                _heat(
                    "disk",
                    "Composite",
                    Group.DISK,
                    42,
                    "hwmon nvme",
                    START_S if stale_disk else at_s,
                    84.85,
                ),
                _heat("board", "SYSTIN", Group.BOARD, 36 + work / 60, "hwmon nct6775", at_s),
            ),
            (
                Fan("f1", "CPU fan", rpm, 300, 2200, rpm / 22, Owner.SYSTEM, True, "hwmon", at_s),
                Fan("f2", "nct6775 fan 2", 640, None, None, 24, Owner.SYSTEM, True, "hwmon", at_s),
            ),
        )


def speed(second: int, work_from: int = 60) -> int:
    """Return the tokens of a second: slower once it is hot."""
    work = second - work_from
    return 0 if work < 0 else round(62 - 16 / (1 + math.exp(-(work - 110) / 8)) + second % 3)


def _heat(  # noqa: PLR0913 - the fields of a reading
    name: str,
    label: str,
    group: Group,
    celsius: float,
    source: str,
    at_s: float,
    critical: float | None = None,
) -> Reading:
    return Reading(name, label, Kind.CELSIUS, group, celsius, source, at_s, critical)
