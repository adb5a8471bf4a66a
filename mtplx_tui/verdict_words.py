"""Why a draft was accepted or rejected, in words that its numbers bear out."""

from __future__ import annotations

from dataclasses import dataclass

from engine.protocol import CycleDone, DraftDetail, Ended

__all__ = ["Signs", "draft_words", "last_words"]

MOST_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Signs:
    """How comparisons are written."""

    below: str = "<"
    at_least: str = "≥"


def draft_words(cycle: CycleDone, at: int, signs: Signs, *, is_greedy: bool) -> str:
    """Return why a draft of a recorded cycle was accepted, rejected or never judged.

    Args:
        cycle: with its detail.
        at: number of the draft, from 0.
        signs: to write with.
        is_greedy: whether the temperature was 0.

    Raises:
        ValueError: the cycle was not recorded.
    """
    if cycle.detail is None:
        raise ValueError("the cycle was not recorded")
    draft = cycle.detail.drafts[at]
    if draft.chance is not None:
        return _block_words(cycle, at, draft, draft.chance, signs)
    if at > cycle.accepted:
        return f"not judged: draft {cycle.accepted + 1} was rejected before it"
    is_accepted = at < cycle.accepted
    verdict = "accepted" if is_accepted else "rejected"
    if is_greedy:
        return f"{verdict}: it is {'' if is_accepted else 'not '}the trunk's likeliest token"
    if draft.uniform is None:
        drew = "the same token" if is_accepted else "another token"
        return f"{verdict}: the trunk's own draw is {drew}"
    if not is_accepted and draft.target_prob == 0:
        return "rejected: the trunk would never draw it here"
    uniform, target, chance = _digits(draft, draft.uniform, is_accepted=is_accepted)
    sign = signs.below if is_accepted else signs.at_least
    return f"{verdict}: u {uniform} {sign} {target} / {chance}"


def last_words(cycle: CycleDone) -> str:
    """Return what a cycle's last token was drawn from."""
    if cycle.detail is not None and cycle.detail.next_uniform is None:
        return "the trunk's own draw, whatever was drafted"
    if cycle.depth == 0:
        return "plain decoding: drawn from the trunk's row"
    if cycle.accepted == cycle.depth:
        return "bonus: drawn from the trunk's row after all drafts"
    return "residual: drawn from what the trunk gives more than the head did"


def is_dropped(cycle: CycleDone) -> bool:
    """Whether a stop came before the cycle's last token."""
    is_cut = cycle.ended in (Ended.STOP, Ended.LENGTH)
    return is_cut and len(cycle.emitted) <= cycle.accepted


def _block_words(cycle: CycleDone, at: int, draft: DraftDetail, chance: float, signs: Signs) -> str:
    """Return the block rule's words: a run passes or not, and the longest that does counts."""
    uniform = draft.uniform or 0.0
    passes = uniform < chance
    shown, bound = _pair(uniform, chance, is_below=passes)
    against = f"u {shown} {signs.below if passes else signs.at_least} h {bound}"
    if at >= cycle.accepted:
        return f"rejected: {against}, and no longer run passes"
    if passes:
        return f"accepted: {against}, so the run of {at + 1} passes"
    return f"accepted in the run of {cycle.accepted}; alone it would not be: {against}"


def _digits(draft: DraftDetail, uniform: float, *, is_accepted: bool) -> tuple[str, str, str]:
    """Return the ratio rule's numbers with as many digits as bear the verdict out."""
    texts = ("", "", "")
    for digits in range(2, MOST_DIGITS + 1):
        numbers = (uniform, draft.target_prob, draft.draft_prob)
        texts = tuple(f"{number:.{digits}f}" for number in numbers)
        shown, target, chance = (float(text) for text in texts)
        if chance > 0 and target > 0 and (shown < target / chance) == is_accepted:
            break
    return texts[0], texts[1], texts[2]


def _pair(uniform: float, chance: float, *, is_below: bool) -> tuple[str, str]:
    """Return two numbers with as many digits as tell which is below the other."""
    texts = ("", "")
    for digits in range(2, MOST_DIGITS + 1):
        texts = (f"{uniform:.{digits}f}", f"{chance:.{digits}f}")
        if (float(texts[0]) < float(texts[1])) == is_below:
            break
    return texts
