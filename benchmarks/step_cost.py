"""A pass of the 27B shape over few rows: ours against stock mlx-lm's, on one GPU, in turns.

    python -m benchmarks.step_cost [--layers 64] [--graphs] [--rows 1 2 4 8] [--commit HASH]

Weights are random, 4 bits, made on the device; the prompt is a handful of tokens, so that nothing
of MLX's matmuls for many rows has to be compiled first. For ours it also tells how long the host
builds the graph, how long it hands it over, and how long it then waits: where the wait is short,
the host is what takes the time. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import make_prompt_cache

from benchmarks.few_rows import commit
from benchmarks.shape_27b import SHAPE, device, in_turns
from engine.model.attention import use_window_attention
from engine.model.cache import Cache
from engine.model.gated_attention import use_gated_heads
from engine.model.mixers import mixer_note
from engine.model.projections import use_few_row_matmuls
from engine.model.random_weights import fill, unfilled_model
from engine.model.residuals import use_fused_mlps, use_fused_sums
from engine.model.trunk import Trunk

REPEATS = 25


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=64)
    parser.add_argument("--graphs", action="store_true", help="repeat passes as graphs")
    parser.add_argument("--commit", default="", help="where there is no git")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 2, 4, 8])
    options = parser.parse_args()
    begin = time.perf_counter()
    stock, trunk = model(options.layers), fast(model(options.layers), options)
    told(f"models ready after {time.perf_counter() - begin:.0f} s")
    caches = make_prompt_cache(stock), started(trunk)
    mx.eval(stock(mx.array([[1, 2, 3, 4]]), cache=caches[0]))
    ways: dict[str, Callable[[], object]] = {}
    for rows in options.rows:
        ways[f"stock {rows}"] = lambda rows=rows: stock_pass(stock, caches[0], rows)
        ways[f"own {rows}"] = lambda rows=rows: own_pass(trunk, caches[1], rows)
    for name, way in ways.items():
        way()
        told(f"{name} is warm after {time.perf_counter() - begin:.0f} s")
    document: dict[str, Any] = {
        "device": device(),
        "commit": options.commit or commit(),
        "layers": options.layers,
        "steps": trunk.steps_note or ("graphs" if options.graphs else "built anew each time"),
        "ms": in_turns(ways),
        "host_ms": {rows: stages(trunk, caches[1], rows) for rows in options.rows},
        "peak_gib": round(mx.get_peak_memory() / 2**30, 2),
    }
    times = document["ms"]
    document["stock_over_own"] = {
        rows: round(times[f"stock {rows}"] / times[f"own {rows}"], 3) for rows in options.rows
    }
    if {1, 4} <= set(options.rows):
        document["four_over_one"] = round(times["own 4"] / times["own 1"], 3)
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def told(line: str) -> None:
    """Say how far it is."""
    sys.stderr.write(line + "\n")


def model(layers: int) -> nn.Module:
    """Return mlx-lm's model of the shape with random weights."""
    made = unfilled_model(SHAPE.config(layers), mx.bfloat16)
    fill(made, 0)
    return made


def fast(made: nn.Module, options: argparse.Namespace) -> Trunk:
    """Return the model as the engine runs it."""
    folder = Path(tempfile.gettempdir()) / "step-cost"
    note = use_few_row_matmuls(made, folder, lambda *_: None)
    if note:
        told(note)
    use_window_attention(made)
    ways = use_gated_heads, use_fused_mlps, use_fused_sums, mixer_note
    for note in (way(made) for way in ways):
        if note:
            told(note)
    trunk = Trunk(made)
    if options.graphs:
        begin = time.perf_counter()
        trunk.compile_steps(lambda *_: None)
        told(f"steps are graphs after {time.perf_counter() - begin:.1f} s")
    return trunk


def started(trunk: Trunk) -> Cache:
    """Return caches that hold a few tokens."""
    cache = trunk.make_cache()
    own_pass(trunk, cache, 4)
    return cache


def tokens(rows: int) -> mx.array:
    """Return the tokens of a window."""
    return mx.arange(1, rows + 1, dtype=mx.uint32)


def stock_pass(stock: nn.Module, cache: list[Any], rows: int) -> None:
    """Run stock mlx-lm over a window."""
    mx.eval(stock(tokens(rows)[None], cache=cache))


def own_pass(trunk: Trunk, cache: Cache, rows: int) -> None:
    """Run ours over a window, and roll it back to one row."""
    mx.eval(trunk.forward(tokens(rows), cache).logits)
    cache.commit(1)
    mx.eval(cache.arrays())


def stages(trunk: Trunk, cache: Cache, rows: int) -> dict[str, float]:
    """Return the median milliseconds of building, handing over and waiting."""
    taken = []
    for _ in range(REPEATS):
        window = tokens(rows)
        mx.eval(window)
        times = [time.perf_counter()]
        logits = trunk.forward(window, cache).logits
        times.append(time.perf_counter())
        mx.async_eval(logits)
        times.append(time.perf_counter())
        mx.eval(logits)
        times.append(time.perf_counter())
        cache.commit(1)
        mx.eval(cache.arrays())
        taken.append([1e3 * (b - a) for a, b in itertools.pairwise(times)])
    medians = [round(statistics.median(each), 2) for each in zip(*taken[3:], strict=True)]
    return dict(zip(("build", "hand_over", "wait"), medians, strict=True))


if __name__ == "__main__":
    main()
