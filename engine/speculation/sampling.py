"""The one place that turns logits into the distribution plain decoding draws from, and draws.

Order of the transforms: temperature, top_k, top_p, min_p, then renormalised; all in float32.
Where probabilities tie at the border of a truncation, the lower token id is kept. Knows no
model, cache or text.
"""

from __future__ import annotations

import mlx.core as mx

from engine.protocol import Sampling

__all__ = ["draw", "draw_with_gumbel", "target_distribution"]


def target_distribution(logits: mx.array, sampling: Sampling) -> mx.array:
    """Return what plain decoding would draw from, row by row.

    Args:
        logits: [rows, vocabulary], any float type.
        sampling: temperature 0 gives the one-hot distribution of the arg max.

    Returns:
        float32 [rows, vocabulary]; every row sums to 1.
    """
    logits = logits.astype(mx.float32)
    if sampling.temperature == 0:
        return _scattered(logits.shape, mx.argmax(logits, axis=-1, keepdims=True), mx.ones(()))
    scaled = logits / sampling.temperature
    if sampling.top_k == 0 and sampling.top_p == 1:
        probs = mx.softmax(scaled, axis=-1, precise=True)
        if sampling.min_p == 0:
            return probs
        least = sampling.min_p * mx.max(probs, axis=-1, keepdims=True)
        return _normalised(mx.where(probs >= least, probs, 0))
    ids = _descending(scaled, sampling.top_k or scaled.shape[-1])
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


def _descending(scaled: mx.array, count: int) -> mx.array:
    """Return the ids of the `count` largest entries a row, largest first, ties by lower id.

    Args:
        scaled: float32 [rows, vocabulary].
        count: clipped to the vocabulary.

    Returns:
        int32 [rows, count].
    """
    vocabulary = scaled.shape[-1]
    keys = _order_keys(scaled)
    if count < vocabulary:
        keys = -mx.partition(-keys, count - 1, axis=-1)[:, :count]
    keys = -mx.sort(-keys, axis=-1)
    return (vocabulary - 1 - (keys & 0xFFFFFFFF)).astype(mx.int32)


def _order_keys(scaled: mx.array) -> mx.array:
    """Return int64 keys that order entries by value, then by lower id.

    The bits of a float32, its negative half turned round, order as the numbers do.
    """
    vocabulary = scaled.shape[-1]
    bits = (scaled + 0.0).view(mx.int32)
    rank = mx.where(bits >= 0, bits, bits ^ 0x7FFFFFFF).astype(mx.int64)
    ids = mx.arange(vocabulary - 1, -1, -1, dtype=mx.int64)
    return mx.left_shift(rank, mx.array(32, dtype=mx.int64)) | ids


def _normalised(probs: mx.array) -> mx.array:
    return probs / mx.sum(probs, axis=-1, keepdims=True)


def _scattered(shape: tuple[int, ...], ids: mx.array, values: mx.array) -> mx.array:
    return mx.put_along_axis(mx.zeros(shape), ids, values, axis=-1)
