"""Sensors sampled once a second, each source in a thread of its own: one that hangs holds up nobody.

What stops coming keeps its last value and its time, so its age shows, and is dropped after a while.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from mtplx_tui.machine.linux import Hwmon
from mtplx_tui.machine.readings import Fan, Reading, Snapshot, hottest

__all__ = ["Sensors", "Source", "find_sources", "fresh_celsius"]

INTERVAL_S = 1.0
FORGET_S = 60.0
Part = TypeVar("Part", Reading, Fan)
Source = Callable[[], tuple[list[Reading], list[Fan]]]
"""Reads everything it knows of, now. May take as long as it likes."""


def find_sources(sysfs: Path | None) -> dict[str, Source]:
    """Return the sources there are on this machine, by name.

    Args:
        sysfs: the tree to read in place of the machine's own; None for the machine's own.
    """
    sources: dict[str, Source] = {}
    if sysfs is not None or sys.platform != "darwin":
        sources["hwmon"] = Hwmon(sysfs or Path("/sys")).read
    else:
        from mtplx_tui.machine.mac import MacSensors

        sources["SMC"] = MacSensors().read
    if importlib.util.find_spec("pynvml") is not None:
        from mtplx_tui.machine.nvidia import Nvidia

        sources["NVML"] = Nvidia().read
    return sources


class Sensors:
    """The samplers and what they last saw.

    Args:
        sources: by name.
        clock: the monotonic one.
        wall: seconds since 1970.
        interval_s: between two looks at a source.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._clock, self._wall, self._interval_s = clock, wall, interval_s
        self._shelves = {name: _Shelf(source) for name, source in sources.items()}
        self._is_over = threading.Event()

    def start(self) -> None:
        """Begin to sample."""
        for name, shelf in self._shelves.items():
            threading.Thread(
                target=self._sample, args=(shelf,), name=f"sensors-{name}", daemon=True
            ).start()

    def stop(self) -> None:
        """Begin no further look. A look that hangs is let hang."""
        self._is_over.set()

    def settle(self, timeout_s: float) -> None:
        """Wait until every source was read once, or for so long."""
        deadline = time.monotonic() + timeout_s
        for shelf in self._shelves.values():
            shelf.was_read.wait(max(0.0, deadline - time.monotonic()))

    def snapshot(self) -> Snapshot:
        """Return what is known now, without waiting for anything."""
        now = self._clock()
        shelves = list(self._shelves.values())
        readings = (r for shelf in shelves for r in shelf.readings if now - r.at_s < FORGET_S)
        fans = (fan for shelf in shelves for fan in shelf.fans if now - fan.at_s < FORGET_S)
        return Snapshot(now, self._wall(), tuple(readings), tuple(fans))

    def problems(self) -> tuple[str, ...]:
        """Return what is wrong with sources, one line each."""
        return tuple(
            f"{name}: {shelf.problem}" for name, shelf in self._shelves.items() if shelf.problem
        )

    def _sample(self, shelf: _Shelf) -> None:
        while not self._is_over.is_set():
            shelf.read(self._clock())
            self._is_over.wait(self._interval_s)


class _Shelf:
    """What one source last said, part by part."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.readings: tuple[Reading, ...] = ()
        self.fans: tuple[Fan, ...] = ()
        self.problem = ""
        self.was_read = threading.Event()

    def read(self, now: float) -> None:
        try:
            readings, fans = self._source()
            self.problem = ""
        except Exception as error:  # noqa: BLE001 - the seam to drivers: told, and read again
            self.problem = " ".join(f"{type(error).__name__}: {error}".split())
            readings, fans = [], []
        self.readings = _merged(self.readings, readings, now)
        self.fans = _merged(self.fans, fans, now)
        self.was_read.set()


def _merged(old: tuple[Part, ...], new: list[Part], now: float) -> tuple[Part, ...]:
    """Return the new parts, each where its old one was; those that stopped coming stay a while."""
    if [part.id for part in old] == [part.id for part in new]:
        return tuple(new)
    parts = {part.id: part for part in old if now - part.at_s < FORGET_S}
    return tuple((parts | {part.id: part for part in new}).values())


def fresh_celsius(snapshot: Snapshot) -> float | None:
    """Return the hottest processor's temperature; None where no fresh one is known."""
    fresh = [reading for reading in snapshot.readings if not snapshot.is_stale(reading)]
    warmest = hottest(fresh)
    return None if warmest is None else warmest.value
