"""What the host takes to build a pass of few rows: anew each time, and as a graph that is repeated.

    python -m benchmarks.pass_build [--layers 64] [--commit HASH]

A tiny model of qwen3_5 with so many layers, and its family's head, with random weights, so that the
building is nearly all there is. Processor time of the one thread, so that what else runs does not
count; on a CPU operations are not fused, which would take a compiler minutes. Prints one JSON
document.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx

from benchmarks.few_rows import commit
from benchmarks.shape_27b import device
from engine.model.heads.pair import PairHead
from engine.model.load import load
from engine.model.trunk import Trunk
from tests.fakes import checkpoints, families
from tests.fakes.unfused import unfused

REPEATS = 9
TURNS = 5
ROWS = (1, 4)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=64)
    parser.add_argument("--commit", default="", help="where there is no git")
    options = parser.parse_args()
    is_cpu = mx.default_device() == mx.cpu
    with tempfile.TemporaryDirectory() as folder, unfused() if is_cpu else contextlib.nullcontext():
        text = {
            **families.config("qwen3_5")["text_config"],
            "num_hidden_layers": options.layers,
        }
        made = checkpoints.write(Path(folder), "qwen3_5", text_config=text)
        model = load("tiny", made, Path(folder), lambda *_: None)
        trunk, head = model.trunk, model.head
        assert isinstance(head, PairHead)
        trunk.compile_steps()
        notes = trunk.steps_note, head.replay_passes()
        graphs = trunk._steps, head._passes
        found: dict[str, list[dict[str, float]]] = {"anew": [], "graphs": []}
        for _ in range(TURNS):
            trunk._steps = head._passes = None
            found["anew"].append(built(trunk, head))
            trunk._steps, head._passes = graphs
            found["graphs"].append(built(trunk, head))
    document = {
        "device": device(),
        "commit": options.commit or commit(),
        "layers": options.layers,
        "notes": [note for note in notes if note],
        **{f"{name}_ms": middle(each) for name, each in found.items()},
    }
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def middle(turns: list[dict[str, float]]) -> dict[str, float]:
    """Return the medians of what turns gave."""
    return {name: statistics.median(turn[name] for turn in turns) for name in turns[0]}


def built(trunk: Trunk, head: PairHead) -> dict[str, float]:
    """Return the median milliseconds of building passes of trunk and head, by rows."""
    trunk_cache, head_cache = trunk.make_cache(), head.make_cache()
    hidden = trunk.forward(mx.arange(1, 10, dtype=mx.uint32), trunk_cache).hidden
    assert hidden is not None
    head.forward(hidden, mx.arange(1, 10, dtype=mx.uint32), head_cache)
    trunk_cache.commit(9)
    head_cache.commit(9)
    found = {}
    for rows in ROWS:
        tokens = mx.arange(1, rows + 1, dtype=mx.uint32)
        few = hidden[:, :rows]

        def verify(tokens: mx.array = tokens) -> mx.array:
            return trunk.forward(tokens, trunk_cache).logits

        def draft(tokens: mx.array = tokens, few: mx.array = few) -> mx.array:
            return head.forward(few, tokens, head_cache)

        found[f"trunk {rows}"] = median(verify, lambda: trunk_cache.commit(0))
        found[f"head {rows}"] = median(draft, lambda: head_cache.commit(0))
    return found


def median(build: Callable[[], mx.array], undo: Callable[[], None]) -> float:
    """Return the median milliseconds of one thread that building takes."""
    times = []
    for _ in range(REPEATS):
        begin = time.thread_time()
        result = build()
        times.append(1e3 * (time.thread_time() - begin))
        mx.eval(result)
        undo()
    return round(statistics.median(times[3:]), 3)


if __name__ == "__main__":
    main()
