"""After every cycle the engine stands where sequential decoding would stand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from engine.protocol import Constraints, Mode
from engine.speculation.acceptance import Verdict
from engine.speculation.cycle import run_cycle
from engine.speculation.history import History
from engine.speculation.stream import Stream
from tests.conformance.decoding import (
    LAST,
    PROMPT,
    SAMPLING,
    VOCABULARY,
    Model,
    begun,
    cycles,
    distance,
    state,
)
from tests.fakes import tiny

DEPTH = 4
ROUNDING = 1e-5
"""Between passes of one row and of several; within one width there is none."""


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny.trunk_and_head(VOCABULARY)


def scripted(accepted: int, token: int) -> Callable[[Verdict], Verdict]:
    """Return a ruling that accepts so many drafts, come what may, whoever has judged them."""

    def ruling(verdict: Verdict) -> Verdict:
        fixed = mx.array(accepted, mx.int32), mx.array(token, mx.uint32)
        return replace(verdict, accepted=fixed[0], token=fixed[1], pair=None)

    return ruling


def watched(model: Model, seed: int = 3) -> Stream:
    stream = begun(model, seed)
    asked = Constraints(repetition_penalty=1.1, banned=((1, 2, 3),))
    stream.history = History(asked, VOCABULARY, (), [*PROMPT, LAST])
    return stream


def fed(model: Model, tokens: list[int]) -> Stream:
    """Return a stream that was given known tokens one by one."""
    trunk, _ = model
    stream = watched(model)
    for token in tokens:
        output = trunk.forward(mx.array([stream.last]), stream.trunk_cache)
        stream.commit(output.hidden, (token,))
    return stream


def assert_same(one: Stream, other: Stream) -> None:
    assert (one.last, one.position) == (other.last, other.position)
    assert distance(one.trunk_cache, other.trunk_cache) < ROUNDING
    for stream in (one, other):
        stream.absorb()
    assert one.head_cache is not None
    assert other.head_cache is not None
    assert distance(one.head_cache, other.head_cache) < ROUNDING
    assert one.history is not None
    assert other.history is not None
    assert one.history.emitted == other.history.emitted
    assert np.array_equal(np.array(one.history.counts), np.array(other.history.counts))
    assert one.history._tail == other.history._tail


@pytest.mark.parametrize("accepted", range(DEPTH + 1))
def test_state_is_that_of_sequential_decoding(model: Model, accepted: int) -> None:
    stream, ruling = watched(model), scripted(accepted, 5)
    text: list[int] = []
    for _ in range(3):
        text += run_cycle(model[0], stream, DEPTH, SAMPLING, Mode.TOKEN, ruling=ruling).emitted
    assert len(text) == 3 * (accepted + 1)
    assert_same(stream, fed(model, text))


@pytest.mark.parametrize("kept", range(1, DEPTH + 2))
def test_a_stop_leaves_the_state_of_sequential_decoding(model: Model, kept: int) -> None:
    stream, ruling = watched(model), scripted(DEPTH, 5)
    asked = model[0], stream, DEPTH, SAMPLING, Mode.TOKEN
    text = list(run_cycle(*asked, ruling=ruling).emitted)
    result = run_cycle(*asked, lambda _: kept, ruling)
    assert len(result.emitted) == kept
    assert result.accepted == DEPTH
    assert_same(stream, fed(model, [*text, *result.emitted]))


@pytest.mark.parametrize("accepted", range(DEPTH + 1))
def test_rejected_drafts_leave_not_a_bit_behind(model: Model, accepted: int) -> None:
    """Two windows that differ behind the accepted drafts only leave bitwise the same caches."""
    stream, other, ruling = watched(model), watched(model), scripted(accepted, 5)
    drafted = run_cycle(model[0], stream, DEPTH, SAMPLING, Mode.TOKEN, ruling=ruling).drafted
    rest = [(token + 1) % VOCABULARY for token in drafted[accepted:]]
    window = mx.array([LAST, *drafted[:accepted], *rest])
    output = model[0].forward(window, other.trunk_cache)
    other.commit(output.hidden, (*drafted[:accepted], 5))
    pairs = zip(state(stream.trunk_cache), state(other.trunk_cache), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("mode", list(Mode))
def test_caches_after_many_cycles_equal_one_pass(model: Model, mode: Mode) -> None:
    """Trunk and head hold what one pass over the emitted text would have put there."""
    trunk, head = model
    stream = begun(model, 3)
    results = cycles(model, stream, 30, lambda number: 1 + number % 4, mode=mode)
    text = mx.array([*PROMPT, LAST, *[token for r in results for token in r.emitted]])
    once = trunk.make_cache()
    output = trunk.forward(text[:-1], once)
    once.commit(text.shape[0] - 1)
    assert distance(stream.trunk_cache, once) < ROUNDING

    stream.absorb()
    head_once = head.make_cache()
    assert output.hidden is not None
    head.forward(output.hidden, text[1:], head_once)
    head_once.commit(text.shape[0] - 1)
    assert stream.head_cache is not None
    assert distance(stream.head_cache, head_once) < ROUNDING
