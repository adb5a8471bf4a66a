"""Runs the head to a depth and keeps the very distribution each token was drawn from.

At temperatures below GREEDY_BELOW the likeliest token is drafted and its distribution is
one-hot, which accepts about as much and needs no draw; above, the draft is drawn. Both are exact.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import mlx.core as mx

from engine.model.draft_head import DraftHead
from engine.protocol import Mode, Sampling
from engine.speculation.noise import CycleNoise
from engine.speculation.on_device import distribution
from engine.speculation.sampling import RowRules, draw, draw_with_gumbel, target_distribution
from engine.speculation.stream import Stream

__all__ = ["GREEDY_BELOW", "Draft", "draft", "narrowed"]

GREEDY_BELOW = 0.4
"""Measured for MTP heads in llama.cpp #27694: drawn drafts gain from about 0.4 on."""


@dataclass(frozen=True, slots=True)
class Draft:
    """Drafted tokens of a cycle, still on the device."""

    tokens: mx.array
    """uint32 [depth]."""
    probs: mx.array | None
    """float32 [depth, vocabulary]: what each was drawn from; None at depth 0."""
    is_drawn: bool = False
    """Whether `probs` may be other than one-hot."""


def draft(stream: Stream, depth: int, sampling: Sampling, mode: Mode, noise: CycleNoise) -> Draft:
    """Draft `depth` tokens after the stream's last one.

    The first pass takes in the stream's pending true hidden rows for good; the passes for
    depth 2 and more run on recycled rows and are rolled back.

    Args:
        stream: can draft, unless depth is 0.
        depth: 0 or more.
        sampling: the target's own transforms, which makes acceptance likeliest; temperature 0
            in their place where drafts are greedy.
        mode: decides how tokens are drawn.
        noise: of this cycle.
    """
    head, cache = stream.head, stream.head_cache
    if depth == 0 or head is None or cache is None:
        return Draft(mx.zeros((0,), mx.uint32), None)
    is_drawn = mode is Mode.SEEDED or sampling.temperature >= GREEDY_BELOW
    own = sampling if is_drawn else replace(sampling, temperature=0.0)
    draft_head = head.draft_head
    recycled = stream.absorb()
    tokens: list[mx.array] = []
    rows: list[mx.array] = []
    for index in range(depth):
        if index:
            recycled = head.forward(recycled, tokens[-1], cache)
        rules = narrowed(stream.draft_rules(tokens), draft_head)
        logits = head.logits(recycled)
        uniform = None if mode is Mode.SEEDED else noise.draft(index)
        if uniform is not None:
            drawn = distribution(logits, own, rules, uniform, draft_head.column_of)
            if drawn is not None:
                tokens.append(drawn.tokens)
                rows.append(drawn.probs)
                continue
        probs = target_distribution(logits, own, rules)
        if uniform is None:
            gumbel = noise.gumbel(index, draft_head.vocabulary)
            column = draw_with_gumbel(probs, draft_head.narrowed(gumbel))
        else:
            column = draw(probs, uniform)
        tokens.append(draft_head.tokens_at(column))
        rows.append(draft_head.widened(probs))
    cache.commit(0)
    return Draft(mx.concatenate(tokens), mx.concatenate(rows), is_drawn)


def narrowed(rules: RowRules | None, draft_head: DraftHead) -> RowRules | None:
    """Return rules for the tokens that can be drafted.

    A grammar that lets none of them through is left out: the draft will be rejected.
    """
    if rules is None:
        return None
    allowed, bias, seen, deduction, banned = (
        None if rows is None else draft_head.narrowed(rows)
        for rows in (rules.allowed, rules.bias, rules.seen, rules.deduction, rules.banned)
    )
    if allowed is not None:
        allowed = allowed | ~mx.any(allowed, axis=-1, keepdims=True)
    return RowRules(allowed, bias, rules.repetition, seen, deduction, banned)
