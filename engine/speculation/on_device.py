"""Distributions, draws and verdicts by a kernel each, where there is a GPU: few operations a cycle.

What they are is told in `sampling` and `acceptance`; both give None here wherever those have to do
it, and both are compared with them once. Noise of the seeded mode stays theirs: only its rows
come from a kernel.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import mlx.core as mx

from engine.protocol import Sampling
from engine.speculation.acceptance import (
    BlockChances,
    Verdict,
    block_rule,
    residual,
    token_rule,
)
from engine.speculation.sampling import RowRules, bent, draw, target_distribution
from kernels import distribution as rows_kernel
from kernels import verdict as verdict_kernel
from kernels.comparing import note_of
from kernels.dispatch import Backend, backend_for
from kernels.distribution import Distribution, Law
from kernels.drawing import chunk_sums, is_supported

__all__ = [
    "distribution",
    "distribution_note",
    "is_faster",
    "kernel_note",
    "law_of",
    "verdict",
    "verdict_note",
]


def distribution(
    logits: mx.array,
    sampling: Sampling,
    rules: RowRules | None = None,
    uniform: mx.array | None = None,
    columns: mx.array | None = None,
) -> Distribution | None:
    """Return `target_distribution` of rows and a draw from each, or None without the kernel.

    Args:
        logits: [rows, vocabulary], any float type; or the columns of a draft head.
        sampling: see `target_distribution`.
        rules: see there.
        uniform: float32 [rows] in [0, 1), see `draw`; None draws nothing.
        columns: see `DraftHead.column_of`; the rows then are over all tokens.
    """
    if not is_faster(sampling):
        return None
    where = _where_rows(logits.dtype if rules is None else mx.float32)
    vocabulary = logits.shape[-1] if columns is None else columns.shape[0]
    if where is Backend.PLAIN or not is_supported(vocabulary):
        return None
    if rules is not None:
        logits = bent(logits.astype(mx.float32), rules)
    return rows_kernel.distribution(where, logits, law_of(sampling), uniform, columns)


def verdict(
    target: Distribution | mx.array,
    draft: tuple[mx.array, mx.array] | None,
    noise: mx.array,
    *,
    is_block: bool,
    is_told: bool,
) -> Verdict | None:
    """Return what `token_rule` or `block_rule` say of a window, or None without the kernel.

    Args:
        target: rows of the window, float32 [depth + 1, vocabulary].
        draft: float32 [depth, vocabulary], what was drawn from, and uint32 [depth], what was drawn;
            None at depth 0.
        noise: from `CycleNoise.judging`.
        is_block: which rule; the block rule takes depth 1 or more.
        is_told: whether `next_probs` is wanted.
    """
    where = _where_verdicts()
    if where is Backend.PLAIN:
        return None
    probs, sums = _with_sums(target)
    depth = probs.shape[0] - 1
    if depth > verdict_kernel.MOST_DEPTH or not is_supported(probs.shape[-1]):
        return None
    judged = verdict_kernel.judged(where, (probs, sums), draft, noise, is_block=is_block)
    accepted, token = judged.outcome[0].astype(mx.int32), judged.outcome[1]
    chances = None
    if is_block:
        chances = BlockChances(judged.numbers[: depth + 1], judged.numbers[depth + 1 :])
    next_probs = None
    if is_told:
        next_probs = _next_probs(probs, draft, accepted, chances)
    return Verdict(accepted, token, next_probs, chances, judged.outcome)


def _with_sums(target: Distribution | mx.array) -> tuple[mx.array, mx.array]:
    if isinstance(target, Distribution):
        return target.probs, target.sums
    return target, chunk_sums(target)


def _next_probs(
    target: mx.array,
    draft: tuple[mx.array, mx.array] | None,
    accepted: mx.array,
    chances: BlockChances | None,
) -> mx.array:
    """Return what the last token was drawn from, as the rules of `acceptance` have it."""
    row = target[accepted]
    if draft is None:
        return row
    depth = draft[0].shape[0]
    reach = chances.reach[accepted] if chances else 1.0
    excess = residual(row, draft[0][mx.minimum(accepted, depth - 1)], reach)
    return mx.where(accepted == depth, row, excess)


_FEW = 256
"""Of top_k: so many are found in what a block shares."""


def is_faster(sampling: Sampling) -> bool:
    """Return whether the kernel is faster than plain MLX for such a law.

    Measured on an H200 at a vocabulary of 248,320 (benchmarks/results/acceptance_cost.json): 0.38 ms
    against 0.55 for four rows with top_k 20; without top_k, and for greedy decoding, slower.
    """
    return sampling.temperature > 0 and 0 < sampling.top_k <= _FEW


def law_of(sampling: Sampling) -> Law:
    """Return the kernel's law; greedy decoding is one token kept, the first of the greatest."""
    if sampling.temperature == 0:
        return Law(1.0, 1, 1.0, 0.0)
    return Law(sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p)


def kernel_note() -> str:
    """Return which kernel is off though there is a GPU, and why; empty where none is."""
    return distribution_note() or verdict_note()


def distribution_note() -> str:
    """Return why distributions are made by plain MLX on a GPU; empty where they are not."""
    where = backend_for("distribution")
    if where is Backend.PLAIN:
        return ""
    return next((note for dtype in _TYPES if (note := _rows_note(where, dtype))), "")


