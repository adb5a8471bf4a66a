"""Answers are the same, and leave the same, where plain passes are handed over before their cycles."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx
import pytest

from engine.model.cache import Cache
from engine.model.load import LoadedModel
from engine.model.trunk import Trunk, TrunkOutput
from engine.prefix.cache import PrefixCache
from engine.protocol import (
    Constraints,
    CycleDone,
    Ended,
    Event,
    Finish,
    Generate,
    Mode,
    PrefixReused,
    RequestDone,
    Sampling,
)
from engine.request import Request
from engine.speculation import stream as stream_module
from engine.speculation.costs import CycleCosts
from engine.speculation.stream import Stream
from tests.engine.ahead import assert_same_state, failing, tiny_model

BIG = 2**30
SOFT = Sampling(1, 1, 0)
SCHEMA = '{"type": "array", "items": {"type": "integer"}}'
WAYS = {
    "plain": {},
    "greedy": {"sampling": Sampling(0, 1, 0)},
    "token": {"mode": Mode.TOKEN},
    "penalties": {"constraints": Constraints(1.3, 0.4, 0.3, banned=((1, 2), (7,)))},
    "grammar": {"grammar": SCHEMA},
    "logprobs": {"logprobs": 3},
}


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return tiny_model()


@dataclass
class Told:
    """What a request told, and its state."""

    prompt: tuple[int, ...]
    events: list[Event]
    stream: Stream

    @property
    def story(self) -> list[object]:
        """The events, without the seconds in them."""
        return [_timeless(event) for event in self.events]

    @property
    def cycles(self) -> list[CycleDone]:
        return [event for event in self.events if isinstance(event, CycleDone)]

    @property
    def tokens(self) -> tuple[int, ...]:
        return tuple(token for cycle in self.cycles for token in cycle.emitted)


def _timeless(event: Event) -> Event:
    if isinstance(event, CycleDone):
        return replace(event, draft_s=0, verify_s=0, accept_s=0, total_s=0, graphs_built=0)
    if isinstance(event, RequestDone):
        return replace(event, prefill_s=0, first_token_s=0, total_s=0)
    return event


def asked(model: LoadedModel, prefixes: PrefixCache, *, is_beside: bool, **options: Any) -> Request:
    given: dict[str, Any] = {
        "raw": "abab01",
        "depth": 0,
        "mode": Mode.SEEDED,
        "seed": 5,
        "max_tokens": 20,
        "sampling": SOFT,
        **options,
    }
    command = Generate("r", (), **given)
    request = Request(command, model, prefixes=prefixes)
    request._stream.runs_beside_host = is_beside
    request.set_detail(is_on=True)
    return request


def steps(request: Request) -> Iterator[list[Event]]:
    while not request.is_over:
        yield request.advance()


def told(request: Request, cancelled_at: int = 0) -> Told:
    """Let a request run to its end, or to its cancellation behind so many turns."""
    events: list[Event] = []
    for number, each in enumerate(steps(request), 1):
        events += each
        if number == cancelled_at:
            events.append(request.cancel())
    request.close(is_whole=True)
    return Told(request.prompt.ids, events, request._stream)


def both(model: LoadedModel, **options: Any) -> tuple[Told, Told, PrefixCache, PrefixCache]:
    """Return what a request tells without a pass ahead and with it, and the prefixes they leave."""
    cancelled_at = options.pop("cancelled_at", 0)
    kept = PrefixCache(BIG), PrefixCache(BIG)
    alone, ahead = (
        told(asked(model, prefixes, is_beside=is_beside, **options), cancelled_at)
        for prefixes, is_beside in zip(kept, (False, True), strict=True)
    )
    return alone, ahead, *kept


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("has_head", [True, False])
def test_an_answer_is_the_same(model: LoadedModel, way: str, *, has_head: bool) -> None:
    """Cycles, numbers of the x-ray, log-probabilities and end."""
    own = model if has_head else replace(model, head=None)
    alone, ahead, *_ = both(own, **WAYS[way])
    assert ahead.story == alone.story
    assert all(cycle.detail is not None for cycle in ahead.cycles)
    assert_same_state(ahead.stream, alone.stream)


ENDS: dict[str, tuple[dict[str, Any], Ended | Finish]] = {
    "most tokens": ({"max_tokens": 7}, Finish.LENGTH),
    "one token": ({"max_tokens": 1}, Finish.LENGTH),
    "stop string": ({"stop": ("STOP",)}, Finish.STOP),
    "end token": ({"grammar": SCHEMA, "max_tokens": 200}, Finish.STOP),
    "cancelled": ({"cancelled_at": 6}, Finish.CANCELLED),
}


@pytest.mark.parametrize("end", ENDS)
def test_an_end_leaves_what_later_prompts_go_on_from(model: LoadedModel, end: str) -> None:
    """The same prefix with the same state, whether a pass was ahead of the end or not."""
    options, finish = ENDS[end]
    if end == "stop string":
        pieces = [p for c in both(model)[0].cycles for p in c.emitted_pieces]
        options = {"stop": ("".join(pieces[8:11]),)}
    alone, ahead, *kept = both(model, **options)
    assert ahead.story == alone.story
    done = ahead.events[-1]
    assert isinstance(done, RequestDone)
    assert done.finish is finish
    following = (*ahead.prompt, *ahead.tokens, 1, 2)
    later = [
        told(asked(model, prefixes, is_beside=True, raw=None, prompt_ids=following, depth=depth))
        for prefixes in kept
        for depth in (0, 2)
    ]
    for plain, other in ((later[0], later[2]), (later[1], later[3])):
        assert other.story == plain.story
        assert_same_state(other.stream, plain.stream)
    reuse = next(event for event in later[2].events if isinstance(event, PrefixReused))
    assert reuse.reused == len(ahead.prompt) + len(ahead.tokens) - 1


def counted_rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    rows: list[int] = []
    forward = Trunk.forward

    def passing(self: Trunk, tokens: mx.array, cache: Cache) -> TrunkOutput:
        rows.append(tokens.shape[0])
        return forward(self, tokens, cache)

    monkeypatch.setattr(Trunk, "forward", passing)
    return rows


def test_no_pass_is_ahead_of_an_end_that_is_known(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for options in ({"max_tokens": 9}, {"raw": "ab" * 252, "max_tokens": None}):
        rows = counted_rows(monkeypatch)
        answer = told(asked(model, PrefixCache(0), is_beside=True, **options))
        assert len(answer.cycles) in (8, 9)
        assert rows.count(1) == len(answer.cycles)


def test_a_depth_that_is_set_between_counts_from_the_next_cycle_on(model: LoadedModel) -> None:
    stories = []
    for is_beside in (False, True):
        request = asked(model, PrefixCache(0), is_beside=is_beside)
        events: list[Event] = []
        for number, each in enumerate(steps(request)):
            events += each
            if number in (5, 8):
                events.append(request.set_depth(3 if number == 5 else 0))
        stories.append(Told(request.prompt.ids, events, request._stream).story)
    assert stories[0] == stories[1]
    depths = [event.depth for event in stories[1] if isinstance(event, CycleDone)]
    assert depths[3:9] == [0, 0, 3, 3, 3, 0]


def test_requests_in_turns_tell_what_each_tells_alone(model: LoadedModel) -> None:
    seeds = (5, 6, 7)
    expected = [both(model, seed=seed)[0] for seed in seeds]
    requests = [asked(model, PrefixCache(BIG), is_beside=True, seed=seed) for seed in seeds]
    found: list[list[Event]] = [[] for _ in seeds]
    for turns in itertools.zip_longest(*map(steps, requests), fillvalue=()):
        for events, each in zip(found, turns, strict=True):
            events += each
    for request, events, each in zip(requests, found, expected, strict=True):
        assert Told(request.prompt.ids, events, request._stream).story == each.story


def test_an_answer_ends_whole_where_the_pass_ahead_of_its_end_fails(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it is kept but what was kept before."""
    whole = both(model)[0]
    stop = "".join(p for c in whole.cycles for p in c.emitted_pieces)[:6]
    alone = both(model, stop=(stop,))[0]
    prefixes = PrefixCache(BIG)
    request = asked(model, prefixes, is_beside=True, stop=(stop,))
    failing(monkeypatch, len(alone.cycles) + 1)
    answer = told(request)
    assert answer.story == alone.story
    assert not answer.stream.is_whole
    ends = [place.end for place in prefixes.places]
    assert ends == [len(answer.prompt) - 1]


