"""The gated-delta kernel on a GPU: equal to its definition, and how long it takes.

Run on a machine with a GPU that MLX can use:

    python -m benchmarks.gated_delta_gpu

Prints one JSON document: the device, what was compared, and milliseconds for one layer of the
27B shape by number of rows, for the kernel, the plain definition, mlx-lm's own function and the
replay of the tape. Exit code 1 where anything differs.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import mlx.core as mx
from mlx_lm.models.gated_delta import gated_delta_ops

from kernels import gated_delta as kernel
from kernels.dispatch import Backend, backend

KEY_HEADS, HEADS, WIDTH = 16, 48, 128
"""Of one layer of the 27B shape."""
CASES = [(1, 1, 32, 8), (1, 3, 64, 8), (3, 9, 32, 5), (16, 48, 128, 128)]
"""Key heads, value heads, key width, value width."""
REPEATS = 50


def rows(
    case: tuple[int, int, int, int], steps: int, dtype: mx.Dtype, *, is_vector: bool = False
) -> list[mx.array]:
    """Return q, k, v, g, beta and a first state of a case."""
    key_heads, heads, width, values = case
    keys = mx.random.split(mx.random.key(steps), 6)
    q, k = (
        (mx.random.normal((1, steps, key_heads, width), key=key) / width**0.5).astype(dtype)
        for key in keys[:2]
    )
    v = mx.random.normal((1, steps, heads, values), key=keys[2]).astype(dtype)
    gate = (1, steps, heads, width) if is_vector else (1, steps, heads)
    g = mx.random.uniform(0.2, 1.0, gate, key=keys[3])
    beta = mx.random.uniform(shape=(1, steps, heads), key=keys[4]).astype(dtype)
    return [q, k, v, g, beta, mx.random.normal((1, heads, values, width), key=keys[5])]


def compare(case: tuple[int, int, int, int], dtype: mx.Dtype, *, is_vector: bool) -> dict[str, Any]:
    """Return how far kernel and definition are apart, and whether the tape replays bit for bit."""
    apart, is_same = 0.0, True
    for depth in range(9):
        q, k, v, g, beta, state = rows(case, depth + 1, dtype, is_vector=is_vector)
        mine = kernel.gated_delta(q, k, v, g, beta, state)
        right = kernel.gated_delta_plain(q, k, v, g, beta, state)
        apart = max(apart, float(str(mx.abs(mine.state - right.state).max().item())))
        for kept in range(1, depth + 2):
            part = [array[:, :kept] for array in (q, k, v, g, beta)]
            sequential = kernel.gated_delta(*part, state).state
            replayed = kernel.replay(mine.tape, kept, state)
            is_same = is_same and bool(mx.array_equal(replayed, sequential).item())
    return {
        "case": case,
        "dtype": str(dtype),
        "gate": "channel" if is_vector else "head",
        "max_abs_state": apart,
        "replay_is_bitwise": is_same,
    }


def milliseconds(run: Callable[[], list[mx.array]]) -> float:
    """Return the best time of a call in milliseconds, of ten chained ones at a time."""
    mx.eval(run())
    best = float("inf")
    for _ in range(REPEATS):
        begin = time.perf_counter()
        mx.eval([run() for _ in range(10)])
        best = min(best, time.perf_counter() - begin)
    return round(best * 100, 4)


def times(steps: int) -> dict[str, Any]:
    """Return the time of each way to run one layer over so many rows."""
    q, k, v, g, beta, state = rows((KEY_HEADS, HEADS, WIDTH, WIDTH), steps, mx.bfloat16)
    mx.eval(q, k, v, g, beta, state)
    tape = kernel.gated_delta(q, k, v, g, beta, state).tape

    def ours() -> list[mx.array]:
        output = kernel.gated_delta(q, k, v, g, beta, state)
        return [output.y, output.state, output.tape.delta]

    def plain() -> list[mx.array]:
        output = kernel.gated_delta_plain(q, k, v, g, beta, state)
        return [output.y, output.state]

    return {
        "rows": steps,
        "kernel_ms": milliseconds(ours),
        "plain_ms": milliseconds(plain),
        "mlx_lm_ops_ms": milliseconds(lambda: [*gated_delta_ops(q, k, v, g, beta, state)]),
        "replay_ms": milliseconds(lambda: [kernel.replay(tape, steps, state)]),
    }


def main() -> int:
    """Compare, time, and print what came of it."""
    if backend() is Backend.PLAIN:
        sys.stderr.write("MLX has no GPU here, so there is no kernel to run\n")
        return 1
    note = kernel.kernel_note()
    compared = [
        compare(case, dtype, is_vector=is_vector)
        for case in CASES
        for dtype in (mx.float32, mx.bfloat16)
        for is_vector in (False, True)
    ]
    is_right = not note and all(
        each["replay_is_bitwise"] and each["max_abs_state"] < 1e-3 for each in compared
    )
    report = {
        "device": mx.device_info(),
        "backend": backend().value,
        "mlx": importlib.metadata.version("mlx"),
        "note": note,
        "is_right": is_right,
        "compared": compared,
        "one_layer": [times(steps) for steps in (1, 2, 3, 4, 5, 6, 9)],
    }
    sys.stdout.write(json.dumps(report, indent=2, default=str) + "\n")
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
