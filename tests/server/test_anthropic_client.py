"""The server as the official Anthropic client sees it, each event held to the client's own models."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic
from anthropic.types import Message, MessageTokensCount, RawMessageStreamEvent
from pydantic import TypeAdapter

from engine.protocol import Channel, Finish, Generate, TextRun
from tests.server.talk import CODER, QWEN3, Place, answer, failing, said, serving, wire_events

USER: list[Any] = [{"role": "user", "content": "Hi"}]
EVENTS: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
TOOLS: list[Any] = [
    {
        "name": "weather",
        "description": "Weather of a place",
        "input_schema": {"type": "object", "properties": {"place": {"type": "string"}}},
    }
]
CALL = "<tool_call>\n<function=weather>\n<parameter=place>\nKöln\n</parameter>\n</function>\n</tool_call>"


@pytest.fixture
async def client(place: Place) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=place.server.address, api_key="none", max_retries=0) as made:
        yield made


async def events(place: Place, **fields: Any) -> list[tuple[str, Any]]:
    """Return a stream's events as they are on the wire, each name beside its data."""
    body = {"model": "demo", "max_tokens": 50, "messages": USER, "stream": True, **fields}
    names, data = await wire_events(place, "/v1/messages", body)
    return list(zip(names, data, strict=True))


class TestWhole:
    async def test_an_answer_with_its_usage(self, client: AsyncAnthropic) -> None:
        got = await client.messages.create(model="demo", max_tokens=50, messages=USER)
        Message.model_validate(got.model_dump(exclude={"mtplx"}), strict=True)
        assert got.content[0].type == "text"
        assert got.content[0].text == "Hello there."
        assert (got.stop_reason, got.stop_sequence) == ("end_turn", None)
        assert got.usage.input_tokens == 8
        assert got.usage.cache_read_input_tokens == 4
        assert got.usage.output_tokens == 3
        assert (got.model_extra or {})["mtplx"]["choices"][0]["cycles"] == 3
        assert got._request_id is not None

    async def test_what_is_asked_reaches_the_engine(
        self, client: AsyncAnthropic, place: Place
    ) -> None:
        await client.messages.create(
            model="demo",
            max_tokens=50,
            system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
            messages=[
                {"role": "user", "content": "One"},
                {"role": "user", "content": [{"type": "text", "text": "Two"}]},
            ],
            stop_sequences=["X"],
            extra_body={
                "temperature": 0.2,
                "top_p": 0.7,
                "top_k": 9,
                "depth": "auto",
                "mode": "block",
                "seed": 3,
            },
        )
        (command,) = place.engine.generated
        assert command.messages[0].content == "Be brief."
        assert [m.content for m in command.messages[1:]] == ["One\n\nTwo"]
        assert (command.sampling.temperature, command.sampling.top_k) == (0.2, 9)
        assert (command.max_tokens, command.stop, command.seed) == (50, ("X",), 3)
        assert command.mode.value == "block"

    async def test_lines_that_change_with_every_request_are_left_out_and_told(
        self, client: AsyncAnthropic, place: Place
    ) -> None:
        billing = "x-anthropic-billing-header: cc_version=2.1; cch=7f3a;"
        raw = await client.messages.with_raw_response.create(
            model="demo",
            max_tokens=5,
            system=[{"type": "text", "text": billing}, {"type": "text", "text": "Be brief."}],
            messages=USER,
        )
        (command,) = place.engine.generated
        assert command.messages[0].content == "Be brief."
        told = "1 system block beginning with x-anthropic-"
        assert raw.headers["x-mtplx-left-out"] == told
        assert json.loads(await raw.text())["mtplx"]["left_out"] == told

    async def test_an_answer_that_was_begun_is_refused(self, client: AsyncAnthropic) -> None:
        begun: list[Any] = [*USER, {"role": "assistant", "content": "{"}]
        with pytest.raises(anthropic.BadRequestError, match="go on with an answer"):
            await client.messages.create(model="demo", max_tokens=5, messages=begun)

    async def test_a_stop_string_is_named(self, client: AsyncAnthropic, place: Place) -> None:
        run = [TextRun(Channel.ANSWER, "Hel")]
        place.engine.script = lambda command: answer(command, run, stop="lo")
        got = await client.messages.create(
            model="demo", max_tokens=50, messages=USER, stop_sequences=["lo"]
        )
        assert (got.stop_reason, got.stop_sequence) == ("stop_sequence", "lo")

    async def test_the_limit_is_a_reason_of_its_own(
        self, client: AsyncAnthropic, place: Place
    ) -> None:
        run = [TextRun(Channel.ANSWER, "Hel")]
        place.engine.script = lambda command: answer(command, run, Finish.LENGTH)
        got = await client.messages.create(model="demo", max_tokens=1, messages=USER)
        assert got.stop_reason == "max_tokens"

    async def test_thoughts_are_blocks_and_come_back(
        self, client: AsyncAnthropic, place: Place
    ) -> None:
        place.engine.use_template(QWEN3)
        place.engine.script = said("Four.", thought="2 and 2")
        thinking: Any = {"type": "enabled", "budget_tokens": 1024}
        got = await client.messages.create(
            model="demo", max_tokens=2000, messages=USER, thinking=thinking
        )
        assert [block.type for block in got.content] == ["thinking", "text"]
        back: list[Any] = [*USER, {"role": "assistant", "content": got.content}, *USER]
        await client.messages.create(model="demo", max_tokens=5, messages=back)
        first, second = place.engine.generated
        assert json.loads(first.template_options) == {"enable_thinking": True}
        assert json.loads(second.template_options) == {"enable_thinking": False}
        assert second.messages[1].reasoning == "2 and 2"

    async def test_a_schema_becomes_the_grammar(self, client: AsyncAnthropic, place: Place) -> None:
        form = {"type": "json_schema", "schema": {"type": "object", "required": ["a"]}}
        await client.messages.create(
            model="demo",
            max_tokens=5,
            messages=USER,
            extra_body={"output_config": {"format": form}},
        )
        (command,) = place.engine.generated
        assert json.loads(command.grammar or "") == form["schema"]


