"""What sensors say, as frozen facts; and their form in traces and in results of measurements.

Standard library only: the fan guard, which runs alone, imports it too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["STALE_S", "Fan", "Group", "Kind", "Owner", "Reading", "Snapshot", "hottest", "to_plain"]

STALE_S = 3.0
"""An older reading is shown as such, and no decision is built on it."""


class Kind(StrEnum):
    """What a reading measures, and so its unit."""

    CELSIUS = "celsius"
    WATTS = "watts"
    PRESSURE = "pressure"
    """The system's own word for how hot it is: 0 nominal, 1 moderate, 2 heavy, 3 and 4 critical."""


class Group(StrEnum):
    """The part of the machine a sensor sits on."""

    CPU = "CPU"
    GPU = "GPU"
    MEMORY = "memory"
    DISK = "disk"
    BATTERY = "battery"
    BOARD = "board"


class Owner(StrEnum):
    """Who sets a fan's speed."""

    SYSTEM = "system"
    MANUAL = "manual"
    """A person or a program; mtplx-tui itself, while its guard holds the fans."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of one sensor."""

    id: str
    """Stays the same when the kernel numbers its devices anew."""
    name: str
    kind: Kind
    group: Group
    value: float
    source: str
    """Who gave it, for people: "hwmon coretemp", "NVML", "SMC Tp01"."""
    at_s: float
    """Of the monotonic clock, when it was read."""
    critical: float | None = None
    """Where the device itself sees danger; None where it doesn't say."""


@dataclass(frozen=True, slots=True)
class Fan:
    """One fan. What the machine doesn't tell is None."""

    id: str
    name: str
    rpm: float | None
    minimum_rpm: float | None
    maximum_rpm: float | None
    percent: float | None
    """Of full drive, as commanded."""
    owner: Owner
    is_controllable: bool
    """Whether this build knows how to hold it and to give it back."""
    source: str
    at_s: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything known at one moment; readings that stopped coming keep their old time."""

    at_s: float
    """Of the monotonic clock."""
    time_s: float
    """Seconds since 1970."""
    readings: tuple[Reading, ...] = ()
    fans: tuple[Fan, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether no sensor and no fan answers."""
        return not self.readings and not self.fans

    def of(self, kind: Kind) -> tuple[Reading, ...]:
        """Return the readings of one kind."""
        return tuple(reading for reading in self.readings if reading.kind is kind)

    def is_stale(self, part: Reading | Fan) -> bool:
        """Whether a part of it was read too long ago."""
        return self.at_s - part.at_s > STALE_S


def hottest(readings: Iterable[Reading]) -> Reading | None:
    """Return the hottest of the processors' sensors, or of all where there are none."""
    warm = [reading for reading in readings if reading.kind is Kind.CELSIUS]
    chips = [reading for reading in warm if reading.group in (Group.CPU, Group.GPU)]
    return max(chips or warm, key=lambda reading: reading.value, default=None)


def to_plain(snapshot: Snapshot) -> dict[str, object]:
    """Return a snapshot as one JSON object, ages in place of clock times."""
    temperatures = [_plain(r, "celsius", snapshot) for r in snapshot.of(Kind.CELSIUS)]
    pressure = max((r.value for r in snapshot.of(Kind.PRESSURE)), default=None)
    return {
        "time_s": round(snapshot.time_s, 3),
        "temperatures": temperatures,
        "power": [_plain(r, "watts", snapshot) for r in snapshot.of(Kind.WATTS)],
        "pressure": None if pressure is None else int(pressure),
        "fans": [_plain_fan(fan, snapshot) for fan in snapshot.fans],
    }


def _plain(reading: Reading, unit: str, snapshot: Snapshot) -> dict[str, object]:
    plain: dict[str, object] = {
        "id": reading.id,
        "name": reading.name,
        "group": str(reading.group),
        unit: round(reading.value, 2),
        "source": reading.source,
        "age_s": round(snapshot.at_s - reading.at_s, 1),
    }
    return plain if reading.critical is None else {**plain, "critical": round(reading.critical, 2)}


def _plain_fan(fan: Fan, snapshot: Snapshot) -> dict[str, object]:
    return {
        "id": fan.id,
        "name": fan.name,
        "rpm": fan.rpm,
        "minimum_rpm": fan.minimum_rpm,
        "maximum_rpm": fan.maximum_rpm,
        "percent": None if fan.percent is None else round(fan.percent, 1),
        "owner": str(fan.owner),
        "is_controllable": fan.is_controllable,
        "source": fan.source,
        "age_s": round(snapshot.at_s - fan.at_s, 1),
    }
