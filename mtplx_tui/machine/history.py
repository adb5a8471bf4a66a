"""What was measured over time, a sample a second: the last minutes, and the whole run in buckets.

Pure: the times come with the samples. Rows of it are by name: the groups of the sensors, and the
keys below.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mtplx_tui.machine.readings import Group, Kind, Snapshot

__all__ = [
    "FANS",
    "POWER",
    "RECENT_S",
    "TOKENS",
    "History",
    "Sample",
    "fall_by_heat",
    "sample",
    "slowdown",
]

FANS, POWER, TOKENS = "fans", "power", "tokens"
RECENT_S = 300.0
BUCKETS = 600
LEAST_SHIFT_S = 4.0
"""Between two moves of a curve: each draws all of it anew."""
WINDOW = 10
"""Samples that a speed or a temperature is the mean or the maximum of."""
LEAST_FALL = 0.15
WARM_CELSIUS = 85.0
WARMER_CELSIUS = 4.0
HEAVY = 2.0

Values = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Sample:
    """One second."""

    at_s: float
    values: Values
    """By row; what was not known is not in it. Celsius, rpm (or percent), watts, tokens a second."""
    pressure: float = 0.0


def sample(snapshot: Snapshot, tokens_per_s: float | None) -> Sample:
    """Return a second's values: what is hottest in each group, the fastest fan, all power.

    Args:
        snapshot: stale readings in it are left out.
        tokens_per_s: None while nothing is generated.
    """
    fresh = [reading for reading in snapshot.readings if not snapshot.is_stale(reading)]
    values: dict[str, float] = {}
    pressure = 0.0
    for reading in fresh:
        if reading.kind is Kind.CELSIUS:
            values[reading.group] = max(reading.value, values.get(reading.group, -math.inf))
        elif reading.kind is Kind.WATTS:
            values[POWER] = values.get(POWER, 0.0) + reading.value
        else:
            pressure = max(pressure, reading.value)
    speeds = [
        fan.rpm for fan in snapshot.fans if not snapshot.is_stale(fan) and fan.rpm is not None
    ]
    if speeds:
        values[FANS] = max(speeds)
    if tokens_per_s is not None:
        values[TOKENS] = tokens_per_s
    return Sample(snapshot.at_s, values, pressure)


class History:
    """Grows by a sample a second; its size does not grow with the run's length."""

    def __init__(self) -> None:
        self._recent: deque[Sample] = deque()
        self._run: list[Sample] = []
        self._span_s = 1.0
        self._peaks: dict[str, float] = {}
        self._grid: tuple[tuple[int, bool, float], float, list[tuple[int, Values]]] | None = None

    def add(self, new: Sample) -> None:
        """Take a sample."""
        self._recent.append(new)
        while self._recent[0].at_s < new.at_s - RECENT_S:
            self._recent.popleft()
        for row, value in new.values.items():
            self._peaks[row] = max(value, self._peaks.get(row, value))
        if self._run and _bin(self._run[-1].at_s, self._span_s) == _bin(new.at_s, self._span_s):
            self._run[-1] = _joined(self._run[-1], new)
        else:
            self._run.append(new)
        if len(self._run) > BUCKETS:
            self._span_s *= 2
            self._run = _coarser(self._run, self._span_s)

    @property
    def recent(self) -> Sequence[Sample]:
        """The last minutes, oldest first."""
        return self._recent

    @property
    def run_s(self) -> float:
        """How long the whole run is."""
        return self._recent[-1].at_s - self._run[0].at_s if self._run else 0.0

    @property
    def rows(self) -> frozenset[str]:
        """All rows that ever had a value."""
        return frozenset(self._peaks)

    def peak(self, row: str) -> float:
        """Return the highest value of the whole run."""
        return self._peaks.get(row, 0.0)

    def last(self, row: str) -> float | None:
        """Return the newest value; None where the newest sample has none."""
        return self._recent[-1].values.get(row) if self._recent else None

    def curve(self, row: str, points: int, *, whole: bool) -> list[float | None]:
        """Return so many points of a row, evenly spaced in time, the newest last.

        Args:
            row: its name.
            points: how many.
            whole: of the whole run, and else of the last minutes.
        """
        if not self._recent or points <= 0:
            return [None] * max(0, points)
        step_s, grid = self._placed(points, whole=whole)
        curve: list[float | None] = [None] * points
        for at, values in grid:
            value = values.get(row)
            if value is not None:
                here = curve[at]
                curve[at] = value if here is None or value > here else here
        return _bridged(curve, max(2, math.ceil(self._span_s / step_s) + 1) if whole else 2)

    def _placed(self, points: int, *, whole: bool) -> tuple[float, list[tuple[int, Values]]]:
        """Return the step, and each sample's place; the same for all rows, so made once."""
        now_s = self._recent[-1].at_s
        key = (points, whole, now_s)
        if self._grid is None or self._grid[0] != key:
            span_s = max(self.run_s, RECENT_S) if whole else RECENT_S
            step_s = max(span_s / points, 1.0)
            # Drawn two to a cell, a curve moves by whole cells: what it is drawn with stays.
            jump = 2 * max(1, math.ceil(LEAST_SHIFT_S / (2 * step_s)))
            first = points - jump - _bin(now_s, jump * step_s) * jump
            samples = self._run if whole else self._recent
            places = ((first + _bin(each.at_s, step_s), each.values) for each in samples)
            grid = [(at, values) for at, values in places if 0 <= at < points]
            self._grid = (key, step_s, grid)
        return self._grid[1:]