class TestTools:
    async def test_a_call_and_its_result(self, client: AsyncAnthropic, place: Place) -> None:
        place.engine.use_template(CODER)
        place.engine.script = said("Let me look.\n", CALL)
        got = await client.messages.create(model="demo", max_tokens=50, messages=USER, tools=TOOLS)
        Message.model_validate(got.model_dump(exclude={"mtplx"}), strict=True)
        text, call = got.content
        assert (text.type, got.stop_reason) == ("text", "tool_use")
        assert call.type == "tool_use"
        assert (call.name, call.input) == ("weather", {"place": "Köln"})
        result: Any = {
            "type": "tool_result",
            "tool_use_id": call.id,
            "content": [{"type": "text", "text": "rain"}],
        }
        more: list[Any] = [
            *USER,
            {"role": "assistant", "content": got.content},
            {"role": "user", "content": [result, {"type": "text", "text": "So?"}]},
        ]
        place.engine.script = said("Rain.")
        await client.messages.create(model="demo", max_tokens=50, messages=more, tools=TOOLS)
        told = place.engine.generated[1].messages
        assert [message.role.value for message in told] == ["user", "assistant", "tool", "user"]
        assert told[1].tool_calls[0].id == told[2].tool_call_id == call.id
        assert told[2].content == "rain"

    async def test_any_tool_holds_the_answer_to_a_call(
        self, client: AsyncAnthropic, place: Place
    ) -> None:
        place.engine.script = said('{"name": "weather", "arguments": {}}')
        got = await client.messages.create(
            model="demo", max_tokens=50, messages=USER, tools=TOOLS, tool_choice={"type": "any"}
        )
        assert [block.type for block in got.content] == ["tool_use"]
        assert place.engine.generated[0].grammar is not None

    async def test_tools_that_only_their_own_servers_run_are_left_out(
        self, client: AsyncAnthropic, place: Place
    ) -> None:
        place.engine.use_template(CODER)
        search: Any = {"type": "web_search_20250305", "name": "web_search"}
        await client.messages.create(
            model="demo", max_tokens=50, messages=USER, tools=[search, *TOOLS]
        )
        assert len(place.engine.generated[0].tools) == 1


