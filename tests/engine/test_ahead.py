"""A plain pass that is handed over before its cycle changes nothing but the time it takes.

As on a GPU: what is handed over is taken to run by itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import mlx.core as mx
import numpy as np
import pytest

from engine.model.cache import Cache, trunk_cache
from engine.model.load import LoadedModel
from engine.model.trunk import Trunk, TrunkOutput
from engine.prefix.held import can_hold, hold
from engine.protocol import (
    Mode,
    Sampling,
)
from engine.speculation.cycle import CycleResult, read_prompt, run_cycle
from engine.speculation.stream import PENDING_LIMIT, Stream
from tests.engine.ahead import assert_same_state, failing, tiny_model
from tests.fakes import checkpoints

SOFT = Sampling(1, 1, 0)
PROMPT, LAST = list(range(5, 45)), 50
Depths = Callable[[int], int]


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return tiny_model()


def stream_of(trunk: Trunk, cache: Cache, *, is_beside: bool) -> Stream:
    stream = Stream(cache, None, 3)
    stream.runs_beside_host = is_beside
    read_prompt(trunk, stream, PROMPT, LAST)
    return stream


def begun(model: LoadedModel, *, is_beside: bool) -> Stream:
    stream = Stream(model.trunk.make_cache(), model.head, 3)
    stream.runs_beside_host = is_beside
    stream.has_xray = True
    vocabulary = model.info.vocabulary
    read_prompt(model.trunk, stream, [t % vocabulary for t in PROMPT], LAST % vocabulary)
    return stream


def ran(model: LoadedModel, stream: Stream, cycles: int, depths: Depths) -> list[CycleResult]:
    """Run cycles, each of which is told that a plain one follows."""
    return [
        run_cycle(model.trunk, stream, depths(number), SOFT, Mode.SEEDED, is_plain_next=True)
        for number in range(cycles)
    ]


def facts(result: CycleResult) -> tuple[object, ...]:
    numbers = result.numbers
    assert numbers is not None
    shown = (numbers.target_probs, numbers.next_prob, numbers.uniforms)
    return (result.cycle, result.drafted, result.accepted, result.emitted, repr(shown))


@pytest.mark.parametrize("name", checkpoints.DONORS)
def test_plain_text_and_state_are_the_same_bit_for_bit(
    models: Mapping[str, LoadedModel], name: str
) -> None:
    model = models[name]
    alone, ahead = (begun(model, is_beside=is_beside) for is_beside in (False, True))
    expected, found = (ran(model, stream, 30, lambda _: 0) for stream in (alone, ahead))
    assert [facts(each) for each in found] == [facts(each) for each in expected]
    assert not any(each.ran_ahead for each in expected)
    assert all(each.ran_ahead for each in found)
    assert ahead.trunk_cache.open == 1
    ahead.give_up_ahead()
    assert_same_state(ahead, alone)


@pytest.mark.parametrize("name", checkpoints.DONORS)
def test_a_pass_for_nothing_is_undone_before_drafts(
    models: Mapping[str, LoadedModel], name: str
) -> None:
    """Each change from plain to drafting comes against what was told."""
    model = models[name]
    depths = itertools.cycle((0, 0, 3, 0, 1, 2, 0, 0, 0, 4))
    plan = [next(depths) for _ in range(30)]
    alone, ahead = (begun(model, is_beside=is_beside) for is_beside in (False, True))
    expected, found = (ran(model, stream, 30, plan.__getitem__) for stream in (alone, ahead))
    assert [facts(each) for each in found] == [facts(each) for each in expected]
    assert [each.ran_ahead for each in found] == [depth == 0 for depth in plan]
    ahead.give_up_ahead()
    assert_same_state(ahead, alone)


@pytest.mark.parametrize("name", ["mimo", "qwen3_5", "nemotron_h", "exaone_moe"])
def test_a_state_is_taken_without_the_pass_ahead_and_gone_on_with(
    models: Mapping[str, LoadedModel], name: str
) -> None:
    model = models[name]
    alone, ahead = (begun(model, is_beside=is_beside) for is_beside in (False, True))
    for stream in (alone, ahead):
        ran(model, stream, 9, lambda _: 0)
    expected, found = hold(alone, None), hold(ahead, None)
    assert (found.trunk.length, found.trunk.ends) == (expected.trunk.length, expected.trunk.ends)
    arrays = zip(found.trunk.arrays, expected.trunk.arrays, strict=True)
    for ours, theirs in itertools.chain.from_iterable(zip(*each, strict=True) for each in arrays):
        assert (ours is None) == (theirs is None)
        assert ours is None or np.array_equal(np.array(ours), np.array(theirs))
    expected_text, text = (ran(model, stream, 9, lambda n: n % 3) for stream in (alone, ahead))
    assert [facts(each) for each in text] == [facts(each) for each in expected_text]


def test_reading_on_gives_the_pass_ahead_up(model: LoadedModel) -> None:
    alone, ahead = (begun(model, is_beside=is_beside) for is_beside in (False, True))
    for stream in (alone, ahead):
        ran(model, stream, 3, lambda _: 0)
        read_prompt(model.trunk, stream, [stream.last, 2, 3], 4)
    assert_same_state(ahead, alone)


def test_rows_for_the_head_are_bounded_beside_a_pass_ahead(model: LoadedModel) -> None:
    alone, ahead = (begun(model, is_beside=is_beside) for is_beside in (False, True))
    count = PENDING_LIMIT + 5
    expected, found = (ran(model, stream, count, lambda _: 0) for stream in (alone, ahead))
    assert [each.emitted for each in found] == [each.emitted for each in expected]
    assert ahead.pending_rows < 9
    ahead.give_up_ahead()
    assert_same_state(ahead, alone)


def test_caches_that_cant_roll_back_never_run_ahead(models: Mapping[str, LoadedModel]) -> None:
    trunk = models["qwen3_5"].trunk
    texts = []
    for cache in (trunk.make_cache(), trunk_cache(trunk.model)):
        stream = stream_of(trunk, cache, is_beside=True)
        results = [
            run_cycle(trunk, stream, 0, SOFT, Mode.SEEDED, is_plain_next=True) for _ in range(8)
        ]
        assert {each.ran_ahead for each in results} == {cache.can_roll_back}
        texts.append([each.emitted for each in results])
    assert not cache.can_roll_back
    assert cache.open == 0
    assert texts[0] == texts[1]


def test_nothing_is_handed_over_where_that_is_the_work_itself(model: LoadedModel) -> None:
    assert mx.default_device() == mx.cpu
    stream = Stream(model.trunk.make_cache(), None, 3)
    assert not stream.runs_beside_host
    read_prompt(model.trunk, stream, [1, 2], 3)
    assert not any(each.ran_ahead for each in ran(model, stream, 3, lambda _: 0))


def test_a_pass_is_handed_over_before_its_token_is_waited_for(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And only where another plain cycle follows."""
    stream = begun(model, is_beside=True)
    order: list[str] = []
    forward, waited = Trunk.forward, mx.eval

    def passing(self: Trunk, tokens: mx.array, cache: Cache) -> TrunkOutput:
        order.append("pass")
        return forward(self, tokens, cache)

    def waiting(*arrays: object) -> None:
        order.append("wait")
        waited(*arrays)

    monkeypatch.setattr(Trunk, "forward", passing)
    monkeypatch.setattr(mx, "eval", waiting)
    for is_plain_next, expected in ((True, 2), (True, 1), (False, 0), (False, 1)):
        order.clear()
        run_cycle(model.trunk, stream, 0, SOFT, Mode.SEEDED, is_plain_next=is_plain_next)
        assert order == ["pass"] * expected + ["wait"] * (len(order) - expected)
    assert stream.trunk_cache.open == 0


def test_a_pass_ahead_that_fails_costs_no_token(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its error comes with the cycle it belongs to, and again: such caches can't be gone on with."""
    expected = ran(model, begun(model, is_beside=False), 3, lambda _: 0)
    stream = begun(model, is_beside=True)
    failing(monkeypatch, 4)
    found = ran(model, stream, 3, lambda _: 0)
    assert [facts(each) for each in found] == [facts(each) for each in expected]
    assert not can_hold(stream)
    for depth in (0, 2, 0):
        with pytest.raises(RuntimeError, match="out of memory"):
            run_cycle(model.trunk, stream, depth, SOFT, Mode.SEEDED)
    with pytest.raises(RuntimeError, match="out of memory"):
        stream.give_up_ahead()
