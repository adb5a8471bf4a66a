"""What a cycle costs at each depth, learnt while cycles run. Pure: knows numbers only.

Seconds are split into a level, which drifts with the machine's load, its heat and the length of
the context, and a ratio for each depth, which hardly does. So a measurement of one depth brings
all others up to date, and ratios are learnt where they show: when the depth changes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.protocol import MAX_DEPTH

__all__ = ["CycleCosts"]

_LEVEL_GAIN = 0.2
_RATIO_GAIN = 0.1
_LARGEST_LEVEL_STEP = 0.25
_LARGEST_RATIO_STEP = 0.5
"""Of logarithms: what goes beyond is taken for a hiccup of the machine."""
_GUESSED_ROW = 0.1
"""Of a plain cycle: what a drafted token may cost, before anything was measured."""
_PROFILE_WEIGHT = 4
"""Cycles that a profile counts for: it may be from a day when the machine was busy."""


class CycleCosts:
    """See the module.

    Args:
        ratios: of each depth's seconds to those at depth 0, by depth, as learnt before; 0 where
            nothing was.
    """

    def __init__(self, ratios: Sequence[float] = ()) -> None:
        self._level: float | None = None
        self._guesses = [math.log1p(_GUESSED_ROW * depth) for depth in range(MAX_DEPTH + 1)]
        self._ratios = list(self._guesses)
        self._weights = [0] * (MAX_DEPTH + 1)
        self._last: int | None = None
        for depth, ratio in enumerate(ratios):
            if ratio > 0:
                self._ratios[depth] = math.log(ratio)
                self._weights[depth] = _PROFILE_WEIGHT

    def learn(self, depth: int, seconds: float) -> None:
        """Take in a cycle. Seconds of 0 or less teach nothing."""
        if seconds <= 0:
            return
        seen = math.log(seconds)
        if self._level is None:
            self._level = seen - self._ratio(depth)
            self._weights[depth] += 1
        elif depth == self._last:
            self._level += _LEVEL_GAIN * _clipped(
                seen - self._level - self._ratio(depth), _LARGEST_LEVEL_STEP
            )
        else:
            self._learn_ratio(depth, seen - self._level)
        self._last = depth

    def at(self, depth: int) -> float:
        """Return the seconds a cycle takes now; before any was seen only ratios mean anything."""
        return math.exp((self._level or 0.0) + self._ratio(depth))

    def is_measured(self, depth: int) -> bool:
        """Whether a cycle of this depth was ever seen."""
        return self._weights[depth] > 0

    def ratios(self) -> tuple[float, ...]:
        """Return each depth's seconds against those at depth 0; 0 where nothing is known."""
        if not self._weights[0]:
            return (0.0,) * (MAX_DEPTH + 1)
        return tuple(
            math.exp(ratio - self._ratios[0]) if weight else 0.0
            for ratio, weight in zip(self._ratios, self._weights, strict=True)
        )

    def _learn_ratio(self, depth: int, seen: float) -> None:
        weight = self._weights[depth]
        if weight:
            gain = max(_RATIO_GAIN, 1 / (weight + 1))
            self._ratios[depth] += gain * _clipped(seen - self._ratios[depth], _LARGEST_RATIO_STEP)
        else:
            self._ratios[depth] = seen
        self._weights[depth] = weight + 1

    def _ratio(self, depth: int) -> float:
        """Return a depth's ratio; one never seen is as far off its guess as its neighbour."""
        if self._weights[depth]:
            return self._ratios[depth]
        known = [at for at, weight in enumerate(self._weights) if weight]
        if not known:
            return self._guesses[depth]
        nearest = min(known, key=lambda at: (abs(at - depth), at))
        return self._guesses[depth] + self._ratios[nearest] - self._guesses[nearest]


def _clipped(step: float, largest: float) -> float:
    return max(-largest, min(largest, step))
