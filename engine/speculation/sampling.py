"""The one place that turns logits into the distribution plain decoding draws from, and draws.

Order of the transforms: grammar mask, logit bias, penalties (repetition, then presence and
frequency), bans (min_tokens, banned runs), temperature, top_k, top_p, min_p, then renormalised;
all in float32. Where probabilities tie at the border of a truncation, the lower token id is
kept. Knows no model, cache or text.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx

from engine.protocol import Sampling

__all__ = [
    "RowRules",
    "bent",
    "draw",
    "draw_with_gumbel",
    "likeliest",
    "log_probabilities",
    "target_distribution",
]


@dataclass(frozen=True, slots=True)
class RowRules:
    """What bends the logits of a window's rows, each by its own history; None changes nothing."""

    allowed: mx.array | None = None
    """bool [rows, vocabulary]: what the grammar lets through; some token in every row."""
    bias: mx.array | None = None
    """float32 [vocabulary]."""
    repetition: float = 1.0
    """Divides positive logits of `seen` tokens, multiplies negative ones."""
    seen: mx.array | None = None
    """bool [rows, vocabulary]."""
    deduction: mx.array | None = None
    """float32 [rows, vocabulary]: presence and frequency penalties, taken off."""
    banned: mx.array | None = None
    """bool [rows, vocabulary]; lifted in a row where it would leave nothing."""


def target_distribution(
    logits: mx.array, sampling: Sampling, rules: RowRules | None = None
) -> mx.array:
    """Return what plain decoding would draw from, row by row.

    Args:
        logits: [rows, vocabulary], any float type.
        sampling: temperature 0 gives the one-hot distribution of the arg max.
        rules: of these rows.

    Returns:
        float32 [rows, vocabulary]; every row sums to 1.
    """
    logits = logits.astype(mx.float32)
    if rules is not None:
        logits = bent(logits, rules)
    if sampling.temperature == 0:
        return _scattered(logits.shape, mx.argmax(logits, axis=-1, keepdims=True), mx.ones(()))
    scaled = logits / sampling.temperature
    if sampling.top_k == 0 and sampling.top_p == 1:
        probs = mx.softmax(scaled, axis=-1, precise=True)
        if sampling.min_p == 0:
            return probs
        least = sampling.min_p * mx.max(probs, axis=-1, keepdims=True)
        return _normalised(mx.where(probs >= least, probs, 0))
    ids = likeliest(scaled, sampling.top_k or scaled.shape[-1])
    probs = mx.softmax(mx.take_along_axis(scaled, ids, axis=-1), axis=-1, precise=True)
    is_kept = probs >= sampling.min_p * probs[:, :1]
    if sampling.top_p < 1:
        is_kept &= mx.cumsum(probs, axis=-1, inclusive=False) < sampling.top_p
    return _scattered(logits.shape, ids, _normalised(mx.where(is_kept, probs, 0)))


def draw(probs: mx.array, uniform: mx.array) -> mx.array:
    """Return one token a row by inverting the cumulative distribution.

    Args:
        probs: float32 [rows, vocabulary], not negative; need not sum to exactly 1.
        uniform: float32 [rows] in [0, 1).

    Returns:
        uint32 [rows]; never a token of probability 0.
    """
    cumulative = mx.cumsum(probs, axis=-1)
    threshold = uniform[:, None] * cumulative[:, -1:]
    is_past = (cumulative > threshold) & (probs > 0)
    found = mx.argmax(is_past, axis=-1)
    return mx.where(mx.any(is_past, axis=-1), found, mx.argmax(probs, axis=-1))


def draw_with_gumbel(probs: mx.array, noise: mx.array) -> mx.array:
    """Return one token a row as the arg max of log-probability plus Gumbel noise.

    Args:
        probs: float32 [rows, vocabulary].
        noise: float32 [rows, vocabulary].

    Returns:
        uint32 [rows]; never a token of probability 0.
    """
    return mx.argmax(mx.where(probs > 0, mx.log(probs) + noise, -mx.inf), axis=-1)


