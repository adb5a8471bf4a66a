"""NVIDIA graphics cards through NVML, read only. Needs the extra `nvidia`.

Each value is asked for on its own: a board without a fan, or an older driver, refuses some and gives
the others. The library is loaded in the sampling thread at the first look, never at import.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from mtplx_tui.machine.readings import Fan, Group, Kind, Owner, Reading

__all__ = ["Nvidia"]

THERMAL = 0x20 | 0x40
"""Clocks are lowered by software or by hardware because of heat."""
MANUAL = 1
HEAVY = 2.0


class Nvidia:
    """Reads every card.

    Args:
        load: gives the NVML module; it may raise ImportError.
        clock: the monotonic one.
    """

    def __init__(
        self,
        load: Callable[[], ModuleType] = lambda: importlib.import_module("pynvml"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load, self._clock = load, clock
        self._nvml: Any = None
        self._cards: list[tuple[str, Any]] = []

    def read(self) -> tuple[list[Reading], list[Fan]]:
        """Return what the cards say now; nothing where there is no driver."""
        if self._nvml is None:
            nvml: Any = self._load()
            try:
                nvml.nvmlInit()
            except nvml.NVMLError:
                return [], []  # No driver, or none that runs yet: a state as good as any.
            self._nvml = nvml
            count = self._ask("nvmlDeviceGetCount") or 0
            handles = [self._ask("nvmlDeviceGetHandleByIndex", at) for at in range(count)]
            self._cards = [(f"{at}", handle) for at, handle in enumerate(handles) if handle]
        readings = [reading for at, card in self._cards for reading in self._readings(at, card)]
        return readings, [fan for at, card in self._cards for fan in self._fans(at, card)]

    def _ask(self, call: str, *arguments: object) -> Any:
        """Return what NVML answers, None where this card or driver doesn't."""
        function = getattr(self._nvml, call, None)
        if function is None:
            return None
        try:
            return function(*arguments)
        except self._nvml.NVMLError:
            return None

    def _readings(self, at: str, card: Any) -> Iterator[Reading]:
        name = self._ask("nvmlDeviceGetName", card) or "GPU"
        name = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
        celsius = self._ask("nvmlDeviceGetTemperature", card, 0)
        limit = self._ask("nvmlDeviceGetTemperatureThreshold", card, 1)
        if celsius is not None:
            yield self._reading(at, name, Kind.CELSIUS, float(celsius), limit)
        milliwatts = self._ask("nvmlDeviceGetPowerUsage", card)
        if milliwatts is not None:
            yield self._reading(at, name, Kind.WATTS, milliwatts / 1000)
        reasons = self._ask("nvmlDeviceGetCurrentClocksEventReasons", card)
        if reasons is not None:
            yield self._reading(at, name, Kind.PRESSURE, HEAVY if reasons & THERMAL else 0.0)

    def _reading(
        self, at: str, name: str, kind: Kind, value: float, limit: float | None = None
    ) -> Reading:
        source = f"NVML {at}"
        return Reading(
            f"nvml{at}/{kind}", name, kind, Group.GPU, value, source, self._clock(), limit
        )

    def _fans(self, at: str, card: Any) -> Iterator[Fan]:
        for number in range(self._ask("nvmlDeviceGetNumFans", card) or 0):
            percent = self._ask("nvmlDeviceGetFanSpeed_v2", card, number)
            policy = self._ask("nvmlDeviceGetFanControlPolicy_v2", card, number)
            if percent is None:
                continue
            yield Fan(
                id=f"nvml{at}/fan{number}",
                name=f"GPU {at} fan {number + 1}",
                rpm=None,
                minimum_rpm=None,
                maximum_rpm=None,
                percent=float(percent),
                owner=_owner(policy),
                is_controllable=False,
                source=f"NVML {at}",
                at_s=self._clock(),
            )


def _owner(policy: int | None) -> Owner:
    if policy is None:
        return Owner.UNKNOWN
    return Owner.MANUAL if policy == MANUAL else Owner.SYSTEM
