"""The contract probe: how a head is fed, found out by feeding it each way.

For heads whose family leaves a doubt. The trunk reads a piece of source code once; the head, fed
that text in every order and from either side of the trunk's final norm, shows by how often it
foretells the trunk's own choice which way is its own. It costs speed at most, never exactness, and
is done once: what was found is kept by the content of the head.

Thresholds: the standard error of a share over 1,000 places is at most 0.016, so 0.05 between two
ways is some three of them; a head that foretells less than 0.30 is not worth its time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import mlx.core as mx

from engine.errors import HeadError
from engine.model.arrays import integers
from engine.model.cache import Cache, evaluate
from engine.model.draft_head import DraftHead
from engine.model.trunk import Trunk
from engine.verdict.contract import Contract, NormEncoding
from engine.verdict.families import Concat, Family, Side

__all__ = ["MARGIN", "POSITIONS", "WORTH", "Probed", "probe"]

POSITIONS = 1000
"""Tokens that are read; twice as many where that leaves a way's lead unclear."""
MARGIN = 0.05
"""By how much a way must be better than the family's own."""
WORTH = 0.30
"""Share of the trunk's choices that a head must foretell to be used."""
_UNCLEAR = (0.03, 0.06)
_CHUNK = 128
_CONCATS: tuple[Concat, ...] = ("embedding,hidden", "hidden,embedding")
_SIDES: tuple[Side, ...] = ("pre", "post")


class Probed(Protocol):
    """A head that can be fed another way than its family's."""

    draft_head: DraftHead

    def follow(self, family: Family) -> None:
        """Take order and recycled row from a contract."""

    def make_cache(self) -> Cache:
        """Return an empty cache."""

    def run(self, hidden: mx.array, tokens: mx.array, cache: Cache) -> tuple[mx.array, mx.array]:
        """Return rows before and after the final norm; see `engine.model.head.Head.forward`."""


Build = Callable[[NormEncoding | None], Probed]


@dataclass(frozen=True, slots=True)
class _Text:
    """A text and what the trunk makes of it."""

    tokens: mx.array
    rows: dict[Side, mx.array]
    """[1, n, hidden], from before and after the trunk's final norm."""
    chosen: mx.array
    """[n]: the trunk's likeliest token behind each."""


def probe(
    family: Family,
    trunk: Trunk,
    build: Build,
    encodings: Sequence[NormEncoding | None],
    tokens: Sequence[int],
) -> tuple[Contract, float]:
    """Return how a head is fed, and what share of the trunk's choices it foretells so.

    Args:
        family: what is taken for granted until another way is clearly better.
        trunk: the head's; tapped before its final norm from now on.
        build: makes the head, its gains read in one encoding or the other.
        encodings: that are possible; None where there is no doubt.
        tokens: of a text, best of 2 x POSITIONS of them.

    Raises:
        HeadError: fed in no way does it foretell enough.
    """
    heads = {encoding: build(encoding) for encoding in encodings}
    short, long = tokens[:POSITIONS], tokens[: 2 * POSITIONS]
    text = _read(trunk, short)
    scores = _scores(family, heads, text)
    if _is_unclear(family, scores) and len(long) > len(short):
        text = _read(trunk, long)
        scores = _scores(family, heads, text)
    way, share = _best(family, scores)
    if share < WORTH:
        raise HeadError(
            f"its head foretells {share:.0%} of the trunk's choices at best, too few to draft",
            "declare its contract in mtp_contract.json if you know it",
        )
    contract = Contract(way.concat, way.hidden, family.recycle, way.encoding)
    head = heads[way.encoding]
    return replace(contract, recycle=_recycle(contract.applied_to(family), head, text)), share


@dataclass(frozen=True, slots=True)
class _Way:
    """One way to feed a head."""

    concat: Concat
    hidden: Side
    encoding: NormEncoding | None


