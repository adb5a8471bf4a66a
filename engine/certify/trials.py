"""The production rules of acceptance, run many times over real rows of target and draft.

A window's rows are taken as a chain without context: drafts are drawn anew from each draft row,
and the first two emitted tokens must follow the product of the first two target rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from engine.certify.statistics import Fit, fit
from engine.speculation import acceptance, sampling
from engine.speculation.acceptance import Verdict

__all__ = ["RealWindow", "narrowed", "tried"]

Rule = Callable[[mx.array, mx.array, mx.array, mx.array, mx.array], Verdict]


@dataclass(frozen=True, slots=True)
class RealWindow:
    """The rows of a window, over the tokens that any of them can give."""

    target: NDArray[np.float32]
    """[depth + 1, tokens]."""
    draft: NDArray[np.float32]
    """[depth, tokens]."""


def narrowed(target: mx.array, draft: mx.array, most: int) -> RealWindow | None:
    """Return a window over its own tokens; None where those are more than `most`.

    Leaving out tokens of probability 0 in every row changes nothing of what the rules do.
    """
    rows = np.concatenate([np.array(target), np.array(draft)])
    tokens = np.flatnonzero(rows.any(axis=0))
    if len(tokens) > most:
        return None
    kept = rows[:, tokens]
    return RealWindow(kept[: target.shape[0]], kept[target.shape[0] :])


def tried(window: RealWindow, mode: str, trials: int, seed: list[int]) -> Fit:
    """Return how the first two emitted tokens of many trials fit the target.

    Args:
        window: of depth 2 or more.
        mode: `token_rule` or `block_rule`.
        trials: how many.
        seed: of the trials' own numbers.
    """
    rng = np.random.default_rng(seed)
    depth, size = window.draft.shape
    target, draft = mx.array(window.target), mx.array(window.draft)

    def uniform(*shape: int) -> mx.array:
        return mx.array(rng.random(shape, np.float32))

    drafted = mx.stack(
        [sampling.draw(mx.broadcast_to(row, (trials, size)), uniform(trials)) for row in draft], 1
    )
    rule: Rule = getattr(acceptance, mode)

    def judged(*numbers: mx.array) -> tuple[mx.array, mx.array]:
        verdict = rule(target, draft, *numbers)
        return verdict.accepted, verdict.token

    accepted, token = mx.vmap(judged)(
        drafted.astype(mx.uint32), uniform(trials, depth), uniform(trials, depth + 1)
    )
    plain = sampling.draw(mx.broadcast_to(target[1], (trials, size)), uniform(trials))
    first = mx.where(accepted > 0, drafted[:, 0], token)
    second = mx.where(accepted > 1, drafted[:, 1], mx.where(accepted == 1, token, plain))
    cells = np.array(first).astype(int) * size + np.array(second)
    rows = window.target[:2].astype(np.float64)
    rows /= rows.sum(axis=1, keepdims=True)
    counts = np.bincount(cells, minlength=size * size).astype(np.float64)
    return fit(counts, np.outer(rows[0], rows[1]).reshape(-1))
