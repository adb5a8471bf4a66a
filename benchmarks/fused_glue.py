"""The kernels between a layer's matmuls, on a GPU: equal to their definitions, and what they save.

    python -m benchmarks.fused_glue [--layers 8]

Compares each kernel with its definition over shapes, types and numbers of rows; times them alone;
then times a pass of the 27B shape with few layers, with these kernels and without, in turns. Prints
one JSON document. Exit code 1 where a kernel is off or differs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from benchmarks.few_rows import commit
from benchmarks.shape_27b import device, in_turns
from benchmarks.step_cost import fast, model, own_pass, stages, started
from kernels import delta_mixer, gated_heads, residual_norm, swiglu
from kernels.delta_mixer import MixerShape
from kernels.dispatch import Backend, backend
from kernels.gated_heads import HeadShape

OURS = "delta_mixer,residual_norm,swiglu,gated_heads"
ROWS = (1, 4, 9)


def in_a_row(key_heads: int, heads: int, width: int) -> MixerShape:
    """Return a layer whose parts lie one after the other."""
    keys, values = key_heads * width, heads * width
    begins = (0, keys, 2 * keys, 2 * keys + values, 2 * keys + 2 * values)
    share = heads // key_heads
    steps = (width, width, share * width, share * width, share)
    last = (begins[-1] + heads, share)
    return MixerShape(
        key_heads, heads, width, width, 4, (*zip(begins, steps, strict=True), last), 1e-6
    )


SHAPE = in_a_row(16, 48, 128)
"""Of one layer of the 27B shape."""
HEADS = HeadShape(24, 4, 256, 64, 1e7, 1.0, 1e-6)
SHAPES = {"27B": SHAPE, "35B-A3B": in_a_row(16, 32, 128), "odd": in_a_row(3, 9, 32)}


def apart(one: mx.array, other: mx.array) -> float:
    """Return the largest difference against the largest entry."""
    right = other.astype(mx.float32)
    difference = mx.abs(one.astype(mx.float32) - right).max() / mx.abs(right).max()
    return float(f"{float(str(difference.item())):.2g}")


def mixers() -> list[dict[str, Any]]:
    """Compare the mixer with its definition, and its tape with shorter passes."""
    found = []
    for name, shape in SHAPES.items():
        for dtype in (mx.bfloat16, mx.float32):
            where = delta_mixer.runs_on(shape, dtype)
            note = delta_mixer.kernel_note(shape, dtype)
            if where is Backend.PLAIN:
                found.append({"shape": name, "dtype": str(dtype), "note": note, "is_right": False})
                continue
            for steps in ROWS:
                found.append({"shape": name, **mixer(where, shape, dtype, steps)})
    return found


def mixer(where: Backend, shape: MixerShape, dtype: mx.Dtype, steps: int) -> dict[str, Any]:
    """Compare a pass, and the one after it for each number of rows that may stay."""
    rows, weights, before = delta_mixer.trial(shape, dtype, steps)
    y, mine = delta_mixer.delta_mixer(where, rows, weights, shape, before)
    right_y, right = delta_mixer.delta_mixer_plain(rows, weights, shape, before)
    offs = {"y": apart(y, right_y), "tape": apart(mine.tape[:, :steps], right.tape[:, :steps])}
    is_same = mx.array_equal(mine.seen[:, : steps + 3], right.seen[:, : steps + 3]).item()
    for kept in range(1, steps + 1):
        stays = dataclasses.replace(mine, kept=delta_mixer.count_of(kept))
        short_y, short = delta_mixer.delta_mixer(where, rows[:, :kept], weights, shape, before)
        after = delta_mixer.delta_mixer(where, rows, weights, shape, stays)
        ends = delta_mixer.folded(where, shape, short)
        begin = after[1].seen[:, :3], after[1].state
        alike = [(short_y, y[:, :kept]), *zip(begin, ends, strict=True)]
        is_same = is_same and all(mx.array_equal(one, other).item() for one, other in alike)
        state = delta_mixer.folded_plain(shape, dataclasses.replace(right, kept=stays.kept))[1]
        offs["state"] = max(offs.get("state", 0.0), apart(after[1].state, state))
    limit = delta_mixer._TOLERANCE[dtype]
    return {
        "dtype": str(dtype),
        "rows": steps,
        "off": offs,
        "is_bitwise": is_same,
        "is_right": bool(is_same) and max(offs.values()) < limit,
    }


def microseconds(run: Callable[[], object]) -> float:
    """Return the best time of a call, of fifty handed over at a time."""
    mx.eval(run())
    best = float("inf")
    for _ in range(15):
        begin = time.perf_counter()
        mx.eval([run() for _ in range(50)])
        best = min(best, time.perf_counter() - begin)
    return round(best / 50 * 1e6, 1)


def alone(steps: int) -> dict[str, float]:
    """Return microseconds of each kernel at the 27B shape; few make the host wait for the GPU."""
    where = backend()
    rows, weights, before = delta_mixer.trial(SHAPE, mx.bfloat16, steps)
    x = mx.random.normal((1, steps, 5120)).astype(mx.bfloat16)
    weight = mx.ones((5120,), mx.bfloat16)
    heads = mx.random.normal((1, steps, 14336)).astype(mx.bfloat16)
    norm, position = mx.ones((256,), mx.bfloat16), mx.array([1000], mx.int32)
    attended = mx.random.normal((1, 24, steps, 256)).astype(mx.bfloat16)
    product = mx.random.normal((1, steps, 2 * 17408)).astype(mx.bfloat16)
    _, held = delta_mixer.delta_mixer(where, rows, weights, SHAPE, before)
    mx.eval(heads, norm, position, attended, rows, weights.conv, x, weight, product)
    mx.eval(held.arrays())

    def forward() -> list[mx.array]:
        y, after = delta_mixer.delta_mixer(where, rows, weights, SHAPE, held)
        return [y, after.state]

    return {
        "delta_mixer": microseconds(forward),
        "folded": microseconds(lambda: [*delta_mixer.folded(where, SHAPE, held)]),
        "residual_norm": microseconds(
            lambda: [residual_norm.residual_norm(where, x, (x,), weight, 1e-6)[1]]
        ),
        "split_heads": microseconds(
            lambda: [*gated_heads.split_heads(where, heads, norm, norm, position, HEADS)]
        ),
        "gate_heads": microseconds(lambda: gated_heads.gate_heads(where, attended, heads)),
        "swiglu": microseconds(lambda: swiglu.swiglu(where, product)),
    }


def passes(options: argparse.Namespace) -> dict[str, Any]:
    """Time whole passes with the kernels and without, compiled and not, in turns."""
    ways: dict[str, Callable[[], object]] = {}
    host = {}
    asked = os.environ.get("MTPLX_TUI_KERNELS", "")
    for name, named in {"without": f"{asked},{OURS}", "with": asked}.items():
        os.environ["MTPLX_TUI_KERNELS"] = named
        trunk = fast(model(options.layers), argparse.Namespace(graphs=options.graphs))
        cache = started(trunk)
        for rows in (1, 4):
            ways[f"{name} {rows}"] = lambda t=trunk, c=cache, n=rows: own_pass(t, c, n)
            host[f"{name} {rows}"] = stages(trunk, cache, rows)
        if trunk.steps_note:
            host[f"{name}"] = {"note": trunk.steps_note}
    return {"ms": in_turns(ways), "host_ms": host}


def main() -> int:
    """Compare, time, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--graphs", action="store_true")
    parser.add_argument("--commit", default="", help="where there is no git")
    options = parser.parse_args()
    if backend() is Backend.PLAIN:
        sys.stderr.write("MLX has no GPU here, so there is no kernel to run\n")
        return 1
    compared = mixers()
    notes = [residual_norm.kernel_note(5120, dtype) for dtype in (mx.bfloat16, mx.float32)]
    notes += [gated_heads.kernel_note(HEADS, dtype) for dtype in (mx.bfloat16, mx.float32)]
    notes += [swiglu.kernel_note(17408, dtype) for dtype in (mx.bfloat16, mx.float32)]
    is_right = not any(notes) and all(each["is_right"] for each in compared)
    report = {
        "device": device(),
        "commit": options.commit or commit(),
        "is_right": is_right,
        "notes": notes,
        "compared": compared,
        "alone_us": {steps: alone(steps) for steps in ROWS},
        "layers": options.layers,
        "passes": passes(options),
    }
    sys.stdout.write(json.dumps(report, indent=1) + "\n")
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
