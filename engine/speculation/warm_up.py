"""Runs a few cycles of every depth on a fresh model, to learn what each costs on this machine.

It also makes MLX compile and choose what each depth needs, so no request pays for that.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.model.head import Head
from engine.model.trunk import Trunk
from engine.protocol import MAX_DEPTH, Mode, Sampling
from engine.speculation.cycle import read_prompt, run_cycle
from engine.speculation.stream import Stream

__all__ = ["measured_ratios"]

_ROUNDS = 3
_PROMPT = 16


def measured_ratios(
    trunk: Trunk, head: Head, progress: Callable[[int, int], None]
) -> tuple[float, ...]:
    """Return each depth's seconds against those of plain decoding, by depth from 0.

    Each is the shortest of a few: what else the machine does only ever adds to them.

    Args:
        trunk: the model.
        head: its head.
        progress: told how many cycles of how many are done; may raise to end it.
    """
    stream = Stream(trunk.make_cache(), head, 0)
    read_prompt(trunk, stream, [1] * _PROMPT, 1)
    seconds: list[list[float]] = [[] for _ in range(MAX_DEPTH + 1)]
    total = (MAX_DEPTH + 1) * (_ROUNDS + 1)
    for index in range(total):
        progress(index, total)
        depth = index % (MAX_DEPTH + 1)
        result = run_cycle(trunk, stream, depth, Sampling(), Mode.TOKEN)
        if index > MAX_DEPTH:
            seconds[depth].append(result.total_s)
    costs = [min(times) for times in seconds]
    return tuple(cost / costs[0] for cost in costs)
