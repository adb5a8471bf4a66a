"""Ends and masks: wherever in a window a text ends, it ends as plain decoding ends it.

In seeded mode the text depends on the seed alone, so texts, usage and states of all depths can be
held against those of depth 0, token by token.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from engine.errors import RequestError
from engine.model.load import LoadedModel
from engine.protocol import (
    Constraints,
    CycleDone,
    Ended,
    Finish,
    Generate,
    Mode,
    RequestDone,
    Sampling,
    TokenBias,
    TokenLogprob,
)
from engine.request import Request
from engine.speculation.stream import Stream
from tests.conformance.decoding import distance
from tests.fakes import tiny

LETTERS = "abcdefgh"
JSON_LETTERS = 'ab"{}[]:,01 .'
SAMPLING = Sampling(1.3, 1, 0)
DEPTHS = (1, 2, 3, 5, 8)


@dataclass
class Told:
    """What a request told."""

    text: str
    tokens: list[int]
    finish: Finish
    usage: int
    ends: list[Ended]
    logprobs: list[TokenLogprob]
    rejected: list[int]
    stream: Stream


def told(model: LoadedModel, depth: int, **options: Any) -> Told:
    given: dict[str, Any] = {
        "sampling": SAMPLING,
        "mode": Mode.SEEDED,
        "seed": 5,
        "max_tokens": 24,
        **options,
    }
    request = Request(Generate("r", (), raw="a", depth=depth, **given), model)
    events = [event for _ in iter(lambda: request.is_over, True) for event in request.advance()]
    cycles = [event for event in events if isinstance(event, CycleDone)]
    done = events[-1]
    assert isinstance(done, RequestDone)
    return Told(
        text="".join(run.text for each in (*cycles, done) for run in each.runs),
        tokens=[token for cycle in cycles for token in cycle.emitted],
        finish=done.finish,
        usage=done.completion_tokens,
        ends=[cycle.ended for cycle in cycles],
        logprobs=[each for cycle in cycles for each in cycle.logprobs],
        rejected=[c.drafted[c.accepted] for c in cycles if c.accepted < len(c.drafted)],
        stream=request._stream,
    )


def assert_alike(one: Told, other: Told) -> None:
    """Text, usage and the caches a continued conversation would start from."""
    assert (one.text, one.tokens, one.finish, one.usage) == (
        other.text,
        other.tokens,
        other.finish,
        other.usage,
    )
    assert one.usage == len(one.tokens)
    assert one.stream.last == other.stream.last == one.tokens[-1]
    assert distance(one.stream.trunk_cache, other.stream.trunk_cache) < 1e-5
    for each in (one, other):
        each.stream.absorb()
    assert one.stream.head_cache is not None
    assert other.stream.head_cache is not None
    assert distance(one.stream.head_cache, other.stream.head_cache) < 1e-5


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return tiny.loaded(tiny.vocabulary_of(LETTERS))


@pytest.fixture(scope="module")
def json_model() -> LoadedModel:
    vocabulary = tiny.vocabulary_of(JSON_LETTERS)
    vocabulary.add_special_tokens(["<|end|>"])
    return tiny.loaded(vocabulary, frozenset({len(JSON_LETTERS)}))


@pytest.mark.parametrize("depth", DEPTHS)
def test_max_tokens_ends_at_every_place(model: LoadedModel, depth: int) -> None:
    for limit in range(1, 9):
        plain = told(model, 0, max_tokens=limit)
        drafted = told(model, depth, max_tokens=limit)
        assert_alike(drafted, plain)
        assert drafted.ends[-1] is Ended.LENGTH
        assert drafted.usage == limit


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_stop_string_ends_at_every_place_and_across_borders(
    model: LoadedModel, depth: int
) -> None:
    text = told(model, 0).text
    places = set()
    for size in (1, 2, 3):
        for at in range(10):
            stop = text[at : at + size]
            plain = told(model, 0, stop=(stop, "zz"))
            drafted = told(model, depth, stop=(stop, "zz"))
            assert_alike(drafted, plain)
            assert drafted.text == text[: text.index(stop)]
            assert drafted.usage == text.index(stop) + size
            assert drafted.ends[-1] is Ended.STOP
            places.add(drafted.usage)
    assert len(places) > 5


@pytest.mark.parametrize("depth", DEPTHS)
def test_an_end_token_ends_at_every_place(depth: int) -> None:
    for stop in range(len(LETTERS)):
        ended = tiny.loaded(tiny.vocabulary_of(LETTERS), frozenset({stop}))
        plain, drafted = told(ended, 0), told(ended, depth)
        assert_alike(drafted, plain)
        assert plain.finish is Finish.STOP
        assert plain.tokens.index(stop) == len(plain.tokens) - 1


BENT = Constraints(
    repetition_penalty=1.3,
    presence_penalty=0.4,
    frequency_penalty=0.3,
    logit_bias=(TokenBias(2, -2.0),),
    min_tokens=9,
    banned=((1, 3), (5,), (4, 4, 6)),
)


@pytest.mark.parametrize("depth", DEPTHS)
def test_bent_text_is_the_same_for_every_depth(depth: int) -> None:
    ended = tiny.loaded(tiny.vocabulary_of(LETTERS), frozenset({0}))
    for seed in range(6):
        plain = told(ended, 0, constraints=BENT, seed=seed)
        assert_alike(told(ended, depth, constraints=BENT, seed=seed), plain)
        assert 5 not in plain.tokens
        assert 0 not in plain.tokens[:9]
        assert "bd" not in plain.text
        assert plain.tokens != told(ended, 0, seed=seed).tokens


SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"a": {"type": "array", "items": {"enum": [0, 1, 10]}, "maxItems": 3}},
        "required": ["a"],
        "additionalProperties": False,
        "x-guidance": {"whitespace_flexible": False},
    }
)


@pytest.mark.parametrize("depth", [0, *DEPTHS])
@pytest.mark.parametrize("mode", list(Mode))
def test_a_grammar_holds_whatever_is_drafted(
    json_model: LoadedModel, depth: int, mode: Mode
) -> None:
    rejected: list[int] = []
    for seed in range(8):
        result = told(json_model, depth, grammar=SCHEMA, seed=seed, mode=mode, max_tokens=40)
        assert result.finish is Finish.STOP
        assert set(json.loads(result.text)["a"]) <= {0, 1, 10}
        rejected += result.rejected
    assert len(set(rejected)) > 4 or depth < 2


@pytest.mark.parametrize("depth", DEPTHS)
def test_grammatical_text_is_the_same_for_every_depth(json_model: LoadedModel, depth: int) -> None:
    for seed in range(4):
        options = {"grammar": SCHEMA, "seed": seed, "constraints": Constraints(1.1, 0.2)}
        assert_alike(told(json_model, depth, **options), told(json_model, 0, **options))


def test_a_grammar_that_cannot_be_compiled_is_refused(json_model: LoadedModel) -> None:
    for schema in ("[", "3", '{"type": "frob"}', '{"pattern": "(?=x)", "type": "string"}'):
        with pytest.raises(RequestError, match="schema") as refusal:
            told(json_model, 2, grammar=schema)
        assert refusal.value.exit_code == 2
        assert "\n" not in refusal.value.message


def test_a_grammar_needs_an_end_token(model: LoadedModel) -> None:
    with pytest.raises(RequestError, match="stop token"):
        told(model, 2, grammar=SCHEMA)


@pytest.mark.parametrize("asked", [{"banned": ((8,),)}, {"logit_bias": (TokenBias(8, 1.0),)}])
def test_a_token_that_does_not_exist_is_refused(model: LoadedModel, asked: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="there is no token 8"):
        told(model, 2, constraints=Constraints(**asked))


@pytest.mark.parametrize("depth", [0, 1, 3, 6])
@pytest.mark.parametrize("mode", list(Mode))
def test_log_probabilities_are_those_of_teacher_forcing(
    model: LoadedModel, depth: int, mode: Mode
) -> None:
    result = told(model, depth, mode=mode, logprobs=3, constraints=BENT, sampling=Sampling(0.8))
    tokens = mx.array([0, *result.tokens])
    logits = model.trunk.forward(tokens, model.trunk.make_cache()).logits
    wanted = np.array(logits - mx.logsumexp(logits, axis=-1, keepdims=True))[:-1]
    assert [each.token for each in result.logprobs] == result.tokens
    for row, each in zip(wanted, result.logprobs, strict=True):
        order = np.argsort(-row, kind="stable")[:3]
        assert abs(each.logprob - row[each.token]) < 1e-4
        assert list(each.top_ids) == order.tolist()
        assert np.abs(np.array(each.top_logprobs) - row[order]).max() < 1e-4
        assert each.top_pieces == tuple(LETTERS[token] for token in order)


def test_log_probabilities_are_told_only_when_asked_for(model: LoadedModel) -> None:
    assert told(model, 3).logprobs == []
    bare = told(model, 3, logprobs=0).logprobs
    assert len(bare) == 24
    assert all(each.top_ids == () for each in bare)