def _bin(at_s: float, span_s: float) -> int:
    return int(at_s // span_s)


def _joined(first: Sample, second: Sample) -> Sample:
    keys = first.values.keys() | second.values.keys()
    values = {
        key: max(first.values.get(key, -math.inf), second.values.get(key, -math.inf))
        for key in keys
    }
    return Sample(first.at_s, values, max(first.pressure, second.pressure))


def _coarser(samples: Iterable[Sample], span_s: float) -> list[Sample]:
    joined: list[Sample] = []
    for each in samples:
        if joined and _bin(joined[-1].at_s, span_s) == _bin(each.at_s, span_s):
            joined[-1] = _joined(joined[-1], each)
        else:
            joined.append(each)
    return joined


def _bridged(curve: list[float | None], longest: int) -> list[float | None]:
    """Fill gaps shorter than `longest`, which come of samples falling beside the grid."""
    filled, known = list(curve), -1
    for at, value in enumerate(curve):
        if value is None:
            continue
        if 0 <= known < at - 1 and at - known - 1 < longest:
            filled[known + 1 : at] = [curve[known]] * (at - known - 1)
        known = at
    return filled


def slowdown(recent: Sequence[Sample]) -> str:
    """Return a line when heat likely made generating slower; empty when it didn't."""
    return fall_by_heat(recent)[1]


def fall_by_heat(recent: Sequence[Sample]) -> tuple[float, str]:
    """Return by how much heat likely made generating slower, and a line that says so; else 0.

    Compared are the best ten seconds of the last minutes and the newest ten, while generating; the
    processor must be hot, or the system say so, and have been cooler when it was fast.
    """
    busy = [each for each in recent if each.values.get(TOKENS, 0.0) > 0]
    if len(busy) < 3 * WINDOW or busy[-1] is not recent[-1]:
        return 0.0, ""
    windows = [busy[at : at + WINDOW] for at in range(len(busy) - 2 * WINDOW + 1)]
    best = max(windows, key=_speed)
    now = busy[-WINDOW:]
    fall = 1 - _speed(now) / _speed(best)
    if fall < LEAST_FALL:
        return 0.0, ""
    group = max((Group.CPU, Group.GPU), key=lambda row: _heat(now, row))
    heat = _heat(now, group)
    if heat >= WARM_CELSIUS and heat - _heat(best, group) >= WARMER_CELSIUS:
        return fall, f"speed fell {100 * fall:.0f} % while the {group} went up to {heat:.0f} °C"
    if max(each.pressure for each in now) >= HEAVY:
        words = f"speed fell {100 * fall:.0f} % while the system says that heat slows it down"
        return fall, words
    return 0.0, ""


def _speed(samples: Sequence[Sample]) -> float:
    return sum(each.values[TOKENS] for each in samples) / len(samples)


def _heat(samples: Sequence[Sample], row: str) -> float:
    return max(each.values.get(row, 0.0) for each in samples)
