"""What it costs to record the x-ray: cycles of the demo with it and without, in turns.

    uv run python -m benchmarks.xray_cost [--cycles 300] [--depth 3]

Two streams of the same seed take turns cycle by cycle, so both see the same tokens, the same
context and the same drift of the machine; which goes first alternates. Tells the ratio of the
times with a 95 % interval over blocks of cycles, and that of their lowest deciles, which is what
is left of the answer while other programs use the machine. `alone_ms` is the x-ray's own work on a
window of this size, its words included, timed by itself. Prints one JSON document. Where others use
the machine, OPENBLAS_NUM_THREADS=1 keeps the matrix library from waiting for a core.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.decode import CACHE, prompt_ids
from benchmarks.in_pty import machine

if TYPE_CHECKING:
    from engine.model.load import LoadedModel
    from engine.speculation.cycle import CycleResult
    from engine.speculation.stream import Stream

BLOCK = 5
"""Pairs of cycles whose medians are one sample."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=300)
    parser.add_argument("--depth", type=int, default=3)
    options = parser.parse_args()
    from engine.blas import prepare

    prepare("auto", CACHE)
    from engine.model.load import load
    from engine.protocol import Mode
    from mtplx_tui.library.disk import resolve

    model = load("demo", Path(resolve("demo").path), CACHE, lambda *_: None)
    modes = {mode.value: measure(model, mode.value, options) for mode in Mode}
    document = {
        **machine(),
        "blas_threads": os.environ.get("OPENBLAS_NUM_THREADS", "all"),
        "depth": options.depth,
        "cycles": options.cycles,
        "alone_ms": alone(model, options.depth),
        "modes": modes,
    }
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def measure(model: LoadedModel, mode: str, options: argparse.Namespace) -> dict[str, float]:
    """Return milliseconds a cycle both ways, and what the x-ray adds."""
    without: list[float] = []
    with_it: list[float] = []
    streams = [_stream(model, has_xray=has_xray) for has_xray in (False, True)]
    for index in range(options.cycles + BLOCK):
        order = (0, 1) if index % 2 else (1, 0)
        seconds = [0.0, 0.0]
        emitted = []
        for at in order:
            result = _cycle(model, streams[at], mode, options.depth)
            seconds[at] = result.total_s
            emitted.append(result.emitted)
        if emitted[0] != emitted[1]:
            raise SystemExit("looking changed what was said")
        if index >= BLOCK:
            without.append(1e3 * seconds[0])
            with_it.append(1e3 * seconds[1])
    ratios = [
        statistics.median(with_it[at : at + BLOCK]) / statistics.median(without[at : at + BLOCK])
        for at in range(0, len(with_it), BLOCK)
    ]
    half = 1.96 * statistics.stdev(ratios) / len(ratios) ** 0.5
    mean = statistics.mean(ratios)
    return {
        "without_ms": round(statistics.median(without), 3),
        "with_ms": round(statistics.median(with_it), 3),
        "lowest_decile_without_ms": round(_lowest(without), 3),
        "lowest_decile_with_ms": round(_lowest(with_it), 3),
        "lowest_decile_cost_percent": round(100 * (_lowest(with_it) / _lowest(without) - 1), 2),
        "cost_percent": round(100 * (mean - 1), 2),
        "cost_percent_low": round(100 * (mean - half - 1), 2),
        "cost_percent_high": round(100 * (mean + half - 1), 2),
    }


def alone(model: LoadedModel, depth: int) -> dict[str, float]:
    """Return the milliseconds of the x-ray's own work on one window, judged as a block."""
    import mlx.core as mx

    from engine.protocol import Sampling
    from engine.speculation.acceptance import block_rule
    from engine.speculation.draft import Draft
    from engine.speculation.noise import CycleNoise
    from engine.speculation.sampling import target_distribution
    from engine.speculation.xray import WindowXray, detail_of

    vocabulary = model.info.vocabulary
    logits = 3 * mx.random.normal((2 * depth + 1, vocabulary), key=mx.random.key(1))
    rows = target_distribution(logits, Sampling())
    noise = CycleNoise(1, 1, 1, depth)
    drafted = Draft(mx.argmax(rows[depth + 1 :], axis=-1), rows[depth + 1 :], is_drawn=True)
    target = rows[: depth + 1]
    verdict = block_rule(
        target, rows[depth + 1 :], drafted.tokens, noise.accept(), noise.following()
    )
    chances = verdict.chances
    mx.eval(target, drafted.tokens, rows, verdict.accepted, verdict.token, verdict.next_probs)
    if chances is not None:
        mx.eval(chances.reach, chances.stop)
    times = []
    for _ in range(200):
        begin = time.perf_counter()
        xray = WindowXray(target, drafted, verdict, noise, is_seeded=False)
        mx.eval(*xray.arrays)
        detail_of(xray.read(0), model.tokenizer.piece)
        times.append(1e3 * (time.perf_counter() - begin))
    times.sort()
    return {"lowest_decile": round(_lowest(times), 3), "median": round(statistics.median(times), 3)}


def _lowest(values: list[float]) -> float:
    return statistics.quantiles(values, n=10)[0]


def _stream(model: LoadedModel, *, has_xray: bool) -> Stream:
    from engine.speculation.cycle import read_prompt
    from engine.speculation.stream import Stream

    ids = prompt_ids(model)
    stream = Stream(model.trunk.make_cache(), model.head, 7)
    stream.has_xray = has_xray
    read_prompt(model.trunk, stream, ids[:-1], ids[-1])
    return stream


def _cycle(model: LoadedModel, stream: Stream, mode: str, depth: int) -> CycleResult:
    from engine.protocol import Mode, Sampling
    from engine.speculation.cycle import run_cycle

    return run_cycle(model.trunk, stream, depth, Sampling(), Mode(mode))


if __name__ == "__main__":
    main()