def test_a_plain_pass_ahead_teaches_no_cost_to_automatic_depth(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There each cycle's depth is chosen anew, so a plain one runs by itself; as an answer's first does."""
    taught: list[int] = []
    monkeypatch.setattr(CycleCosts, "learn", lambda _, depth, __: taught.append(depth))
    counts = []
    for is_beside in (False, True):
        taught.clear()
        request = asked(model, PrefixCache(0), is_beside=is_beside, depth=0)
        cycles = told(request).cycles
        request.learnt()
        counts.append((len(cycles), len(taught)))
    assert counts == [(counts[0][0], counts[0][0]), (counts[0][0], 1)]
    assert counts[0][0] > 5


@pytest.mark.parametrize("farthest", [0, 6, 10**6])
def test_nothing_runs_ahead_of_the_first_token_or_over_a_long_cache(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch, farthest: int
) -> None:
    request = asked(model, PrefixCache(0), is_beside=True, depth=0)
    next(steps(request))
    begin = request._stream.position
    monkeypatch.setattr(stream_module, "_FARTHEST_AHEAD", begin + farthest)
    ahead: list[bool] = []
    for _ in range(10):
        request.advance()
        ahead.append(request._stream.trunk_cache.open == 1)
    assert ahead == [0 < cycle < farthest for cycle in range(10)]


def test_automatic_depth_runs_ahead_while_it_rests(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And else not: a choice that is not made yet is no ground to build on."""
    request = asked(model, PrefixCache(0), is_beside=True, depth=None, max_tokens=60)
    next(steps(request))
    ahead: list[bool] = []
    for number in range(30):
        if number == 10:
            policy = request._policy
            policy._settled, policy._probe = 0, None
            policy._resting_until = policy._all_tokens + 10
        request.advance()
        ahead.append(request._stream.trunk_cache.open == 1)
    assert ahead[:10] == [False] * 10
    assert ahead[10:19] == [True] * 9
    assert not any(ahead[19:])
