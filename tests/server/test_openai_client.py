"""The server as the official OpenAI client sees it, each event held to the client's own models."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai.types import Completion, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel, ConfigDict

from engine.protocol import Channel, Finish, Generate, Mode, TextRun
from tests.server.talk import QWEN3, Place, answer, chat, failing, said

USER: list[Any] = [{"role": "user", "content": "Hi"}]


@pytest.fixture
async def client(place: Place) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(
        base_url=f"{place.server.address}/v1", api_key="none", max_retries=0
    ) as made:
        yield made


def strict(kind: type[BaseModel], data: object) -> None:
    kind.model_validate(data, strict=True)


async def lines(place: Place, path: str, body: dict[str, Any]) -> list[str]:
    """Return the data lines of a stream, as they are on the wire."""
    async with place.http.stream("POST", path, json=body) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        return [line[6:] async for line in response.aiter_lines() if line.startswith("data: ")]


class TestModels:
    async def test_the_loaded_model_is_listed(self, client: AsyncOpenAI) -> None:
        listed = [model async for model in client.models.list()]
        assert [model.id for model in listed] == ["demo"]
        strict(Model, listed[0].model_dump())

    async def test_it_is_found_by_its_id(self, client: AsyncOpenAI) -> None:
        assert (await client.models.retrieve("demo")).owned_by == "mtplx-tui"

    async def test_another_is_not_found(self, client: AsyncOpenAI) -> None:
        with pytest.raises(openai.NotFoundError, match="demo is loaded"):
            await client.models.retrieve("owner/name")


class TestWhole:
    async def test_an_answer_with_its_usage(self, client: AsyncOpenAI, place: Place) -> None:
        got = await client.chat.completions.create(model="demo", messages=USER)
        strict(ChatCompletion, got.model_dump(exclude={"mtplx"}))
        assert got.choices[0].message.content == "Hello there."
        assert got.choices[0].finish_reason == "stop"
        assert got.usage is not None
        assert (got.usage.prompt_tokens, got.usage.completion_tokens) == (12, 3)
        assert got.usage.prompt_tokens_details is not None
        assert got.usage.prompt_tokens_details.cached_tokens == 4
        facts = (got.model_extra or {})["mtplx"]
        assert facts["choices"][0]["cycles"] == 3
        assert facts["choices"][0]["prefix"]["why"] == "appended"
        assert facts["request"] == place.server.recent[0].id

    async def test_every_field_that_changes_the_answer_reaches_the_engine(
        self, client: AsyncOpenAI, place: Place
    ) -> None:
        await client.chat.completions.create(
            model="demo",
            messages=[{"role": "developer", "content": "Be brief"}, *USER],
            temperature=0.3,
            top_p=0.8,
            max_completion_tokens=9,
            stop=["X", "Y"],
            seed=7,
            presence_penalty=0.5,
            frequency_penalty=-0.5,
            logit_bias={"42": -3},
            extra_body={
                "depth": 3,
                "mode": "seeded",
                "top_k": 5,
                "min_p": 0.1,
                "repetition_penalty": 1.1,
                "unknown": "passed over",
            },
        )
        (command,) = place.engine.generated
        assert [m.role.value for m in command.messages] == ["system", "user"]
        sampling = command.sampling
        assert (sampling.temperature, sampling.top_p) == (0.3, 0.8)
        assert (sampling.top_k, sampling.min_p) == (5, 0.1)
        assert (command.max_tokens, command.stop, command.seed) == (9, ("X", "Y"), 7)
        assert (command.depth, command.mode) == (3, Mode.SEEDED)
        bent = command.constraints
        assert (bent.presence_penalty, bent.frequency_penalty) == (0.5, -0.5)
        assert (bent.repetition_penalty, bent.logit_bias[0].token) == (1.1, 42)

    async def test_reasoning_is_told_apart(self, client: AsyncOpenAI, place: Place) -> None:
        place.engine.script = said("Four.", thought="2 and 2")
        got = await client.chat.completions.create(model="demo", messages=USER)
        message = got.choices[0].message
        assert message.content == "Four."
        assert (message.model_extra or {})["reasoning_content"] == "2 and 2"
        assert got.usage is not None
        assert got.usage.completion_tokens_details is not None
        assert got.usage.completion_tokens_details.reasoning_tokens == 1

    async def test_choices_have_seeds_of_their_own(self, client: AsyncOpenAI, place: Place) -> None:
        got = await client.chat.completions.create(model="demo", messages=USER, n=3, seed=5)
        assert [choice.index for choice in got.choices] == [0, 1, 2]
        assert [command.seed for command in place.engine.generated] == [5, 6, 7]
        assert got.usage is not None
        assert (got.usage.prompt_tokens, got.usage.completion_tokens) == (12, 9)

    async def test_log_probabilities(self, client: AsyncOpenAI) -> None:
        got = await client.chat.completions.create(
            model="demo", messages=USER, logprobs=True, top_logprobs=2
        )
        strict(ChatCompletion, got.model_dump(exclude={"mtplx"}))
        told = got.choices[0].logprobs
        assert told is not None
        assert told.content is not None
        assert [each.token for each in told.content] == ["Hello", " there", "."]
        assert [top.token for top in told.content[0].top_logprobs] == ["t0", "t1"]
        assert bytes(told.content[1].bytes or []) == b" there"

    async def test_a_schema_becomes_the_grammar(self, client: AsyncOpenAI, place: Place) -> None:
        class Colour(BaseModel):
            model_config = ConfigDict(extra="forbid")
            name: str

        place.engine.script = said('{"name": ', '"red"}')
        got = await client.chat.completions.parse(
            model="demo", messages=USER, response_format=Colour
        )
        assert got.choices[0].message.parsed == Colour(name="red")
        (command,) = place.engine.generated
        assert command.grammar is not None
        assert json.loads(command.grammar)["required"] == ["name"]


class TestStream:
    async def test_chunks_as_the_client_wants_them(self, place: Place) -> None:
        body = chat(stream=True, stream_options={"include_usage": True})
        *data, last = await lines(place, "/v1/chat/completions", body)
        assert last == "[DONE]"
        chunks = [json.loads(line) for line in data]
        for chunk in chunks:
            strict(ChatCompletionChunk, chunk)
        assert len({(c["id"], c["created"], c["model"]) for c in chunks}) == 1
        assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
        assert chunks[-2]["choices"][0]["delta"] == {}
        assert chunks[-1]["choices"] == []
        assert chunks[-1]["usage"]["total_tokens"] == 15
        assert all(chunk["usage"] is None for chunk in chunks[:-1])

    async def test_without_being_asked_it_tells_no_usage(self, place: Place) -> None:
        *data, last = await lines(place, "/v1/chat/completions", chat(stream=True))
        assert last == "[DONE]"
        assert all("usage" not in json.loads(line) for line in data)

    async def test_the_helper_puts_it_together(self, client: AsyncOpenAI, place: Place) -> None:
        place.engine.script = said("Four", ".", thought="2 and 2")
        async with client.chat.completions.stream(model="demo", messages=USER) as stream:
            got = await stream.get_final_completion()
        assert got.choices[0].message.content == "Four."

    async def test_log_probabilities_come_with_their_text(self, client: AsyncOpenAI) -> None:
        stream = await client.chat.completions.create(
            model="demo", messages=USER, stream=True, logprobs=True
        )
        told = [
            (chunk.choices[0].delta.content, [each.token for each in logprobs.content or []])
            async for chunk in stream
            if (logprobs := chunk.choices[0].logprobs) is not None
        ]
        assert told == [("Hello", ["Hello"]), (" there", [" there"]), (".", ["."])]

    async def test_a_choice_each_by_its_index(self, client: AsyncOpenAI) -> None:
        stream = await client.chat.completions.create(model="demo", messages=USER, stream=True, n=2)
        texts = {0: "", 1: ""}
        async for chunk in stream:
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
        assert texts == {0: "Hello there.", 1: "Hello there."}

    async def test_an_error_after_the_headers_reaches_the_client(
        self, client: AsyncOpenAI, place: Place
    ) -> None:
        def broken(command: Generate) -> list[Any]:
            events = answer(command, [TextRun(Channel.ANSWER, "Hel")])
            return [*events[:-1], *failing("generating failed: no memory")(command)]

        place.engine.script = broken
        stream = await client.chat.completions.create(model="demo", messages=USER, stream=True)
        texts: list[str | None] = []
        with pytest.raises(openai.APIError, match="no memory"):
            texts += [chunk.choices[0].delta.content async for chunk in stream]

    async def test_a_refusal_at_once_has_its_status(
        self, client: AsyncOpenAI, place: Place
    ) -> None:
        place.engine.script = failing("the prompt has 9000 tokens, but demo was made for 8192", 2)
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(model="demo", messages=USER, stream=True)
        assert caught.value.code == "context_length_exceeded"

    async def test_the_length_is_a_finish_of_its_own(
        self, client: AsyncOpenAI, place: Place
    ) -> None:
        run = [TextRun(Channel.ANSWER, "Hel")]
        place.engine.script = lambda command: answer(command, run, Finish.LENGTH)
        with pytest.raises(openai.LengthFinishReasonError):
            async with client.chat.completions.stream(model="demo", messages=USER) as stream:
                await stream.get_final_completion()


TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Weather of a place",
            "parameters": {
                "type": "object",
                "properties": {"place": {"type": "string"}, "days": {"type": "integer"}},
                "required": ["place"],
            },
        },
    }
]
CALL = '<tool_call>\n{"name": "weather", "arguments": {"place": "Köln", "days": 2}}\n</tool_call>'


class TestTools:
    async def test_a_call_is_no_text(self, client: AsyncOpenAI, place: Place) -> None:
        place.engine.use_template(QWEN3)
        place.engine.script = said("Let me look.\n", CALL)
        got = await client.chat.completions.create(model="demo", messages=USER, tools=TOOLS)
        strict(ChatCompletion, got.model_dump(exclude={"mtplx"}))
        message = got.choices[0].message
        assert message.content == "Let me look."
        assert got.choices[0].finish_reason == "tool_calls"
        assert message.tool_calls is not None
        (call,) = message.tool_calls
        assert call.type == "function"
        assert json.loads(call.function.arguments) == {"place": "Köln", "days": 2}
        (command,) = place.engine.generated
        assert json.loads(command.tools[0]) == TOOLS[0]
        assert command.has_special_text

    @pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 200])
    async def test_streamed_in_bursts_of_any_size(
        self, client: AsyncOpenAI, place: Place, size: int
    ) -> None:
        place.engine.use_template(QWEN3)
        text = f"Two.\n{CALL}\n{CALL}"
        place.engine.script = said(*(text[at : at + size] for at in range(0, len(text), size)))
        async with client.chat.completions.stream(
            model="demo", messages=USER, tools=TOOLS
        ) as stream:
            got = await stream.get_final_completion()
        message = got.choices[0].message
        assert message.content == "Two."
        assert [call.function.name for call in message.tool_calls or []] == ["weather"] * 2
        assert len({call.id for call in message.tool_calls or []}) == 2
        assert got.choices[0].finish_reason == "tool_calls"

    async def test_one_call_alone_ends_the_answer(self, client: AsyncOpenAI, place: Place) -> None:
        place.engine.use_template(QWEN3)
        place.engine.script = said(CALL, "\n", CALL)
        got = await client.chat.completions.create(
            model="demo", messages=USER, tools=TOOLS, parallel_tool_calls=False
        )
        assert len(got.choices[0].message.tool_calls or []) == 1
        assert place.server.live == ()

    async def test_half_a_call_is_never_told(self, client: AsyncOpenAI, place: Place) -> None:
        place.engine.use_template(QWEN3)
        runs = [TextRun(Channel.ANSWER, "So: "), TextRun(Channel.ANSWER, CALL[:40])]
        place.engine.script = lambda command: answer(command, runs, Finish.LENGTH)
        got = await client.chat.completions.create(model="demo", messages=USER, tools=TOOLS)
        assert got.choices[0].finish_reason == "length"
        assert got.choices[0].message.tool_calls is None
        assert (got.choices[0].message.content or "").strip() == "So:"

    async def test_without_tools_nothing_is_parsed(self, client: AsyncOpenAI, place: Place) -> None:
        place.engine.use_template(QWEN3)
        place.engine.script = said(CALL)
        got = await client.chat.completions.create(model="demo", messages=USER)
        assert got.choices[0].message.content == CALL

    async def test_a_call_that_has_to_come_is_held_to_its_schema(
        self, client: AsyncOpenAI, place: Place
    ) -> None:
        place.engine.use_template(QWEN3)
        place.engine.script = said('{"name": "weather", ', '"arguments": {"place": "Bonn"}}')
        got = await client.chat.completions.create(
            model="demo",
            messages=USER,
            tools=TOOLS,
            tool_choice={"type": "function", "function": {"name": "weather"}},
        )
        (call,) = got.choices[0].message.tool_calls or []
        assert call.type == "function"
        assert json.loads(call.function.arguments) == {"place": "Bonn"}
        assert got.choices[0].message.content is None
        (command,) = place.engine.generated
        assert command.grammar is not None
        assert json.loads(command.grammar)["properties"]["name"] == {"const": "weather"}
        assert json.loads(command.template_options) == {"enable_thinking": False}

    async def test_results_go_back_as_the_template_wants_them(
        self, client: AsyncOpenAI, place: Place
    ) -> None:
        place.engine.use_template(QWEN3)
        call: Any = {"id": "call_1", "type": "function"}
        function = {"name": "weather", "arguments": '{"place": "Bonn"}'}
        assistant: Any = {
            "role": "assistant",
            "content": None,
            "reasoning_content": "hm",
            "tool_calls": [{**call, "function": function}],
        }
        result: Any = {"role": "tool", "tool_call_id": "call_1", "content": "rain"}
        await client.chat.completions.create(
            model="demo", messages=[*USER, assistant, result], tools=TOOLS
        )
        (command,) = place.engine.generated
        _, second, third = command.messages
        assert (second.reasoning, second.tool_calls[0].arguments) == ("hm", '{"place": "Bonn"}')
        assert (third.role.value, third.tool_call_id, third.name) == ("tool", "call_1", "weather")

    async def test_a_model_without_tools_is_told_of_them_in_words(
        self, client: AsyncOpenAI, place: Place
    ) -> None:
        place.engine.script = said(CALL)
        got = await client.chat.completions.create(model="demo", messages=USER, tools=TOOLS)
        assert got.choices[0].finish_reason == "tool_calls"
        (command,) = place.engine.generated
        assert command.tools == ()
        assert '"name": "weather"' in command.messages[0].content


class TestCompletions:
    async def test_a_raw_prompt(self, client: AsyncOpenAI, place: Place) -> None:
        got = await client.completions.create(model="demo", prompt="Once", logprobs=2, echo=False)
        strict(Completion, got.model_dump(exclude={"mtplx"}))
        assert got.choices[0].text == "Hello there."
        assert got.choices[0].logprobs is not None
        assert got.choices[0].logprobs.text_offset == [0, 5, 11]
        (command,) = place.engine.generated
        assert (command.raw, command.max_tokens) == ("Once", 16)

    async def test_token_ids(self, client: AsyncOpenAI, place: Place) -> None:
        got = await client.completions.create(model="demo", prompt=[[1, 2], [3]])
        assert [choice.index for choice in got.choices] == [0, 1]
        assert [command.prompt_ids for command in place.engine.generated] == [(1, 2), (3,)]

    async def test_an_echo(self, client: AsyncOpenAI) -> None:
        got = await client.completions.create(model="demo", prompt="Once: ", echo=True)
        assert got.choices[0].text == "Once: Hello there."

    async def test_a_stream(self, place: Place) -> None:
        body = {"model": "demo", "prompt": "Once", "stream": True}
        *data, last = await lines(place, "/v1/completions", body)
        assert last == "[DONE]"
        chunks = [json.loads(line) for line in data]
        for chunk in chunks[-1:]:
            strict(Completion, chunk)
        assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "Hello there."
        assert [chunk["choices"][0]["finish_reason"] for chunk in chunks][-1] == "stop"

    async def test_filling_in_is_refused(self, client: AsyncOpenAI) -> None:
        with pytest.raises(openai.BadRequestError, match="fill in the middle"):
            await client.completions.create(model="demo", prompt="a", suffix="b")
