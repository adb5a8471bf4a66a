"""NVIDIA cards, from a stand-in of NVML that answers what a card of each kind answers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mtplx_tui.machine.nvidia import Nvidia
from mtplx_tui.machine.readings import Kind, Owner


class Refused(Exception):
    pass


def nvml(**answers: Any) -> Any:
    """Return a module in which only the given calls are known."""
    module = SimpleNamespace(NVMLError=Refused, nvmlInit=lambda: None)
    known = {
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda at: f"card {at}",
        **answers,
    }
    for name, answer in known.items():
        setattr(module, name, answer)
    return module


def refuses(*_: object) -> None:
    raise Refused


def test_a_card_with_a_fan_is_read() -> None:
    module = nvml(
        nvmlDeviceGetName=lambda _: b"RTX 4090",
        nvmlDeviceGetTemperature=lambda *_: 67,
        nvmlDeviceGetTemperatureThreshold=lambda *_: 90,
        nvmlDeviceGetPowerUsage=lambda _: 312_500,
        nvmlDeviceGetCurrentClocksEventReasons=lambda _: 0x20,
        nvmlDeviceGetNumFans=lambda _: 2,
        nvmlDeviceGetFanSpeed_v2=lambda _, fan: 40 + fan,
        nvmlDeviceGetFanControlPolicy_v2=lambda _, fan: fan,
    )
    readings, fans = Nvidia(lambda: module, lambda: 3.0).read()
    assert [(r.kind, r.name, r.value, r.critical) for r in readings] == [
        (Kind.CELSIUS, "RTX 4090", 67.0, 90),
        (Kind.WATTS, "RTX 4090", 312.5, None),
        (Kind.PRESSURE, "RTX 4090", 2.0, None),
    ]
    assert [(f.percent, f.owner, f.is_controllable) for f in fans] == [
        (40.0, Owner.SYSTEM, False),
        (41.0, Owner.MANUAL, False),
    ]


@pytest.mark.parametrize("missing", ["refused", "unknown to the library"])
def test_a_passive_board_or_an_old_driver_gives_the_rest(missing: str) -> None:
    names = ("nvmlDeviceGetNumFans", "nvmlDeviceGetPowerUsage", "nvmlDeviceGetName")
    more = dict.fromkeys(names, refuses) if missing == "refused" else {}
    module = nvml(nvmlDeviceGetTemperature=lambda *_: 41, **more)
    readings, fans = Nvidia(lambda: module).read()
    assert [(r.name, r.value) for r in readings] == [("GPU", 41.0)]
    assert fans == []


def test_without_a_driver_there_is_nothing_and_no_error() -> None:
    module = nvml()
    module.nvmlInit = refuses
    assert Nvidia(lambda: module).read() == ([], [])


def test_a_driver_that_comes_later_is_found() -> None:
    module = nvml(nvmlDeviceGetTemperature=lambda *_: 41)
    module.nvmlInit = refuses
    nvidia = Nvidia(lambda: module)
    assert nvidia.read() == ([], [])
    module.nvmlInit = lambda: None
    assert len(nvidia.read()[0]) == 1