def verdict_note() -> str:
    """Return why windows are judged by plain MLX on a GPU; empty where they are not."""
    where = backend_for("verdict")
    return "" if where is Backend.PLAIN else _verdict_note(where)


def _where_rows(dtype: mx.Dtype) -> Backend:
    where = backend_for("distribution")
    return Backend.PLAIN if where is Backend.PLAIN or _rows_note(where, dtype) else where


def _where_verdicts() -> Backend:
    where = backend_for("verdict")
    return Backend.PLAIN if where is Backend.PLAIN or _verdict_note(where) else where


_TYPES = (mx.bfloat16, mx.float32)
"""Of a model's logits, and of those that rules have bent. Others are looked at when they come."""
_TOLERANCE = 1e-5
_VOCABULARY = 5_000
_LAWS = (
    Sampling(),
    Sampling(0.0, 1.0, 0),
    Sampling(1.0, 1.0, 0),
    Sampling(0.5, 0.7, 0, 0.001),
    Sampling(0.6, 0.7, 3_000),
)
"""None whose border hangs on how plain MLX rounds its sums."""


@functools.cache
def _rows_note(where: Backend, dtype: mx.Dtype) -> str:
    """Compare distributions and draws with their definitions once; return what is wrong."""
    return note_of("the kernel of distributions", lambda: next(_wrong_rows(where, dtype), ""))


def _wrong_rows(where: Backend, dtype: mx.Dtype) -> Iterator[str]:
    """Tell what differs; rounded logits tie, so borders between equals are looked at too."""
    keys = mx.random.split(mx.random.key(0), 2)
    logits = (mx.round(8 * mx.random.normal((2, _VOCABULARY), key=keys[0])) / 8).astype(dtype)
    uniform = mx.random.uniform(shape=(2,), key=keys[1])
    places = mx.arange(2 * _VOCABULARY, dtype=mx.int32)
    columns = mx.where(places % 2 == 1, places // 2, -1)
    for sampling in _LAWS:
        law, right = law_of(sampling), target_distribution(logits, sampling)
        mine = rows_kernel.distribution(where, logits, law, uniform)
        apart = mx.abs(mine.probs - right).max()
        if not (apart < _TOLERANCE).item():
            yield f"is off by {apart.item():.2g}"
        if not mx.allclose(mine.sums, chunk_sums(mine.probs), 0, _TOLERANCE).item():
            yield "adds up wrongly"
        if not _is_drawn(mine.probs, mine.tokens, uniform):
            yield "draws another token"
        undrawn = rows_kernel.distribution(where, logits, law)
        wide = rows_kernel.distribution(where, logits, law, uniform, columns)
        is_same = mx.array_equal(undrawn.probs, mine.probs)
        if not (is_same & mx.array_equal(wide.probs[:, 1::2], mine.probs)).item():
            yield "gives other bits in another call"


def _is_drawn(probs: mx.array, tokens: mx.array, uniform: mx.array) -> bool:
    """Return whether tokens are what uniform numbers draw, but for rounding."""
    own = mx.take_along_axis(probs, tokens[:, None], axis=-1)[:, 0]
    past = mx.take_along_axis(mx.cumsum(probs, axis=-1), tokens[:, None], axis=-1)[:, 0]
    is_past = (past > uniform - _TOLERANCE) & (past - own < uniform + _TOLERANCE)
    return bool(mx.all(is_past & (own > 0)).item())


@functools.cache
def _verdict_note(where: Backend) -> str:
    """Compare verdicts with their definitions once; return what is wrong, or nothing."""
    return note_of("the kernel of verdicts", lambda: next(_wrong_verdicts(where), ""))


def _wrong_verdicts(where: Backend) -> Iterator[str]:
    for number in range(12):
        keys = mx.random.split(mx.random.key(number), 4)
        depth, sampling = number % 4, _LAWS[number % len(_LAWS)]
        logits = 2 * mx.random.normal((depth + 1, _VOCABULARY), key=keys[0])
        target = target_distribution(logits, sampling)
        noise = mx.random.uniform(shape=(2 * depth + 1,), key=keys[2])
        draft = None
        if depth:
            own = logits[:depth] + mx.random.normal((depth, _VOCABULARY), key=keys[1])
            rows = target_distribution(own, sampling)
            draft = (rows, draw(rows, mx.random.uniform(shape=(depth,), key=keys[3])))
        probs, drafted = draft or (target[:0], mx.zeros((0,), mx.uint32))
        for rule in (token_rule, block_rule) if depth else (token_rule,):
            right = rule(target, probs, drafted, noise[:depth], noise[depth:])
            mine = verdict_kernel.judged(
                where, (target, chunk_sums(target)), draft, noise, is_block=rule is block_rule
            )
            accepted, token = mine.outcome[0], mine.outcome[1:]
            if accepted.item() != right.accepted.item():
                yield "accepts otherwise"
            if right.next_probs is not None and not _is_drawn(
                right.next_probs[None], token, noise[depth + accepted][None]
            ):
                yield "draws another token"
            if right.chances is not None:
                numbers = mx.concatenate([right.chances.reach, right.chances.stop])
                if not mx.allclose(mine.numbers, numbers, 0, _TOLERANCE).item():
                    yield "has other chances"
