"""Accept, reject, residual, bonus: pure functions on arrays, no model and no host sync.

Both rules end in one token beyond the accepted drafts and never look past a rejected one.
Greedy decoding is the ratio rule with one-hot distributions.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx

from engine.speculation.sampling import draw, draw_with_gumbel

__all__ = ["Verdict", "residual", "seeded_rule", "token_rule"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Outcome of a window, still on the device."""

    accepted: mx.array
    """int32 []: how many drafts were accepted."""
    token: mx.array
    """uint32 []: the token after them (bonus or residual)."""


def token_rule(
    target_probs: mx.array,
    draft_probs: mx.array,
    drafted: mx.array,
    accept_noise: mx.array,
    next_noise: mx.array,
) -> Verdict:
    """Judge a window by the ratio rule: accept draft i iff u_i * draft_probs < target_probs.

    Args:
        target_probs: float32 [depth + 1, vocabulary], from `target_distribution`.
        draft_probs: float32 [depth, vocabulary], the distributions the drafts were drawn from.
        drafted: uint32 [depth].
        accept_noise: float32 [depth] in [0, 1).
        next_noise: float32 [depth + 1] in [0, 1); row i draws the residual after i accepted
            drafts, the last row draws the bonus token.

    Returns:
        The verdict.

    Source:
        Leviathan et al. 2023, arXiv:2211.17192, algorithm 1.
    """
    depth = drafted.shape[0]
    if depth == 0:
        return Verdict(mx.array(0, mx.int32), draw(target_probs, next_noise)[0])
    at = drafted[:, None]
    target_at = mx.take_along_axis(target_probs[:depth], at, axis=-1)[:, 0]
    draft_at = mx.take_along_axis(draft_probs, at, axis=-1)[:, 0]
    accepted = _leading(accept_noise * draft_at < target_at)
    row = target_probs[accepted]
    excess = residual(row, draft_probs[mx.minimum(accepted, depth - 1)])
    next_probs = mx.where(accepted == depth, row, excess)
    return Verdict(accepted, draw(next_probs[None], next_noise[accepted][None])[0])


def seeded_rule(target_probs: mx.array, drafted: mx.array, noise: mx.array) -> Verdict:
    """Judge a window by the target's own draws: accept draft i iff it equals draw i.

    Args:
        target_probs: float32 [depth + 1, vocabulary].
        drafted: uint32 [depth], drawn with the rows of the same noise.
        noise: float32 [depth + 1, vocabulary], Gumbel, keyed by position alone.

    Returns:
        The verdict; its token is always the target's own draw.

    Source:
        Daliri, Musco, Suresh 2024, arXiv:2408.07978.
    """
    drawn = draw_with_gumbel(target_probs, noise)
    depth = drafted.shape[0]
    accepted = _leading(drawn[:depth] == drafted) if depth else mx.array(0, mx.int32)
    return Verdict(accepted, drawn[accepted])


def residual(target_probs: mx.array, draft_probs: mx.array) -> mx.array:
    """Return the distribution to draw from after a reject.

    Args:
        target_probs: what plain decoding would draw from here; float32 [vocabulary].
        draft_probs: the distribution the draft was really drawn from; float32 [vocabulary].

    Returns:
        float32 [vocabulary], sums to 1. The target itself where the excess is empty, which
        only rounding can reach.

    Source:
        Leviathan et al. 2023, arXiv:2211.17192, algorithm 1.
    """
    excess = mx.maximum(target_probs - draft_probs, 0)
    total = mx.sum(excess)
    return mx.where(total > 0, excess / total, target_probs)


def _leading(passed: mx.array) -> mx.array:
    """Return how many entries pass before the first that does not; int32 []."""
    return mx.sum(mx.cumprod(passed.astype(mx.int32)))
