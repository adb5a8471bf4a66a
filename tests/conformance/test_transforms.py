"""The target distribution against an independent reference in float64, each row by its history."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from engine.protocol import Constraints, Sampling, TokenBias
from engine.speculation.history import History
from engine.speculation.sampling import RowRules, target_distribution

STOPS = (0, 3)


def reference(
    logits: np.ndarray,
    sampling: Sampling,
    asked: Constraints,
    prompt: list[int],
    answer: list[int],
    allowed: np.ndarray,
) -> np.ndarray:
    """One row, the slow and plain way: `answer` is all that was emitted or drafted before it."""
    z = np.where(allowed, logits.astype(np.float64), -np.inf)
    for each in asked.logit_bias:
        z[each.token] += each.bias
    for token in set(prompt) | set(answer):
        z[token] = (
            z[token] / asked.repetition_penalty
            if z[token] > 0
            else (z[token] * asked.repetition_penalty)
        )
    for token in set(answer):
        z[token] -= asked.presence_penalty + asked.frequency_penalty * answer.count(token)
    left = z.copy()
    if len(answer) < asked.min_tokens:
        left[list(STOPS)] = -np.inf
    text = prompt + answer
    for *before, last in asked.banned:
        if not before or text[-len(before) :] == before:
            left[last] = -np.inf
    return transformed(left if np.isfinite(left).any() else z, sampling)


def transformed(z: np.ndarray, sampling: Sampling) -> np.ndarray:
    order = sorted(range(len(z)), key=lambda token: (-np.float32(z[token]), token))
    if sampling.temperature == 0:
        return np.eye(len(z))[order[0]]
    kept = order[: sampling.top_k] if sampling.top_k else order
    weights = np.exp((z[kept] - z[kept[0]]) / sampling.temperature)
    probs = weights / weights.sum()
    out, before = np.zeros(len(z)), 0.0
    for token, chance in zip(kept, probs, strict=True):
        if (sampling.top_p == 1 or before < sampling.top_p) and chance >= sampling.min_p * probs[0]:
            out[token] = chance
        before += chance
    return out / out.sum()


def made_up(rng: np.random.Generator, size: int) -> Constraints:
    biased = rng.choice(size, 2, replace=False)
    return Constraints(
        repetition_penalty=float(rng.choice([1.0, 0.7, 1.3])),
        presence_penalty=float(rng.choice([0.0, 0.5, -0.5])),
        frequency_penalty=float(rng.choice([0.0, 0.25])),
        logit_bias=tuple(TokenBias(int(t), float(rng.normal())) for t in biased),
        min_tokens=int(rng.choice([0, 3, 5])),
        banned=tuple(
            tuple(int(t) for t in rng.integers(0, size, rng.integers(1, 4)))
            for _ in range(rng.integers(0, 4))
        ),
    )


SAMPLINGS = [Sampling(1, 1, 0), Sampling(0.6, 0.93, 5), Sampling(1.7, 1, 0, 0.05), Sampling(0)]


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_rows_of_a_window_equal_the_reference(sampling: Sampling) -> None:
    rng = np.random.default_rng(8)
    for _ in range(120):
        size, depth = int(rng.integers(5, 24)), int(rng.integers(0, 5))
        asked = made_up(rng, size)
        prompt = rng.integers(0, size, rng.integers(1, 6)).tolist()
        committed = [rng.integers(0, size, n).tolist() for n in rng.integers(1, 4, 2)]
        drafted = rng.integers(0, size, depth).tolist()
        logits = rng.normal(0, 2, (depth + 1, size)).astype(np.float32)
        allowed = rng.random((depth + 1, size)) < 0.8
        allowed[:, 1] = True
        history = History(asked, size, STOPS, prompt)
        for emitted in committed:
            history.commit(tuple(emitted))
        rules = history.rules(mx.array(drafted, mx.uint32))
        masked = RowRules(
            mx.array(allowed.tolist()),
            rules.bias,
            rules.repetition,
            rules.seen,
            rules.deduction,
            rules.banned,
        )
        got = np.array(target_distribution(mx.array(logits), sampling, masked))
        before = [token for emitted in committed for token in emitted]
        wanted = np.stack(
            [
                reference(logits[i], sampling, asked, prompt, before + drafted[:i], allowed[i])
                for i in range(depth + 1)
            ]
        )
        assert np.array_equal(got > 0, wanted > 0)
        assert np.abs(got - wanted).max() < 1e-6


def test_a_draft_is_bent_as_its_row_of_the_window_is() -> None:
    asked = Constraints(1.2, 0.4, 0.1, (TokenBias(2, 1.0),), 4, ((5, 6), (1,)))
    history = History(asked, 9, STOPS, [4, 5])
    history.commit((5,))
    drafted = mx.array([6, 5, 2], mx.uint32)
    logits = mx.random.normal((4, 9), key=mx.random.key(3))
    window = target_distribution(logits, SAMPLINGS[0], history.rules(drafted))
    for row in range(4):
        alone = history.rules(drafted[:row], row)
        one = target_distribution(logits[row : row + 1], SAMPLINGS[0], alone)
        assert np.allclose(np.array(one[0]), np.array(window[row]), atol=1e-7)


def test_plain_requests_carry_no_rules() -> None:
    rules = History(Constraints(logit_bias=(TokenBias(1, 1.0),)), 4, (), [0]).rules(mx.array([1]))
    assert rules.seen is None
    assert rules.deduction is None
    assert rules.banned is None
    assert (
        target_distribution(mx.zeros((1, 4), mx.float16), SAMPLINGS[0], rules).dtype == mx.float32
    )
