"""The kernels of distributions and verdicts, run in C++, by themselves and in the engine's place."""

from __future__ import annotations

import mlx.core as mx
import pytest

from engine.protocol import Sampling
from engine.speculation import on_device
from kernels import distribution as rows_kernel
from kernels import verdict as verdict_kernel
from kernels.dispatch import Backend
from kernels.distribution import Distribution, Law
from kernels.drawing import chunk_size
from kernels.verdict import Judged
from tests.fakes.emulation import emulate_blocks, shared_folder

WARPS = 2


def law_of(sampling: Sampling) -> Law:
    return on_device.law_of(sampling)


def distribution(
    logits: mx.array,
    law: Law,
    uniform: mx.array | None = None,
    columns: mx.array | None = None,
    warps: int = WARPS,
) -> Distribution:
    """See `kernels.distribution.distribution`."""
    rows, width = logits.shape
    vocabulary = width if columns is None else columns.shape[0]
    chunks = -(-vocabulary // chunk_size(vocabulary))
    words = rows_kernel.words(law, is_drawn=uniform is not None)
    found = emulate_blocks(
        shared_folder(),
        (rows_kernel.HEADER, rows_kernel.BODY),
        {
            "logits": logits,
            "law": words,
            "uniform": mx.zeros((1,)) if uniform is None else uniform,
            "columns": words if columns is None else columns,
        },
        {
            "probs": ((rows, vocabulary), mx.float32),
            "chunk_sums": ((rows, chunks), mx.float32),
            "tokens": ((rows,), mx.uint32),
        },
        rows_kernel.constants(warps, is_mapped=columns is not None),
        (rows, warps, 1),
    )
    return Distribution(*found)


def judged(
    target: tuple[mx.array, mx.array],
    draft: tuple[mx.array, mx.array] | None,
    noise: mx.array,
    *,
    is_block: bool,
    warps: int = WARPS,
) -> Judged:
    """See `kernels.verdict.judged`."""
    probs, sums = target
    draft_probs, drafted = draft or (probs, noise)
    found = emulate_blocks(
        shared_folder(),
        (verdict_kernel.HEADER, verdict_kernel.BODY),
        {
            "target": probs,
            "chunk_sums": sums,
            "draft": draft_probs,
            "drafted": drafted,
            "noise": noise,
        },
        {"outcome": ((2,), mx.uint32), "numbers": (noise.shape, mx.float32)},
        verdict_kernel.constants(warps, is_block=is_block),
        (1, warps, 1),
    )
    return Judged(*found)


def put(patch: pytest.MonkeyPatch) -> None:
    """Let the engine run the emulated kernels, as it runs a GPU's."""
    for where in ("_where_rows", "_where_verdicts"):
        patch.setattr(on_device, where, lambda *_: Backend.CUDA)
    patch.setattr(rows_kernel, "distribution", lambda _, *given: distribution(*given))
    patch.setattr(verdict_kernel, "judged", lambda _, *given, **named: judged(*given, **named))