class TestStream:
    async def test_events_as_the_client_wants_them(self, place: Place) -> None:
        place.engine.script = said("Fo", "ur.", thought="2 and 2")
        told = await events(place)
        assert all(name == data["type"] for name, data in told)
        for name, data in told:
            if name != "ping":
                EVENTS.validate_python(data, strict=True)
        assert [name for name, _ in told] == [
            "message_start",
            "ping",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
        kinds = [data["delta"]["type"] for name, data in told if name == "content_block_delta"]
        assert kinds == ["thinking_delta", "signature_delta", "text_delta", "text_delta"]
        assert told[0][1]["message"]["usage"]["input_tokens"] == 8
        assert told[-2][1]["usage"]["output_tokens"] == 3
        assert told[-2][1]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}

    @pytest.mark.parametrize("size", [1, 3, 8, 200])
    async def test_the_helper_puts_calls_together(
        self, client: AsyncAnthropic, place: Place, size: int
    ) -> None:
        place.engine.use_template(CODER)
        text = f"Two.\n\n{CALL}\n{CALL}"
        place.engine.script = said(*(text[at : at + size] for at in range(0, len(text), size)))
        async with client.messages.stream(
            model="demo", max_tokens=50, messages=USER, tools=TOOLS
        ) as stream:
            got = await stream.get_final_message()
        assert [block.type for block in got.content] == ["text", "tool_use", "tool_use"]
        assert got.content[0].type == "text"
        assert got.content[0].text == "Two."
        assert got.content[2].type == "tool_use"
        assert got.content[2].input == {"place": "Köln"}

    async def test_a_call_that_is_cut_is_no_block(self, place: Place) -> None:
        place.engine.use_template(CODER)
        runs = [TextRun(Channel.ANSWER, CALL[:50])]
        place.engine.script = lambda command: answer(command, runs, Finish.LENGTH)
        told = await events(place, tools=TOOLS)
        assert "content_block_start" not in [name for name, _ in told]
        assert told[-2][1]["delta"]["stop_reason"] == "max_tokens"

    async def test_an_error_after_the_headers_reaches_the_client(
        self, client: AsyncAnthropic, place: Place
    ) -> None:
        def broken(command: Generate) -> list[Any]:
            begun = answer(command, [TextRun(Channel.ANSWER, "Hel")])[:-1]
            return [*begun, *failing("generating failed: no memory")(command)]

        place.engine.script = broken
        with pytest.raises(anthropic.APIStatusError, match="no memory"):
            async with client.messages.stream(model="demo", max_tokens=50, messages=USER) as stream:
                await stream.get_final_message()


class TestTheRest:
    async def test_tokens_are_counted_beside_what_runs(
        self, client: AsyncAnthropic, place: Place
    ) -> None:
        got = await client.messages.count_tokens(
            model="demo", system="Be brief", messages=[{"role": "user", "content": "one two"}]
        )
        MessageTokensCount.model_validate(got.model_dump(), strict=True)
        assert got.input_tokens == 4
        assert place.engine.generated == []

    async def test_models_have_the_shape_of_this_api(self, client: AsyncAnthropic) -> None:
        listed = [model async for model in client.models.list()]
        assert [(model.id, model.type) for model in listed] == [("demo", "model")]
        assert (await client.models.retrieve("demo")).display_name == "demo"

    async def test_other_names_need_to_be_allowed(self) -> None:
        async with (
            serving(aliases=("claude-*",)) as place,
            AsyncAnthropic(base_url=place.server.address, api_key="none", max_retries=0) as client,
        ):
            got = await client.messages.create(model="claude-sonnet-5", max_tokens=5, messages=USER)
            assert got.model == "claude-sonnet-5"
            with pytest.raises(anthropic.NotFoundError):
                await client.messages.create(model="gpt", max_tokens=5, messages=USER)
