"""target_distribution against an independent float64 reference, and the draws."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from scipy import stats

from engine.protocol import Sampling
from engine.speculation import noise
from engine.speculation.sampling import draw, draw_with_gumbel, target_distribution


def reference(logits: np.ndarray, sampling: Sampling) -> np.ndarray:
    """One row, the slow and plain way."""
    order = sorted(range(len(logits)), key=lambda token: (-logits[token], token))
    if sampling.temperature == 0:
        out = np.zeros(len(logits))
        out[order[0]] = 1
        return out
    kept = order[: sampling.top_k] if sampling.top_k else order
    scaled = logits.astype(np.float32) / np.float32(sampling.temperature)
    weights = np.exp(scaled[kept].astype(np.float64) - scaled[kept].max())
    probs = weights / weights.sum()
    out, before = np.zeros(len(logits)), 0.0
    for token, probability in zip(kept, probs, strict=True):
        is_in = sampling.top_p == 1 or before < sampling.top_p
        if is_in and probability >= sampling.min_p * probs[0]:
            out[token] = probability
        before += probability
    return out / out.sum()


def test_transforms_equal_the_reference() -> None:
    rng = np.random.default_rng(3)
    for _ in range(400):
        size = int(rng.integers(2, 60))
        logits = rng.normal(0, 3, (3, size)).astype(np.float32)
        sampling = Sampling(
            temperature=float(rng.choice([0.0, 0.3, 0.6, 1.0, 1.7])),
            top_p=float(rng.choice([0.11, 0.5, 0.937, 1.0])),
            top_k=int(rng.choice([0, 1, 2, 7, 100])),
            min_p=float(rng.choice([0.0, 0.0, 0.051])),
        )
        got = np.array(target_distribution(mx.array(logits), sampling))
        wanted = np.stack([reference(row, sampling) for row in logits])
        assert np.array_equal(got > 0, wanted > 0), sampling
        assert np.abs(got - wanted).max() < 1e-6, sampling


def test_ties_at_the_border_keep_the_lower_token() -> None:
    logits = mx.array([[1.0, 2.0, 1.0, 2.0, 1.0, -0.0, 0.0]])
    for top_k, kept in (
        (1, [1]),
        (2, [1, 3]),
        (3, [0, 1, 3]),
        (4, [0, 1, 2, 3]),
        (6, [0, 1, 2, 3, 4, 5]),
    ):
        probs = target_distribution(logits, Sampling(1, 1, top_k))
        assert np.flatnonzero(np.array(probs[0])).tolist() == kept


@pytest.mark.parametrize("size", [10_240, 12_001, 49_152])
def test_a_large_vocabulary_is_cut_as_a_small_one_with_many_ties(size: int) -> None:
    """Blocks that tie, a last block that is not full, entries that are masked out."""
    rng = np.random.default_rng(size)
    for top_k in (1, 2, 5, 19, 20):
        logits = rng.integers(0, 40, (3, size)).astype(np.float32) / 8
        logits[1] = np.where(rng.random(size) < 0.9, -np.inf, logits[1])
        logits[2, size - 3 :] = 9
        sampling = Sampling(0.7, 0.9, top_k)
        got = np.array(target_distribution(mx.array(logits), sampling))
        wanted = np.stack([reference(row, sampling) for row in logits])
        assert np.array_equal(got > 0, wanted > 0), top_k
        assert np.abs(got - wanted).max() < 1e-6


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16, mx.float32])
def test_probabilities_are_float32_whatever_the_logits(dtype: mx.Dtype) -> None:
    probs = target_distribution(mx.zeros((2, 10), dtype), Sampling())
    assert probs.dtype == mx.float32


def test_draw_inverts_the_cumulative_distribution() -> None:
    probs = mx.array([[0.0, 0.25, 0.0, 0.75, 0.0]])
    for uniform, token in ((0.0, 1), (0.2499, 1), (0.25, 3), (1 - 2**-24, 3)):
        assert draw(probs, mx.array([uniform])).item() == token


def test_draw_never_gives_a_token_of_probability_zero() -> None:
    rng = np.random.default_rng(1)
    probs = rng.random((200, 5000)).astype(np.float32)
    probs[:, rng.integers(0, 5000, 4000)] = 0
    probs /= probs.sum(1, keepdims=True)
    for uniform in (0.0, 0.5, 1 - 2**-24):
        tokens = np.array(draw(mx.array(probs), mx.full((200,), uniform)))
        assert (probs[np.arange(200), tokens] > 0).all()


def test_gumbel_draws_follow_the_distribution() -> None:
    probs = mx.array([[0.1, 0.2, 0.3, 0.4, 0.0]])
    rows = mx.concatenate([noise.gumbel(5, position, 5)[None] for position in range(20_000)])
    tokens = np.array(draw_with_gumbel(mx.broadcast_to(probs, (20_000, 5)), rows))
    counts = np.bincount(tokens, minlength=5)
    assert counts[4] == 0
    assert stats.chisquare(counts[:4], np.array(probs[0, :4]) * 20_000).pvalue > 1e-6
