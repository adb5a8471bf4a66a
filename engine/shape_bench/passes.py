"""Passes over windows of some rows, ours and stock's in turns, and what the host spends on them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import mlx.core as mx

from engine.model.cache import Cache
from engine.protocol import MAX_DEPTH
from engine.shape_bench.contexts import own_cache, stock_cache
from engine.shape_bench.models import Both, cache_bytes
from engine.shape_bench.pace import Pace
from engine.verdict.shape_costs import CacheFacts, HostTimes, PassTimes

__all__ = ["FEW_ROWS", "host_times", "pass_times", "window"]

FEW_ROWS = (1, 4)
"""A plain step, and a window of three drafts."""
_IN_A_ROW = 4
"""Passes that are timed together, as a text's follow one another."""
Way = Callable[[], None]


def pass_times(
    both: Both, context: int, rows: Mapping[str, Sequence[int]], pace: Pace, share: float
) -> tuple[list[PassTimes], CacheFacts]:
    """Return the times of passes at a context, and what a step moves of its caches there.

    Args:
        both: the models.
        context: positions in the caches.
        rows: of "own" and of "stock".
        pace: says how many rounds.
        share: of the time that is left.
    """
    cache = own_cache(both, context)
    over = _held_over(both, cache)
    theirs = stock_cache(both, context)
    kv, state = cache_bytes(cache.layers)
    ways: dict[tuple[str, int], Way] = {}
    for count in range(1, MAX_DEPTH + 2):
        if count in (*FEW_ROWS, *rows["stock"]):
            ways["stock", count] = lambda count=count: _stock_pass(both, theirs, count)
        if count in (*FEW_ROWS, *rows["own"]):
            ways["own", count] = lambda count=count: _own_pass(both, cache, count)
    times: dict[tuple[str, int], list[float]] = {key: [] for key in ways}
    for (who, count), way in ways.items():
        pace.warm(f"a window of {count}, {who}", way)
    for _ in pace.rounds(share):
        for key, way in ways.items():
            way()  # the first behind another's finds caches that hold what was the other's
            begin = time.perf_counter()
            for _ in range(_IN_A_ROW):
                way()
            times[key].append(1e3 * (time.perf_counter() - begin) / _IN_A_ROW)
    for (who, count), ms in times.items():
        pace.tell(f"{who}, {count} rows at {context}: {statistics.median(ms):.2f} ms")
    found = [PassTimes(who, context, count, tuple(ms)) for (who, count), ms in times.items()]
    return found, CacheFacts(context, kv * context, 2 * state, over)


def _held_over(both: Both, cache: Cache) -> int:
    """Return the most that passes hold beyond what is still held after them."""
    mx.clear_cache()
    mx.reset_peak_memory()
    for rows in FEW_ROWS:
        _own_pass(both, cache, rows)
    return mx.get_peak_memory() - mx.get_active_memory()


def host_times(both: Both, context: int, pace: Pace, share: float) -> list[HostTimes]:
    """Return how long the host builds a pass of few rows, hands it over, and waits for it."""
    cache, theirs = own_cache(both, context), stock_cache(both, context)
    builds: dict[tuple[str, int], Callable[[], mx.array]] = {}
    for count in FEW_ROWS:
        builds["stock", count] = lambda count=count: both.stock(window(count)[None], cache=theirs)
        builds["own", count] = lambda count=count: (
            both.own.trunk.forward(window(count), cache).logits
        )
    times: dict[tuple[str, int], list[tuple[float, float, float]]] = {key: [] for key in builds}
    for _ in pace.rounds(share):
        for key, build in builds.items():
            times[key].append(_stages(build))
            if key[0] == "own":
                cache.commit(1)
                mx.eval(cache.arrays())
    return [
        HostTimes(who, count, *(tuple(stage) for stage in zip(*stages, strict=True)))
        for (who, count), stages in times.items()
    ]


def _stages(build: Callable[[], mx.array]) -> tuple[float, float, float]:
    begin = time.perf_counter()
    logits = build()
    built = time.perf_counter()
    mx.async_eval(logits)
    handed = time.perf_counter()
    mx.eval(logits)
    done = time.perf_counter()
    return 1e3 * (built - begin), 1e3 * (handed - built), 1e3 * (done - handed)


def window(rows: int) -> mx.array:
    """Return the tokens of a window; uint32 [rows]."""
    return mx.arange(1, rows + 1, dtype=mx.uint32)


def _own_pass(both: Both, cache: Cache, rows: int) -> None:
    mx.eval(both.own.trunk.forward(window(rows), cache).logits)
    cache.commit(1)
    mx.eval(cache.arrays())


def _stock_pass(both: Both, layers: list[Any], rows: int) -> None:
    """Run stock's model; it can't undo rows of a recurrent state, so its caches grow by them all."""
    mx.eval(both.stock(window(rows)[None], cache=layers))
    mx.eval([layer.state for layer in layers])
