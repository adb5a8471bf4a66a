"""What the contract probe chooses, asked about heads whose truth is known; and its faults."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import mlx.core as mx
import pytest

from engine.errors import HeadError
from engine.model import probe
from engine.model.cache import Cache
from engine.model.draft_head import DraftHead
from engine.model.trunk import Trunk, TrunkOutput
from engine.verdict.contract import Contract, NormEncoding
from engine.verdict.families import Concat, Family, Side
from engine.verdict.family_table import DEMO
from tests.fakes.faults import Fault, seen

VOCABULARY = 512
PLACES = mx.arange(4 * probe.POSITIONS)
TEXT = (29 * PLACES + 5) % VOCABULARY
CHOSEN = (37 * PLACES + 11) % VOCABULARY
"""What the trunk finds likeliest behind each place; never what the text has there next."""
ORDERS: tuple[Concat, Concat] = ("embedding,hidden", "hidden,embedding")
SIDES: tuple[Side, Side] = ("pre", "post")
FAMILY = replace(DEMO, concat="embedding,hidden", hidden="post", recycle="post")

Way = tuple[Concat, Side, NormEncoding | None]
Shares = Callable[[Way, int], float]
"""Of a way and the length of a text: what share of the trunk's choices the head foretells."""


def row(place: mx.array, side: Side, token: mx.array, passes: int) -> mx.array:
    """Return rows that say what they are; [1, n, 4]."""
    parts = (place, mx.full(place.shape, SIDES.index(side)), token, mx.full(place.shape, passes))
    return mx.stack([part.astype(mx.float32) for part in parts], axis=-1)[None]


class MadeUpTrunk:
    """A trunk whose hidden rows tell their place, and from which side of its norm they come."""

    def tap(self, side: Side) -> None:
        self.side: Side = side

    def make_cache(self) -> Cache:
        return Cache([])

    def forward(self, tokens: mx.array, cache: Cache) -> TrunkOutput:
        places = mx.arange(cache.length, cache.length + tokens.shape[0])
        cache.wrote(tokens.shape[0])
        logits = mx.take(mx.eye(VOCABULARY), CHOSEN[places], axis=0)
        return TrunkOutput(logits, row(places, self.side, tokens, 0))

    def normed(self, hidden: mx.array) -> mx.array:
        return row(hidden[0, :, 0], "post", hidden[0, :, 2], 0)


class MadeUpHead:
    """A head that foretells given shares, if rows and tokens belong together."""

    def __init__(
        self, encoding: NormEncoding | None, shares: Shares, recycled: Mapping[Side, float]
    ) -> None:
        self._encoding = encoding
        self._shares = shares
        self._recycled = recycled
        self._concat: Concat = ORDERS[0]
        self.draft_head = DraftHead(self._logits, VOCABULARY, None)

    def follow(self, family: Family) -> None:
        self._concat = family.concat

    def make_cache(self) -> Cache:
        return Cache([])

    def run(self, hidden: mx.array, tokens: mx.array, cache: Cache) -> tuple[mx.array, mx.array]:
        place = hidden[0, :, 0].astype(mx.int32)
        first: Any = hidden[0, 0].tolist()
        side = SIDES[int(first[1])]
        share = self._recycled[side]
        if not first[3]:
            share = self._shares((self._concat, side, self._encoding), tokens.shape[0] + 1)
        right = CHOSEN[place + 1]
        is_hit = (place * 61 % 100 < 100 * share) & (TEXT[place + 1] == tokens)
        token = mx.where(is_hit, right, (right + 1) % VOCABULARY)
        return row(place + 1, "pre", token, 1), row(place + 1, "post", token, 1)

    def _logits(self, normed: mx.array) -> mx.array:
        return mx.take(mx.eye(VOCABULARY), normed[..., 2].astype(mx.int32), axis=0)


def probed(
    shares: Shares,
    recycled: Mapping[Side, float] | None = None,
    encodings: tuple[NormEncoding | None, ...] = (None,),
    tokens: int = 2 * probe.POSITIONS,
    family: Family = FAMILY,
) -> tuple[Contract, float]:
    trunk = cast("Trunk", MadeUpTrunk())
    text: Any = TEXT[:tokens].tolist()
    return probe.probe(
        family,
        trunk,
        lambda encoding: MadeUpHead(encoding, shares, recycled or {"pre": 0.5, "post": 0.5}),
        encodings,
        text,
    )


def one(way: Way, share: float = 0.8, other: float = 0.1) -> Shares:
    return lambda asked, _: share if asked == way else other


@pytest.mark.parametrize("recycle", SIDES)
@pytest.mark.parametrize("way", list(itertools.product(ORDERS, SIDES, ("plain", "one_plus"))))
def test_the_way_a_head_is_fed_is_found(way: Way, recycle: Side) -> None:
    concat, hidden, encoding = way
    recycled: dict[Side, float] = {"pre": 0.2, "post": 0.2, recycle: 0.6}
    contract, share = probed(one(way), recycled, ("plain", "one_plus"))
    assert contract == Contract(concat, hidden, recycle, encoding)
    assert share == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize(("lead", "is_taken"), [(0.02, False), (0.1, True)])
def test_another_way_has_to_be_better_by_a_margin(*, lead: float, is_taken: bool) -> None:
    shares = {(ORDERS[0], "post", None): 0.5, (ORDERS[0], "pre", None): 0.5 + lead}
    contract, share = probed(lambda way, _: shares.get(way, 0.1))
    assert contract.hidden == ("pre" if is_taken else "post")
    assert share == pytest.approx(0.5 + lead * is_taken, abs=0.01)
    recycled: dict[Side, float] = {"pre": 0.5 + lead, "post": 0.5}
    contract, _ = probed(one((ORDERS[0], "post", None)), recycled)
    assert contract.recycle == ("pre" if is_taken else "post")