def log_probabilities(logits: mx.array) -> mx.array:
    """Return the log-softmax of raw logits, which is what is reported to people.

    Args:
        logits: [rows, vocabulary], any float type.

    Returns:
        float32 [rows, vocabulary].
    """
    logits = logits.astype(mx.float32)
    return logits - mx.logsumexp(logits, axis=-1, keepdims=True)


def likeliest(scaled: mx.array, count: int) -> mx.array:
    """Return the ids of the `count` largest entries a row, largest first, ties by lower id.

    Args:
        scaled: float32 [rows, vocabulary].
        count: clipped to the vocabulary.

    Returns:
        int32 [rows, count].
    """
    vocabulary = scaled.shape[-1]
    if count * _BLOCK * 8 > vocabulary:
        return _sorted_ids(scaled, mx.arange(vocabulary, dtype=mx.int32), count)
    spare = -vocabulary % _BLOCK
    padded = mx.pad(scaled, [(0, 0), (0, spare)], constant_values=-mx.inf) if spare else scaled
    blocks = padded.reshape(len(scaled), -1, _BLOCK)
    numbers = mx.arange(blocks.shape[1], dtype=mx.int32)
    best = _sorted_ids(mx.max(blocks, axis=-1), numbers, count)
    ids = best[..., None] * _BLOCK + mx.arange(_BLOCK, dtype=mx.int32)
    kept = mx.take_along_axis(blocks, best[..., None], axis=1)
    return _sorted_ids(kept.reshape(len(scaled), -1), ids.reshape(len(scaled), -1), count)


def bent(logits: mx.array, rules: RowRules) -> mx.array:
    """Return logits after what comes before temperature, in the order the module names.

    Args:
        logits: float32 [rows, vocabulary].
        rules: of these rows.
    """
    if rules.allowed is not None:
        logits = mx.where(rules.allowed, logits, -mx.inf)
    if rules.bias is not None:
        logits = logits + rules.bias
    if rules.seen is not None:
        factor = rules.repetition
        repeated = mx.where(logits > 0, logits / factor, logits * factor)
        logits = mx.where(rules.seen, repeated, logits)
    if rules.deduction is not None:
        logits = logits - rules.deduction
    if rules.banned is not None:
        left = mx.where(rules.banned, -mx.inf, logits)
        is_empty = mx.max(left, axis=-1, keepdims=True) == -mx.inf
        logits = mx.where(is_empty, logits, left)
    return logits


_BLOCK = 64
"""Entries whose largest is looked at first. Each of the `count` largest entries is in one of the
`count` blocks whose largest come first: any other block has that many entries before its own."""


def _sorted_ids(values: mx.array, ids: mx.array, count: int) -> mx.array:
    """Return the ids of the `count` largest values, largest first, ties by lower id.

    Args:
        values: float32 [rows, n].
        ids: int32 [rows, n] or [n], each not negative.
        count: clipped to n.
    """
    keys = -_order_keys(values, ids)
    if count < keys.shape[-1]:
        keys = mx.partition(keys, count - 1, axis=-1)[:, :count]
    return (_LAST - (-mx.sort(keys, axis=-1) & 0xFFFFFFFF)).astype(mx.int32)


def _order_keys(values: mx.array, ids: mx.array) -> mx.array:
    """Return int64 keys that order entries by value, then by lower id.

    The bits of a float32, its negative half turned round, order as the numbers do.
    """
    bits = (values + 0.0).view(mx.int32)
    rank = mx.where(bits >= 0, bits, bits ^ 0x7FFFFFFF).astype(mx.int64)
    return mx.left_shift(rank, mx.array(32, dtype=mx.int64)) | (_LAST - ids).astype(mx.int64)


_LAST = 2**31 - 1
"""Greatest id there can be."""


def _normalised(probs: mx.array) -> mx.array:
    return probs / mx.sum(probs, axis=-1, keepdims=True)


def _scattered(shape: tuple[int, ...], ids: mx.array, values: mx.array) -> mx.array:
    return mx.put_along_axis(mx.zeros(shape), ids, values, axis=-1)
