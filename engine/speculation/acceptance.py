"""Accept, reject, residual, bonus: pure functions on arrays, no model and no host sync.

Every rule ends in exactly one token beyond the accepted drafts. The ratio rule and the seeded
rule stop at the first rejected draft; the block rule looks at the whole window and takes the
longest run that passes. Greedy decoding is the ratio rule with one-hot distributions. A draft is
accepted where its uniform number, in [0, 1), is below its chance: so a chance of 0 never passes.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx

from engine.speculation.sampling import draw, draw_with_gumbel

__all__ = [
    "BlockChances",
    "Verdict",
    "block_chances",
    "block_rule",
    "residual",
    "seeded_rule",
    "token_rule",
]


@dataclass(frozen=True, slots=True)
class BlockChances:
    """The numbers of the block rule for one window."""

    reach: mx.array
    """float32 [depth + 1]: p_0 = 1, p_i = min(1, p_(i-1) * P_i(d_i) / Q_i(d_i)); the chance that
    at least i drafts are accepted."""
    stop: mx.array
    """float32 [depth]: h_1 ... h_depth; the chance that the run of i drafts passes."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Outcome of a window, still on the device."""

    accepted: mx.array
    """int32 []: how many drafts were accepted."""
    token: mx.array
    """uint32 []: the token after them (bonus or residual)."""
    next_probs: mx.array | None
    """float32 [vocabulary]: what that token was drawn from; None where a kernel judged and nobody
    asked."""
    chances: BlockChances | None = None
    """Where the window was judged as a block."""
    pair: mx.array | None = None
    """uint32 [2]: `accepted` and `token` in one array, where they come in one."""


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
        token = draw(target_probs, next_noise)[0]
        return Verdict(mx.array(0, mx.int32), token, target_probs[0])
    target_at, draft_at = _at(target_probs[:depth], drafted), _at(draft_probs, drafted)
    accepted = _leading(_passes(accept_noise, target_at, draft_at))
    row = target_probs[accepted]
    excess = residual(row, draft_probs[mx.minimum(accepted, depth - 1)])
    next_probs = mx.where(accepted == depth, row, excess)
    return Verdict(accepted, draw(next_probs[None], next_noise[accepted][None])[0], next_probs)


def block_rule(
    target_probs: mx.array,
    draft_probs: mx.array,
    drafted: mx.array,
    accept_noise: mx.array,
    next_noise: mx.array,
) -> Verdict:
    """Judge a window as a whole: accept the longest run i with u_i < h_i.

    Never accepts fewer drafts than the ratio rule on average; the same as it at depth 1 and for
    one-hot draft distributions.

    Args:
        target_probs: float32 [depth + 1, vocabulary], from `target_distribution`.
        draft_probs: float32 [depth, vocabulary], the distributions the drafts were drawn from.
        drafted: uint32 [depth]; depth 1 or more.
        accept_noise: float32 [depth] in [0, 1).
        next_noise: float32 [depth + 1] in [0, 1); as for `token_rule`.

    Returns:
        The verdict.

    Source:
        Sun et al. 2024, arXiv:2403.10444.
    """
    depth = drafted.shape[0]
    chances = block_chances(target_probs, draft_probs, drafted)
    accepted = _longest(accept_noise < chances.stop)
    row = target_probs[accepted]
    reach = chances.reach[accepted]
    excess = residual(row, draft_probs[mx.minimum(accepted, depth - 1)], reach)
    next_probs = mx.where(accepted == depth, row, excess)
    token = draw(next_probs[None], next_noise[accepted][None])[0]
    return Verdict(accepted, token, next_probs, chances)


def block_chances(target_probs: mx.array, draft_probs: mx.array, drafted: mx.array) -> BlockChances:
    """Return the block rule's numbers; arguments as for `block_rule`.

    With Z_i = sum over x of max(p_i * P_(i+1)(x) - Q_(i+1)(x), 0), the inner chances are
    h_i = Z_i / (Z_i + 1 - p_i), 1 where that is 0/0, and the last one is p_depth.

    Source:
        Sun et al. 2024, arXiv:2403.10444.
    """
    depth = drafted.shape[0]
    target_at, draft_at = _at(target_probs[:depth], drafted), _at(draft_probs, drafted)
    reach = _reach(target_at, draft_at)
    inner = reach[1:depth, None]
    left = mx.sum(mx.maximum(inner * target_probs[1:depth] - draft_probs[1:], 0), axis=-1)
    return BlockChances(reach, _stop_chances(reach, left))


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
    return Verdict(accepted, drawn[accepted], target_probs[accepted])


def residual(
    target_probs: mx.array, draft_probs: mx.array, reach: mx.array | float = 1.0
) -> mx.array:
    """Return the distribution to draw from after a reject.

    Args:
        target_probs: what plain decoding would draw from here; float32 [vocabulary].
        draft_probs: the distribution the draft was really drawn from; float32 [vocabulary].
        reach: the block rule's p of the accepted run, which weighs the target; 1 in the ratio
            rule.

    Returns:
        float32 [vocabulary], sums to 1. The target itself where the excess is empty, which
        only rounding can reach.

    Source:
        Leviathan et al. 2023, arXiv:2211.17192, algorithm 1; Sun et al. 2024, arXiv:2403.10444.
    """
    excess = mx.maximum(reach * target_probs - draft_probs, 0)
    total = mx.sum(excess)
    return mx.where(total > 0, excess / total, target_probs)


def _at(probs: mx.array, tokens: mx.array) -> mx.array:
    """Return each row's probability of its token; [n, vocabulary] and [n] to [n]."""
    return mx.take_along_axis(probs, tokens[:, None], axis=-1)[:, 0]


def _passes(uniform: mx.array, target_at: mx.array, draft_at: mx.array) -> mx.array:
    """Return whether each draft passes the ratio rule; all [depth]."""
    return uniform * draft_at < target_at


def _reach(target_at: mx.array, draft_at: mx.array) -> mx.array:
    """Return the block rule's p_0 ... p_depth from the drafts' probabilities."""
    chances = [mx.ones((1,), target_at.dtype)]
    for index in range(target_at.shape[0]):
        here = slice(index, index + 1)
        chances.append(mx.minimum(1, chances[-1] * target_at[here] / draft_at[here]))
    return mx.concatenate(chances)


def _stop_chances(reach: mx.array, left: mx.array) -> mx.array:
    """Return the block rule's h_1 ... h_depth from p [depth + 1] and Z [depth - 1]."""
    depth = reach.shape[0] - 1
    whole = left + 1 - reach[1:depth]
    inner = mx.where(whole > 0, left / whole, 1)
    return mx.concatenate([inner, reach[depth:]])


def _longest(passed: mx.array) -> mx.array:
    """Return the number of the last entry that passes, counting from 1; int32 []."""
    runs = mx.arange(1, passed.shape[0] + 1, dtype=mx.int32)
    return mx.max(mx.where(passed, runs, 0))


def _leading(passed: mx.array) -> mx.array:
    """Return how many entries pass before the first that does not; int32 []."""
    return mx.sum(mx.cumprod(passed.astype(mx.int32)))
