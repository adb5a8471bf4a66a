"""What a kernel takes a GPU, without what handing it over takes the host.

MLX tells no times of the GPU's own. So the GPU is kept busy while the host hands the work over, and what
differs between two times is the GPU's part.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable

import mlx.core as mx

__all__ = ["seconds_behind_lead"]

_LEAD_S = 0.006
"""Longer than the host takes to hand over some hundreds of kernels."""
_SIDE = 2048
_REPEATS = 7


def seconds_behind_lead(work: Callable[[], mx.array]) -> float:
    """Return the least seconds of some runs of work, each behind the same other work.

    Args:
        work: returns what is to be computed; called once before its time counts.
    """
    mx.eval(work())
    times = []
    for _ in range(_REPEATS):
        begin = time.perf_counter()
        mx.async_eval(_lead(_lead_length()))
        mx.eval(work())
        times.append(time.perf_counter() - begin)
    return min(times)


def _lead(products: int) -> mx.array:
    """Return so many products one after the other; what they come to means nothing."""
    square = mx.full((_SIDE, _SIDE), 1 / _SIDE, mx.bfloat16)
    total = square
    for _ in range(products):
        total = total @ square
    return total


@functools.cache
def _lead_length() -> int:
    """Return how many products keep this GPU busy long enough."""
    few = 8
    mx.eval(_lead(few))
    begin = time.perf_counter()
    mx.eval(_lead(few))
    return math.ceil(_LEAD_S * few / (time.perf_counter() - begin))
