"""What a cycle costs at each depth, learnt while cycles run. Pure: knows numbers only.

The logarithms of all depths' seconds are one Gaussian state, of which each cycle shows one number
(a Kalman filter). Load, heat and the length of the context move all depths together, and each a
little by itself: so a cycle brings all depths up to date, a spike changes no ranking, and one look
at another depth counts for more than what was believed before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.protocol import MAX_DEPTH

__all__ = ["CycleCosts"]

_LOAD_DOUBT = 0.25
"""Of a ratio measured while the model was loaded. All doubts are standard deviations of logarithms,
so this one is about a quarter: the machine may have been busy."""
_LEAST_DOUBT = 0.07
"""Of a ratio learnt before, however often: contexts differ."""
_NOISE = 0.08
"""Of a cycle."""
_DRIFT = 0.05
"""A cycle, of all depths together."""
_OWN_DRIFT = 0.006
"""A cycle, of each depth by itself."""
_ANY_LEVEL = 10.0
"""Doubt of the level where no cycle was seen."""
_HICCUP = 5.0
"""Standard deviations: what goes beyond is believed when the depth's next cycle shows it again."""
_UNUSUAL = 2.5
"""Standard deviations: what goes beyond is believed so far."""
_LARGEST_SURPRISE = 0.5
"""That one cycle can be, whatever the doubt."""
_GUESSED_ROW = 0.1
"""Of a plain cycle: what a drafted token may cost, before anything was measured."""
_SHAPE_DOUBT = 0.4
"""Of the guess, shared by neighbours."""
_SHAPE_REACH = 4.0
"""Depths."""
_STEP_DOUBT = 0.25
"""Of the guess, by each depth itself: a GPU may take another kernel from some row on."""
_DEPTHS = range(MAX_DEPTH + 1)


class CycleCosts:
    """See the module.

    Args:
        ratios: of each depth's seconds to those at depth 0, by depth, as learnt before; 0 where
            nothing was.
        doubts: of each ratio, where answers taught them; none for ratios that were measured while
            the model was loaded, which are only half believed where they differ from a guess.
    """

    def __init__(self, ratios: Sequence[float] = (), doubts: Sequence[float] = ()) -> None:
        self._logs = [math.log1p(_GUESSED_ROW * depth) for depth in _DEPTHS]
        self._spread = [[_guessed_spread(one, other) for other in _DEPTHS] for one in _DEPTHS]
        self._drifted = _ANY_LEVEL**2
        """Variance of the level that `_spread` does not have yet."""
        self._measured = [False] * len(_DEPTHS)
        self._was_hiccup = [False] * len(_DEPTHS)
        self._is_running = False
        if doubts and all(ratios):
            self._logs = [math.log(ratio) for ratio in ratios]
            self._spread = [
                [max(_LEAST_DOUBT, doubts[one]) ** 2 * (one == other) for other in _DEPTHS]
                for one in _DEPTHS
            ]
            self._measured = [True] * len(_DEPTHS)
            return
        for depth, ratio in enumerate(ratios):
            if ratio > 0:
                self._observe(depth, math.log(ratio), _LOAD_DOUBT)

    def learn(self, depth: int, seconds: float) -> None:
        """Take in a cycle. Seconds of 0 or less teach nothing."""
        if seconds <= 0:
            return
        seen = math.log(seconds)
        if not self._is_running:
            self._drifted += _ANY_LEVEL**2
            self._is_running = True
        else:
            self._drift()
            believed = self._logs[depth]
            usual = math.sqrt(self._spread[depth][depth] + self._drifted + _NOISE**2)
            is_confirmed = self._was_hiccup[depth]
            self._was_hiccup[depth] = abs(seen - believed) > _HICCUP * usual
            if self._was_hiccup[depth] and not is_confirmed:
                return
            most = min(_LARGEST_SURPRISE, _UNUSUAL * usual)
            seen = max(believed - most, min(believed + most, seen))
        self._observe(depth, seen, _NOISE)

    def at(self, depth: int) -> float:
        """Return the seconds a cycle takes now; before any was seen only ratios mean anything."""
        return math.exp(self._logs[depth])

    def all(self) -> list[float]:
        """Return `at` of every depth."""
        return [math.exp(log) for log in self._logs]

    def doubts(self, depth: int = 0) -> list[float]:
        """Return how unsure the ratio of each depth's seconds to those of one depth is."""
        shared = self._spread[depth]
        return [
            math.sqrt(max(0.0, row[at] + shared[depth] - 2 * shared[at]))
            for at, row in enumerate(self._spread)
        ]

    def is_measured(self, depth: int) -> bool:
        """Whether a cycle of this depth was ever seen."""
        return self._measured[depth]

    def ratios(self) -> tuple[float, ...]:
        """Return each depth's seconds against those at depth 0; 0 where nothing is known."""
        if not self._measured[0]:
            return (0.0,) * len(_DEPTHS)
        return tuple(
            math.exp(log - self._logs[0]) if is_measured else 0.0
            for log, is_measured in zip(self._logs, self._measured, strict=True)
        )

    def _drift(self) -> None:
        """Let doubts grow by what a cycle may change."""
        self._drifted += _DRIFT**2
        for depth, row in enumerate(self._spread):
            row[depth] += _OWN_DRIFT**2

    def _observe(self, depth: int, seen: float, doubt: float) -> None:
        """Take in the logarithm of a depth's seconds."""
        drifted, self._drifted = self._drifted, 0.0
        shared = [value + drifted for value in self._spread[depth]]
        variance = shared[depth] + doubt**2
        surprise = seen - self._logs[depth]
        for at, row in enumerate(self._spread):
            gain = shared[at] / variance
            self._logs[at] += gain * surprise
            row[:] = [
                value + drifted - gain * other for value, other in zip(row, shared, strict=True)
            ]
        self._measured[depth] = True


def _guessed_spread(one: int, other: int) -> float:
    """Return how two depths' guesses vary together."""
    shape = _SHAPE_DOUBT**2 * math.exp(-abs(one - other) / _SHAPE_REACH)
    return shape + _STEP_DOUBT**2 * (one == other)