@pytest.mark.parametrize(("share", "is_worth"), [(0.27, False), (0.33, True)])
def test_a_head_that_foretells_too_little_is_refused(*, share: float, is_worth: bool) -> None:
    way: Way = (ORDERS[0], "post", None)
    if is_worth:
        assert probed(one(way, share))[0] == Contract(ORDERS[0], "post", "post")
        return
    with pytest.raises(HeadError, match="27% of the trunk's choices at best"):
        probed(one(way, share))


def test_a_lead_that_is_not_clear_is_asked_again_of_twice_the_text() -> None:
    """At first the other way leads by 0.04, on twice the text by 0.1; a clear lead is believed."""
    lengths: set[int] = set()

    def shares(first: float, then: float) -> Shares:
        def share(way: Way, tokens: int) -> float:
            lengths.add(tokens)
            lead = first if tokens == probe.POSITIONS else then
            return {"pre": 0.5 + lead, "post": 0.5}[way[1]] if way[0] == ORDERS[0] else 0.1

        return share

    assert probed(shares(0.04, 0.1))[0].hidden == "pre"
    assert lengths == {probe.POSITIONS, 2 * probe.POSITIONS}
    lengths.clear()
    assert probed(shares(0.1, 0.0))[0].hidden == "pre"
    assert lengths == {probe.POSITIONS}


def test_distinct_heads_keep_their_familys_recycled_row() -> None:
    family = replace(FAMILY, distinct_heads=3, recycle="pre")
    way: Way = (ORDERS[0], "post", None)
    contract, _ = probed(one(way), {"pre": 0.1, "post": 0.9}, family=family)
    assert contract.recycle == "pre"


Patch = pytest.MonkeyPatch


def changed(name: str, change: Callable[..., object]) -> Callable[[Patch], object]:
    """Put what a function of the probe is given, or gives, through a change."""
    right = getattr(probe, name)
    return lambda patch: patch.setattr(probe, name, lambda *given: change(right, *given))


def text_of(**parts: Callable[[probe._Text], object]) -> Callable[[Patch], object]:
    def spoilt(right: Callable[..., probe._Text], *given: object) -> probe._Text:
        text = right(*given)
        return replace(text, **{name: part(text) for name, part in parts.items()})

    return changed("_read", spoilt)


def constant(name: str, value: object) -> Callable[[Patch], object]:
    return lambda patch: patch.setattr(probe, name, value)


def scores_of_one_order(patch: Patch) -> None:
    patch.setattr(MadeUpHead, "follow", lambda *_: None)


FOUND, MARGIN = test_the_way_a_head_is_fed_is_found, test_another_way_has_to_be_better_by_a_margin
WORTH = test_a_head_that_foretells_too_little_is_refused
AGAIN = test_a_lead_that_is_not_clear_is_asked_again_of_twice_the_text
SWAPPED: Way = (ORDERS[1], "pre", "one_plus")
FOUND_IT: dict[str, Any] = {"way": SWAPPED, "recycle": "pre"}
FAULTS = [
    Fault(
        "the text counts, not the trunk's choice",
        FOUND,
        FOUND_IT,
        text_of(chosen=lambda text: mx.roll(text.tokens, -1)),
    ),
    Fault(
        "the trunk's choice of a place before",
        FOUND,
        FOUND_IT,
        text_of(chosen=lambda text: mx.roll(text.chosen, 1)),
    ),
    Fault(
        "rows from either side taken for the other's",
        FOUND,
        FOUND_IT,
        text_of(rows=lambda text: {"pre": text.rows["post"], "post": text.rows["pre"]}),
    ),
    Fault(
        "rows of both sides alike",
        FOUND,
        FOUND_IT,
        text_of(rows=lambda text: dict.fromkeys(SIDES, text.rows["post"])),
    ),
    Fault("one order asked twice", FOUND, FOUND_IT, scores_of_one_order),
    Fault(
        "the token before fed to the head",
        FOUND,
        FOUND_IT,
        changed("_run", lambda right, head, rows, tokens: right(head, rows, mx.roll(tokens, 1))),
    ),
    Fault(
        "one encoding taken for both",
        FOUND,
        FOUND_IT,
        changed(
            "_scores",
            lambda right, family, heads, text: right(
                family, dict.fromkeys(heads, heads["plain"]), text
            ),
        ),
    ),
    Fault(
        "the recycled row not asked for",
        FOUND,
        FOUND_IT,
        changed("_recycle", lambda right, family, *_: family.recycle),
    ),
    Fault("no margin", MARGIN, {"lead": 0.02, "is_taken": False}, constant("MARGIN", 0.0)),
    Fault("a margin never reached", MARGIN, {"lead": 0.1, "is_taken": True}, constant("MARGIN", 1)),
    Fault(
        "a family's own way never left",
        MARGIN,
        {"lead": 0.1, "is_taken": True},
        changed("_best", lambda right, family, scores: probe._usual(family, scores)),
    ),
    Fault("no head refused", WORTH, {"share": 0.27, "is_worth": False}, constant("WORTH", 0.0)),
    Fault("worthy heads refused", WORTH, {"share": 0.33, "is_worth": True}, constant("WORTH", 0.5)),
    Fault("asked once only", AGAIN, {}, changed("_is_unclear", lambda *_: False)),
    Fault("always asked twice", AGAIN, {}, changed("_is_unclear", lambda *_: True)),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_of_the_probe_is_seen(fault: Fault, monkeypatch: Patch) -> None:
    seen(fault, HeadError, monkeypatch=monkeypatch)
