"""The law: text made with drafts has the very distribution of text made without."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pytest

from engine.speculation import acceptance
from engine.speculation.acceptance import residual, token_rule
from engine.speculation.sampling import draw
from tests.conformance.toys import DRAFT_A, START, SUITE_P, TARGET_A, Fit, fit, law

LENGTH = 3
SEQUENCES = 200_000


def emitted(depth: int, sequences: int = SEQUENCES, seed: int = 11) -> np.ndarray:
    """Return sequences [N, LENGTH] emitted on toy A by the production rule, N at once."""
    rng = np.random.default_rng(seed)
    target, drafts = mx.array(TARGET_A, mx.float32), mx.array(DRAFT_A, mx.float32)
    rule = mx.vmap(lambda *window: _pair(acceptance.token_rule(*window)))
    out = np.full((sequences, LENGTH + depth + 1), -1)
    filled = np.zeros(sequences, int)
    previous = np.full(sequences, START)

    def uniform(*shape: int) -> mx.array:
        return mx.array(rng.random(shape, np.float32))

    while (active := np.flatnonzero(filled < LENGTH)).size:
        context, rows, chosen = mx.array(previous[active]), [], []
        for _ in range(depth):
            rows.append(context)
            context = draw(drafts[context], uniform(active.size)).astype(mx.int32)
            chosen.append(context)
        rows.append(context)
        drafted = mx.stack(chosen, axis=1)
        accepted, token = rule(
            mx.stack([target[row] for row in rows], axis=1),
            mx.stack([drafts[row] for row in rows[:-1]], axis=1),
            drafted,
            uniform(active.size, depth),
            uniform(active.size, depth + 1),
        )
        window = np.concatenate([np.array(drafted), np.zeros((active.size, 1), int)], axis=1)
        counts, last = np.array(accepted), np.array(token)
        window[np.arange(active.size), counts] = last
        for place in range(depth + 1):
            is_kept = place <= counts
            out[active[is_kept], filled[active[is_kept]]] = window[is_kept, place]
            filled[active[is_kept]] += 1
        previous[active] = last
    return out[:, :LENGTH]


def _pair(verdict: acceptance.Verdict) -> tuple[mx.array, mx.array]:
    return verdict.accepted, verdict.token


def law_fit(depth: int) -> Fit:
    return fit(emitted(depth), law(TARGET_A, LENGTH), vocabulary=4)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_emitted_sequences_follow_the_plain_law(depth: int) -> None:
    result = law_fit(depth)
    assert result.degrees == 63
    assert result.p > SUITE_P, f"depth {depth}: {result}"


def accept_always(
    target_probs: mx.array,
    draft_probs: mx.array,
    drafted: mx.array,
    _: mx.array,
    following: mx.array,
) -> acceptance.Verdict:
    depth = drafted.shape[0]
    return acceptance.Verdict(mx.array(depth), draw(target_probs[depth:], following[depth:])[0])


def bonus_from_the_row_before(
    target_probs: mx.array,
    draft_probs: mx.array,
    drafted: mx.array,
    u: mx.array,
    following: mx.array,
) -> acceptance.Verdict:
    shifted = mx.concatenate([target_probs[:-1], target_probs[-2:-1]])
    return token_rule(shifted, draft_probs, drafted, u, following)


def one_number_for_both(
    target_probs: mx.array,
    draft_probs: mx.array,
    drafted: mx.array,
    u: mx.array,
    following: mx.array,
) -> acceptance.Verdict:
    return token_rule(target_probs, draft_probs, drafted, u, mx.concatenate([u, following[-1:]]))


@pytest.mark.parametrize("mutant", [accept_always, bonus_from_the_row_before, one_number_for_both])
def test_a_wrong_rule_is_seen(
    mutant: Callable[..., acceptance.Verdict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptance, "token_rule", mutant)
    assert law_fit(2).p < SUITE_P


@pytest.mark.parametrize(
    "mutant",
    [
        lambda target, draft: target,
        lambda target, draft: mx.maximum(draft - target, 0) / mx.maximum(draft - target, 0).sum(),
    ],
    ids=["without the subtraction", "the wrong way round"],
)
def test_a_wrong_residual_is_seen(
    mutant: Callable[..., mx.array], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptance, "residual", mutant)
    assert law_fit(2).p < SUITE_P


def test_acceptance_is_the_overlap_for_random_rows() -> None:
    """Integrated exactly over the uniform, whose threshold is the ratio itself."""
    rng = np.random.default_rng(5)
    for _ in range(300):
        size = int(rng.integers(2, 12))
        target, drafts = rng.dirichlet(np.ones(size), 2)
        target[rng.integers(size)] = 0
        target /= target.sum()
        excess = np.array(residual(mx.array(target, mx.float32), mx.array(drafts, mx.float32)))
        kept = np.minimum(target, drafts)
        law_of_token = kept + (1 - kept.sum()) * excess
        assert np.abs(law_of_token - target).max() < 1e-6


def test_the_comparison_never_accepts_what_the_target_excludes() -> None:
    target = mx.array([[0.0, 1.0], [0.5, 0.5]])
    drafts = mx.array([[1.0, 0.0]])
    zero = mx.zeros((1,))
    verdict = token_rule(target, drafts, mx.array([0], mx.uint32), zero, mx.zeros((2,)))
    assert int(verdict.accepted) == 0
    assert int(verdict.token) == 1


def test_equal_distributions_are_always_accepted() -> None:
    row = mx.array([[0.25, 0.25, 0.5]])
    nearly_one = mx.array([1 - 2**-24])
    verdict = token_rule(
        mx.concatenate([row, row]), row, mx.array([2], mx.uint32), nearly_one, mx.zeros((2,))
    )
    assert int(verdict.accepted) == 1
