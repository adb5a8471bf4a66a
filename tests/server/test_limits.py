"""Bounds of all fields, found by enumeration: what is out of them is refused, and told with its name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from mtplx_tui.server.anthropic_shapes import CountBody, MessagesBody
from mtplx_tui.server.bodies import read_json
from mtplx_tui.server.faults import Fault
from mtplx_tui.server.limits import BODY_BYTES
from mtplx_tui.server.openai_shapes import ChatBody, CompletionBody
from mtplx_tui.server.responses_shapes import ResponsesBody
from mtplx_tui.server.routes import DepthBody
from tests.server.talk import Place, chat

MESSAGES = [{"role": "user", "content": "Hi"}]
BODIES: dict[type, dict[str, Any]] = {
    ChatBody: {"model": "demo", "messages": MESSAGES},
    CompletionBody: {"model": "demo", "prompt": "Hi"},
    ResponsesBody: {"model": "demo", "input": "Hi"},
    MessagesBody: {"model": "demo", "max_tokens": 5, "messages": MESSAGES},
    CountBody: {"model": "demo", "messages": MESSAGES},
    DepthBody: {"depth": 1},
}
BAD_NUMBERS = ["-9223372036854775809", "9223372036854775808", "1e308", "1e400", "NaN", "Infinity",
               "-Infinity", "true", '"1"', "[]", "{}"]  # fmt: skip
BAD_WHOLE = [*BAD_NUMBERS, "1.5", "-1e3"]


def kinds(kind: Any) -> list[Any]:
    """Return the alternatives of a type."""
    return list(kind.types) if isinstance(kind, msgspec.inspect.UnionType) else [kind]


def fields(*wanted: type) -> Iterator[tuple[type, str, Any]]:
    """Yield the fields of all bodies that may be of one of these types."""
    for body in BODIES:
        told = msgspec.inspect.type_info(body)
        assert isinstance(told, msgspec.inspect.StructType)
        for field in told.fields:
            for kind in kinds(field.type):
                if isinstance(kind, wanted):
                    yield body, field.encode_name, kind


WHOLE = list(fields(msgspec.inspect.IntType))
NUMBERS = list(fields(msgspec.inspect.FloatType))
LISTS = list(fields(msgspec.inspect.ListType))


def refused(body: type, text: bytes) -> Fault:
    with pytest.raises(Fault) as caught:
        read_json(text, body)
    assert caught.value.status == 400
    assert "\n" not in caught.value.message
    return caught.value


def with_field(body: type, name: str, value: str) -> bytes:
    """Return a body with one field as it is written here."""
    rest = {key: each for key, each in BODIES[body].items() if key != name}
    return f'{json.dumps(rest)[:-1]}{", " if rest else ""}"{name}": {value}}}'.encode()


def test_the_bodies_are_right_but_for_what_is_changed() -> None:
    for body, content in BODIES.items():
        read_json(json.dumps(content).encode(), body)
    assert len(WHOLE) > 20
    assert len(NUMBERS) > 10
    assert len(LISTS) > 8


class TestNumbers:
    @pytest.mark.parametrize(("body", "name", "kind"), WHOLE)
    def test_a_whole_number(self, body: type, name: str, kind: Any) -> None:
        assert kind.ge is not None
        assert kind.le is not None
        for value in BAD_WHOLE:
            if name == "stop" or (value.startswith('"') and name == "depth"):
                continue
            fault = refused(body, with_field(body, name, value))
            if value not in ("NaN", "Infinity", "-Infinity"):
                assert name in (fault.param or ""), value
        for value in (kind.ge - 1, kind.le + 1):
            if -(2**63) <= value < 2**63:
                refused(body, with_field(body, name, str(value)))
        for value in (kind.ge, kind.le):
            read_json(with_field(body, name, str(value)), body)

    @pytest.mark.parametrize(("body", "name", "kind"), NUMBERS)
    def test_a_number(self, body: type, name: str, kind: Any) -> None:
        least = kind.ge if kind.ge is not None else kind.gt
        assert least is not None
        assert kind.le is not None
        for value in [*BAD_NUMBERS, str(least - 1), str(kind.le + 1)]:
            refused(body, with_field(body, name, value))
        read_json(with_field(body, name, str(kind.le)), body)


class TestLists:
    @pytest.mark.parametrize(("body", "name", "kind"), LISTS)
    def test_has_a_bound_and_holds_what_it_should(self, body: type, name: str, kind: Any) -> None:
        assert kind.max_length is not None
        refused(body, with_field(body, name, "[[[[true]]]]"))
        if kind.max_length <= 10_000:
            refused(body, with_field(body, name, f"[{','.join(['0'] * (kind.max_length + 1))}]"))

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            (ChatBody, {"stop": ["x"] * 17}),
            (ChatBody, {"stop": ["x" * 257]}),
            (ChatBody, {"logit_bias": {str(n): 1 for n in range(1025)}}),
            (ChatBody, {"logit_bias": {"-1": 1}}),
            (ChatBody, {"logit_bias": {"x": 1}}),
            (ChatBody, {"logit_bias": {"1": 101}}),
            (ChatBody, {"messages": []}),
            (ChatBody, {"messages": MESSAGES * 10_001}),
            (ChatBody, {"messages": [{"role": "wizard", "content": "x"}]}),
            (ChatBody, {"chat_template_kwargs": {"enable_thinking": "yes"}}),
            (ChatBody, {"mode": "fast"}),
            (ChatBody, {"depth": "deep"}),
            (CompletionBody, {"prompt": []}),
            (CompletionBody, {"prompt": [[True]]}),
            (CompletionBody, {"prompt": [[-1]]}),
            (CompletionBody, {"best_of": 2}),
        ],
    )
    def test_is_refused(self, body: type, field: dict[str, Any]) -> None:
        refused(body, json.dumps({**BODIES[body], **field}).encode())


@pytest.mark.parametrize(
    ("field", "param"),
    [
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"logit_bias": {"1": 101}}, "logit_bias"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": None}, "messages"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"model": 5}, "model"),
    ],
)
def test_the_field_is_named_as_it_was_written(field: dict[str, Any], param: str) -> None:
    told = refused(ChatBody, json.dumps({**BODIES[ChatBody], **field}).encode())
    assert told.param == param
    assert "`$" not in told.message


def test_a_field_that_is_not_there_is_named() -> None:
    assert refused(ChatBody, b'{"model": "demo"}').param == "messages"
    assert refused(MessagesBody, b"{}").param in BODIES[MessagesBody]


def test_no_field_names_a_place_a_program_or_a_template() -> None:
    """A field that a caller fills in must not lead to a file, another host, or code."""
    words = ("path", "url", "file", "adapter", "draft_model", "chat_template", "lora", "callback")
    for body in BODIES:
        told = msgspec.inspect.type_info(body)
        assert isinstance(told, msgspec.inspect.StructType)
        for field in told.fields:
            if field.encode_name != "chat_template_kwargs":
                assert not any(word in field.encode_name for word in words), field.encode_name


class TestBodies:
    @pytest.mark.parametrize(
        "text", [b"", b"{", b"nonsense", b'{"model": "\xff"}', b"[" * 5000, b'{"a":' * 5000]
    )
    def test_what_is_no_json_is_refused(self, text: bytes) -> None:
        refused(ChatBody, text)

    @pytest.mark.parametrize("depth", [65, 500, 100_000])
    def test_deep_nesting_is_refused(self, depth: int) -> None:
        deep = b'{"x": ' + b"[" * depth + b"]" * depth + b"}"
        assert "nested" in refused(ChatBody, deep).message

    def test_what_is_wide_is_not_deep(self) -> None:
        wide = {**BODIES[ChatBody], "metadata": [[[]]] * 1000}
        read_json(json.dumps(wide).encode(), ChatBody)

    async def test_a_large_one_is_refused_while_it_comes(self, place: Place) -> None:
        got = await place.http.post(
            "/v1/chat/completions",
            content=b" " * (BODY_BYTES + 1),
            headers={"content-type": "application/json"},
        )
        assert got.status_code == 413
        assert "32 MB" in got.json()["error"]["message"]

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"top_logprobs": 3}, "top_logprobs"),
            ({"functions": [{"name": "weather"}]}, "functions"),
            ({"function_call": {"name": "weather"}}, "function_call"),
            ({"stop": ""}, "stop"),
            ({"min_tokens": 5, "max_tokens": 2}, "min_tokens"),
            ({"response_format": {"type": "json_schema"}}, "response_format"),
            ({"tool_choice": "required"}, "tool_choice"),
            ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
            (
                {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
                "messages[0].content[0]",
            ),
            ({"response_format": {"type": "json_schema", "json_schema": {
                "name": "x", "schema": {"description": "x" * 300_000}}}}, "response_format"),
        ],
    )  # fmt: skip
    async def test_what_can_not_be_kept_is_refused(
        self, place: Place, fields: dict[str, Any], param: str
    ) -> None:
        got = await place.ask(**fields)
        assert got.status_code == 400
        error = got.json()["error"]
        assert (error["param"], error["type"]) == (param, "invalid_request_error")
        assert place.engine.heard == []

    async def test_a_model_that_is_not_there(self, place: Place) -> None:
        got = await place.post("/v1/chat/completions", {**chat(), "model": "../../etc"})
        assert (got.status_code, got.json()["error"]["code"]) == (404, "model_not_found")
