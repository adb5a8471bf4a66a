"""Runs a few cycles of every depth on a fresh model, to learn what each costs on this machine.

It also makes MLX compile and choose what each depth needs, so no request pays for that.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from engine.model.head import Head
from engine.model.trunk import Trunk
from engine.protocol import MAX_DEPTH, Mode, Sampling
from engine.speculation.cycle import read_prompt, run_cycle
from engine.speculation.stream import Stream

__all__ = ["measured_ratios"]

_ROUNDS = 3
"""That are measured, behind one that makes what each depth needs."""
_LONG_S = 3.0
"""After which no further round begins: a busy machine would keep a person waiting to little purpose."""
_PROMPT = 16


def measured_ratios(
    trunk: Trunk, head: Head, progress: Callable[[int, int], None]
) -> tuple[float, ...]:
    """Return each depth's seconds against those of plain decoding, by depth from 0.

    Each is the shortest of a few: what else the machine does only ever adds to them. No pass runs
    ahead of its cycle, plain ones included: so are cycles whose depth is chosen one by one.

    Args:
        trunk: the model.
        head: its head.
        progress: told how many cycles of how many are done; may raise to end it.
    """
    stream = Stream(trunk.make_cache(), head, 0)
    read_prompt(trunk, stream, [1] * _PROMPT, 1)
    depths = range(MAX_DEPTH + 1)
    total = len(depths) * (_ROUNDS + 1)

    def seconds(number: int) -> list[float]:
        found = []
        for depth in depths:
            progress(number * len(depths) + depth, total)
            found.append(run_cycle(trunk, stream, depth, Sampling(), Mode.TOKEN).total_s)
        return found

    seconds(0)
    begin = time.monotonic()
    rounds = [seconds(1)]
    while len(rounds) < _ROUNDS and time.monotonic() - begin < _LONG_S:
        rounds.append(seconds(len(rounds) + 1))
    costs = [min(times) for times in zip(*rounds, strict=True)]
    return tuple(cost / costs[0] for cost in costs)