def _read(trunk: Trunk, tokens: Sequence[int]) -> _Text:
    """Let the trunk read a text, a chunk at a time: logits of all places would be too large."""
    trunk.tap("pre")
    cache = trunk.make_cache()
    ids = mx.array(list(tokens), mx.uint32)
    rows, chosen = [], []
    for begin in range(0, ids.shape[0], _CHUNK):
        chunk = ids[begin : begin + _CHUNK]
        output = trunk.forward(chunk, cache)
        cache.commit(chunk.shape[0])
        if output.hidden is None:
            raise HeadError("the trunk's hidden rows could not be tapped")
        rows.append(output.hidden)
        chosen.append(mx.argmax(output.logits, axis=-1))
        mx.eval(rows[-1], chosen[-1])
        evaluate(cache)
    before = mx.concatenate(rows, axis=1)
    return _Text(ids, {"pre": before, "post": trunk.normed(before)}, mx.concatenate(chosen))


def _scores(
    family: Family, heads: dict[NormEncoding | None, Probed], text: _Text
) -> dict[_Way, float]:
    """Return what share of the trunk's choices the head foretells, fed in each way."""
    scores = {}
    for encoding, head in heads.items():
        for concat in _CONCATS:
            head.follow(replace(family, concat=concat))
            for side in _SIDES:
                _, normed = _run(head, text.rows[side][:, :-1], text.tokens[1:])
                scores[_Way(concat, side, encoding)] = _share(head, normed, text.chosen[1:])
    return scores


def _run(head: Probed, rows: mx.array, tokens: mx.array) -> tuple[mx.array, mx.array]:
    before, after = head.run(rows, tokens, head.make_cache())
    mx.eval(before, after)
    return before, after


def _share(head: Probed, normed: mx.array, wanted: mx.array) -> float:
    """Return how often the head's likeliest token is the wanted one; [1, n, hidden] and [n]."""
    hits = []
    for begin in range(0, wanted.shape[0], _CHUNK):
        logits = head.draft_head.logits(normed[:, begin : begin + _CHUNK])[0]
        drafts = head.draft_head.tokens_at(mx.argmax(logits, axis=-1))
        hits.append(mx.sum(drafts == wanted[begin : begin + _CHUNK], keepdims=True))
        mx.eval(hits[-1])
    return sum(integers(mx.concatenate(hits))) / wanted.shape[0]


def _usual(family: Family, scores: dict[_Way, float]) -> tuple[_Way, float]:
    """Return the family's own way; where the encoding is open, the better one of it."""
    own = [w for w in scores if (w.concat, w.hidden) == (family.concat, family.hidden)]
    way = max(own, key=lambda one: scores[one])
    return way, scores[way]


def _best(family: Family, scores: dict[_Way, float]) -> tuple[_Way, float]:
    usual, share = _usual(family, scores)
    best = max(scores, key=lambda one: scores[one])
    return (best, scores[best]) if scores[best] >= share + MARGIN else (usual, share)


def _is_unclear(family: Family, scores: dict[_Way, float]) -> bool:
    lead = max(scores.values()) - _usual(family, scores)[1]
    return _UNCLEAR[0] <= lead <= _UNCLEAR[1]


def _recycle(family: Family, head: Probed, text: _Text) -> Side:
    """Return which of the head's rows the next depth is fed.

    All recycled rows go through the head in one pass, over each other's keys and values rather
    than those of true rows: for both sides alike, which is what a comparison needs.
    """
    if family.distinct_heads > 1:
        return family.recycle
    head.follow(family)
    rows = dict(
        zip(_SIDES, _run(head, text.rows[family.hidden][:, :-1], text.tokens[1:]), strict=True)
    )
    shares = {}
    for side, fed in rows.items():
        _, normed = _run(head, fed[:, :-1], text.tokens[2:])
        shares[side] = _share(head, normed, text.chosen[2:])
    other: Side = "post" if family.recycle == "pre" else "pre"
    return other if shares[other] >= shares[family.recycle] + MARGIN else family.recycle
