"""/v1/responses as the official OpenAI client sees it, each event held to the client's own models."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from engine.protocol import Channel, Finish, Generate, TextRun
from tests.server.talk import QWEN3, Place, answer, failing, said, wire_events

EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
TOOLS: list[Any] = [
    {
        "type": "function",
        "name": "weather",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
        "strict": False,
    }
]
CALL = '<tool_call>\n{"name": "weather", "arguments": {"place": "Köln"}}\n</tool_call>'


@pytest.fixture
async def client(place: Place) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(
        base_url=f"{place.server.address}/v1", api_key="none", max_retries=0
    ) as made:
        yield made


async def events(place: Place, **fields: Any) -> list[Any]:
    """Return a stream's events as they are on the wire; names and numbers are held to be right."""
    body = {"model": "demo", "input": "Hi", "stream": True, **fields}
    names, data = await wire_events(place, "/v1/responses", body)
    assert names == [event["type"] for event in data]
    assert [event["sequence_number"] for event in data] == list(range(len(data)))
    for event in data:
        EVENTS.validate_python(event, strict=True)
    return data


class TestWhole:
    async def test_an_answer_with_its_usage(self, client: AsyncOpenAI, place: Place) -> None:
        got = await client.responses.create(
            model="demo", input="Hi", instructions="Be brief", temperature=0.5, max_output_tokens=9
        )
        Response.model_validate(got.model_dump(exclude={"mtplx"}), strict=True)
        assert got.output_text == "Hello there."
        assert got.status == "completed"
        assert got.usage is not None
        assert got.usage.input_tokens_details.cached_tokens == 4
        assert got.usage.total_tokens == 15
        (command,) = place.engine.generated
        assert [m.content for m in command.messages] == ["Be brief", "Hi"]
        assert (command.sampling.temperature, command.max_tokens) == (0.5, 9)

    async def test_what_a_client_set_comes_back(self, client: AsyncOpenAI, place: Place) -> None:
        told: dict[str, Any] = {"instructions": "Be brief", "metadata": {"session": "7"}}
        got = await client.responses.create(model="demo", input="Hi", extra_body=told)
        assert (got.instructions, got.metadata) == ("Be brief", {"session": "7"})
        for event in await events(place, **told):
            if "response" in event:
                assert {name: event["response"][name] for name in told} == told

    async def test_items_of_a_whole_conversation(self, client: AsyncOpenAI, place: Place) -> None:
        place.engine.use_template(QWEN3)
        items: list[Any] = [
            {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [],
                "content": [{"type": "reasoning_text", "text": "hm"}],
            },
            {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "rain"},
            {"type": "item_of_tomorrow"},
        ]
        await client.responses.create(
            model="demo",
            input=items,
            tools=[*TOOLS, {"type": "web_search"}, {"type": "custom", "name": "patch"}],
            store=False,
            include=["reasoning.encrypted_content"],
        )
        (command,) = place.engine.generated
        assert [m.role.value for m in command.messages] == ["user", "assistant", "tool"]
        assert command.messages[1].reasoning == "hm"
        assert command.messages[2].tool_call_id == "call_1"
        assert len(command.tools) == 1

    async def test_a_schema_becomes_the_grammar(self, client: AsyncOpenAI, place: Place) -> None:
        class Colour(BaseModel):
            name: str

        place.engine.script = said('{"name": ', '"red"}')
        got = await client.responses.parse(model="demo", input="Hi", text_format=Colour)
        assert got.output_parsed == Colour(name="red")
        assert json.loads(place.engine.generated[0].grammar or "")["required"] == ["name"]

    async def test_the_limit_makes_it_incomplete(self, client: AsyncOpenAI, place: Place) -> None:
        run = [TextRun(Channel.ANSWER, "Hel")]
        place.engine.script = lambda command: answer(command, run, Finish.LENGTH)
        got = await client.responses.create(model="demo", input="Hi", max_output_tokens=1)
        assert got.status == "incomplete"
        assert got.incomplete_details is not None
        assert got.incomplete_details.reason == "max_output_tokens"

    async def test_nothing_is_kept_from_before(self, client: AsyncOpenAI) -> None:
        with pytest.raises(openai.BadRequestError, match="whole conversation") as caught:
            await client.responses.create(model="demo", input="Hi", previous_response_id="resp_1")
        assert caught.value.param == "previous_response_id"

    async def test_a_kept_prompt_is_refused(self, client: AsyncOpenAI, place: Place) -> None:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.responses.create(model="demo", prompt={"id": "pmpt_1"})
        assert caught.value.param == "prompt"
        assert place.engine.generated == []

    async def test_an_empty_probe_is_answered(self, client: AsyncOpenAI) -> None:
        got = await client.responses.create(model="demo", input="", max_output_tokens=1)
        assert got.object == "response"

    async def test_log_probabilities(self, client: AsyncOpenAI) -> None:
        got = await client.responses.create(
            model="demo",
            input="Hi",
            include=["message.output_text.logprobs"],
            top_logprobs=2,
        )
        Response.model_validate(got.model_dump(exclude={"mtplx"}), strict=True)
        (item,) = got.output
        assert item.type == "message"
        (part,) = item.content
        assert part.type == "output_text"
        assert part.logprobs is not None
        assert [each.token for each in part.logprobs] == ["Hello", " there", "."]


class TestStream:
    async def test_events_in_their_order(self, place: Place) -> None:
        place.engine.use_template(QWEN3)
        place.engine.script = said("Look.\n", CALL, thought="hm")
        told = await events(place, tools=TOOLS)
        assert [event["type"].removeprefix("response.") for event in told] == [
            "created",
            "in_progress",
            "output_item.added",
            "reasoning_text.delta",
            "reasoning_text.done",
            "output_item.done",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "completed",
        ]
        at = [event["output_index"] for event in told if "output_index" in event]
        assert at == sorted(at)
        output = told[-1]["response"]["output"]
        assert [item["type"] for item in output] == ["reasoning", "message", "function_call"]
        assert json.loads(output[2]["arguments"]) == {"place": "Köln"}
        done = [event["item"] for event in told if event["type"].endswith("item.done")]
        assert done == output

    @pytest.mark.parametrize("size", [1, 4, 200])
    async def test_the_helper_puts_it_together(
        self, client: AsyncOpenAI, place: Place, size: int
    ) -> None:
        place.engine.use_template(QWEN3)
        text = f"Look.\n{CALL}"
        place.engine.script = said(*(text[at : at + size] for at in range(0, len(text), size)))
        async with client.responses.stream(model="demo", input="Hi", tools=TOOLS) as stream:
            got = await stream.get_final_response()
        assert got.output_text == "Look."
        assert got.output[1].type == "function_call"
        assert got.output[1].name == "weather"

    async def test_a_failure_is_told_in_the_stream(self, place: Place) -> None:
        def broken(command: Generate) -> list[Any]:
            begun = answer(command, [TextRun(Channel.ANSWER, "Hel")])[:-1]
            return [*begun, *failing("generating failed: no memory")(command)]

        place.engine.script = broken
        told = await events(place)
        assert told[-1]["type"] == "response.failed"
        assert "no memory" in told[-1]["response"]["error"]["message"]
