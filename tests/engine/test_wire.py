"""Every message crosses the wire and comes out equal; anything else is refused."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import random
import types
import typing
from typing import Any

import pytest

from engine import protocol, wire

MESSAGES = (*protocol.COMMANDS, *protocol.EVENTS)
TEXTS = ("", "plain", "é 日本 🙂", 'quote " back \\ slash', "line\nline\r\x00", "\ud800", "\u2028")
NUMBERS = (0, 1, -1, 2**31, 2**64 - 1)
REALS = (0.0, 0.1, 1.0, 1e-300, 12345.678)
LEGAL: dict[tuple[type, str], tuple[Any, ...]] = {
    (protocol.Generate, "depth"): (None, *range(protocol.MAX_DEPTH + 1)),
    (protocol.Generate, "seed"): (0, 7, 2**64 - 1),
    (protocol.Generate, "max_tokens"): (None, 1, 512),
    (protocol.Generate, "stop"): ((), ("\n", "END")),
    (protocol.Generate, "raw"): (None,),
    (protocol.Generate, "prompt_ids"): ((),),
    (protocol.Generate, "tools"): ((), ('{"b": 1, "a": {"é": "\\u2028"}}', "{}")),
    (protocol.Generate, "template_options"): ("{}", '{"enable_thinking": false}'),
    (protocol.ToolCall, "arguments"): ("{}", '{"b": 1, "a": []}'),
    (protocol.LimitPrefixes, "memory_bytes"): (None, 0, 2**34),
    (protocol.LimitPrefixes, "disk_bytes"): (0, 2**40),
    (protocol.LimitPrefixes, "disk_bytes_per_hour"): (0, 2**33),
    (protocol.LimitPrefixes, "disk_free_bytes"): (0, 2**33),
    (protocol.Generate, "logprobs"): (None, 0, 5, protocol.MAX_LOGPROBS),
    (protocol.Constraints, "repetition_penalty"): (1.0, 1.1),
    (protocol.Constraints, "presence_penalty"): (-1.0, 0.0, 2.0),
    (protocol.Constraints, "frequency_penalty"): (-1.0, 0.0, 2.0),
    (protocol.Constraints, "logit_bias"): (
        (),
        (protocol.TokenBias(3, -2.5), protocol.TokenBias(0, 1.0)),
    ),
    (protocol.Constraints, "min_tokens"): (0, 1),
    (protocol.TokenBias, "bias"): (-100.0, 0.5),
    (protocol.SetDepth, "depth"): (None, *range(protocol.MAX_DEPTH + 1)),
    (protocol.Certify, "depth"): (2, 3, protocol.MAX_DEPTH),
    (protocol.Certify, "budget_s"): (5.0, 300.0),
    (protocol.Certify, "seed"): (0, 7),
    (protocol.Sampling, "temperature"): (0.0, 0.6, 100.0),
    (protocol.Sampling, "top_p"): (0.1, 1.0),
    (protocol.Sampling, "top_k"): (0, 20),
    (protocol.Sampling, "min_p"): (0.0, 0.5, 1.0),
}
"""Fields that take part of their type's values only."""


def made_up(hint: Any, generator: random.Random) -> Any:
    """Return some value of a type."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return instance(hint, generator)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return generator.choice(list(hint))
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        return tuple(made_up(item, generator) for _ in range(generator.randint(1, 3)))
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return made_up(generator.choice(typing.get_args(hint)), generator)
    plain = {str: TEXTS, int: NUMBERS, float: REALS, bool: (False, True), type(None): (None,)}
    return generator.choice(plain[hint])


def instance(kind: type, generator: random.Random) -> Any:
    hints = typing.get_type_hints(kind)
    return kind(
        **{
            name: generator.choice(LEGAL[kind, name])
            if (kind, name) in LEGAL
            else made_up(hint, generator)
            for name, hint in hints.items()
        }
    )


def samples(kind: type, count: int = 30) -> list[Any]:
    generator = random.Random(kind.__name__)
    return [instance(kind, generator) for _ in range(count)]


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_every_message_comes_back_equal(kind: type) -> None:
    batch = samples(kind)
    line = wire.encode(batch)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    back = wire.decode(line)
    assert back == batch
    assert [type(message) for message in back] == [kind] * len(batch)
    assert [repr(message) for message in back] == [repr(message) for message in batch]


def test_a_batch_of_all_kinds_keeps_its_order() -> None:
    batch = [message for kind in MESSAGES for message in samples(kind, 2)]
    assert wire.decode(wire.encode(batch)) == batch
    assert wire.decode(wire.encode([])) == []


def test_raw_prompts_cross_too() -> None:
    command = protocol.Generate("r", (), raw="Once upon a time")
    assert wire.decode(wire.encode([command])) == [command]


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_wrong_fields_are_refused(kind: type) -> None:
    plain = wire.to_plain(samples(kind, 1)[0])
    wrong: list[dict[str, object]] = [{**plain, "unknown": 1}, {**plain, "is": "Unknown"}]
    for name in plain.keys() - {"is"}:
        wrong.append({key: value for key, value in plain.items() if key != name})
        wrong += [{**plain, name: value} for value in ({}, [[]], {"x": 1})]
    for fields in wrong:
        with pytest.raises(wire.WireError):
            wire.decode(json.dumps([fields]).encode())


def changed(message: Any, **fields: Any) -> bytes:
    return json.dumps([{**wire.to_plain(message), **fields}]).encode()


SET_DEPTH = protocol.SetDepth("r", 3)
GENERATE = protocol.Generate("r", (protocol.ChatMessage(protocol.Role.USER, "hi"),))


def constrained(**fields: Any) -> dict[str, object]:
    return {**wire.plain_fields(protocol.Constraints()), **fields}


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"rubbish",
        b"{}",
        b"null",
        b"3",
        b'"text"',
        b"[3]",
        b"[[]]",
        b"[null]",
        b"[{}]",
        b'[{"is": null}]',
        b'[{"is": "Shutdown"}, 3]',
        b'[{"is": "Shutdown"}',
        b"\xff\xfe",
        b'[{"is": "object"}]',
        b'[{"is": "Sampling", "temperature": 1, "top_p": 1, "top_k": 0, "min_p": 0}]',
        changed(SET_DEPTH, depth="3"),
        changed(SET_DEPTH, depth=3.0),
        changed(SET_DEPTH, depth=True),
        changed(SET_DEPTH, depth=9),
        changed(SET_DEPTH, depth=-1),
        changed(SET_DEPTH, request=3),
        changed(GENERATE, mode="quantum"),
        changed(GENERATE, stop="END"),
        changed(GENERATE, stop=[""]),
        changed(GENERATE, stop=[3]),
        changed(GENERATE, messages=[]),
        changed(GENERATE, messages=[{"role": "user"}]),
        changed(GENERATE, messages=[{"role": "nobody", "content": "hi"}]),
        changed(GENERATE, logprobs=21),
        changed(GENERATE, logprobs=-1),
        changed(GENERATE, grammar=3),
        changed(GENERATE, constraints={}),
        changed(GENERATE, max_tokens=3, constraints=constrained(min_tokens=4)),
        changed(GENERATE, constraints=constrained(repetition_penalty=0)),
        changed(GENERATE, constraints=constrained(presence_penalty=math.nan)),
        changed(GENERATE, constraints=constrained(min_tokens=-1)),
        changed(GENERATE, constraints=constrained(banned=[[]])),
        changed(GENERATE, constraints=constrained(logit_bias=[{"token": 1, "bias": math.inf}])),
        changed(GENERATE, constraints=constrained(logit_bias=[{"token": 1, "bias": 1}] * 2)),
        changed(GENERATE, seed=-1),
        changed(GENERATE, seed=2**64),
        changed(GENERATE, max_tokens=0),
        changed(GENERATE, sampling={"temperature": -1, "top_p": 1, "top_k": 0, "min_p": 0}),
        changed(GENERATE, sampling={"temperature": math.nan, "top_p": 1, "top_k": 0, "min_p": 0}),
        b"[" * 100_000,
        b'[{"is": "SetDepth", "request": "r", "depth": ' + b"9" * 5000 + b"}]",
    ],
)
def test_rubbish_is_refused(line: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.decode(line)


def test_mutated_lines_are_refused_or_whole() -> None:
    generator = random.Random(3)
    good = wire.encode([*samples(protocol.CycleDone, 2), *samples(protocol.ModelLoaded, 2)])
    refused = 0
    for _ in range(3000):
        line = bytearray(good)
        for _ in range(generator.randint(1, 3)):
            line[generator.randrange(len(line))] = generator.randrange(256)
        try:
            messages = wire.decode(bytes(line))
        except wire.WireError:
            refused += 1
        else:
            assert all(isinstance(message, MESSAGES) for message in messages)
    assert refused > 1000
