"""What clients of OpenAI's responses API send. Unknown fields are passed over."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from mtplx_tui.server.limits import (
    Anything,
    Fraction,
    Id,
    Items,
    Penalty,
    Seed,
    Temperature,
    Text,
    Tokens,
    TopLogprobs,
    Word,
)
from mtplx_tui.server.openai_shapes import Extras

__all__ = ["ForcedTool", "InputItem", "InputPart", "ResponsesBody", "ToolInput"]

Object = dict[str, Anything]


Metadata = Annotated[dict[Word, Annotated[str, Meta(max_length=512)]], Meta(max_length=16)]
"""What a client notes; it is told back with the answer."""


class InputPart(Struct, frozen=True):
    """A part of a message's content, of a summary, or of a tool's output."""

    type: Word
    text: Text | None = None
    refusal: Text | None = None


Parts = Text | Annotated[list[InputPart], Items] | None


class InputItem(Struct, frozen=True):
    """An item of the conversation, of whatever type."""

    type: Word = "message"
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: Parts = None
    call_id: Id | None = None
    name: Word | None = None
    arguments: Text | None = None
    input: Text | None = None
    output: Parts = None
    summary: Annotated[list[InputPart], Items] | None = None


class ToolInput(Struct, frozen=True):
    """A tool; those of other types than function are passed over."""

    type: Word
    name: Word | None = None
    description: Text | None = None
    parameters: Object | None = None
    strict: bool | None = None


class ForcedTool(Struct, frozen=True):
    """A tool that has to be called, or those that may be."""

    type: Word
    name: Word | None = None
    mode: Literal["auto", "required"] | None = None
    tools: Annotated[list[Object], Meta(max_length=512)] | None = None


class Format(Struct, frozen=True):
    """What the answer has to be."""

    type: Literal["text", "json_object", "json_schema"]
    name: Word = ""
    schema: Object | None = None
    strict: bool | None = None


class TextOptions(Struct, frozen=True):
    """Of the answer's text."""

    format: Format | None = None
    verbosity: Word | None = None


class Reasoning(Struct, frozen=True):
    """How much the model is to think."""

    effort: Word | None = None
    summary: Word | None = None


class ResponsesBody(Extras, frozen=True, kw_only=True):
    """POST /v1/responses."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    input: Text | Annotated[list[InputItem], Items] | None = None
    instructions: Text | None = None
    tools: Annotated[list[ToolInput], Meta(max_length=512)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ForcedTool | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: Tokens | None = None
    reasoning: Reasoning | None = None
    text: TextOptions | None = None
    include: Annotated[list[Word], Meta(max_length=64)] | None = None
    stream: bool | None = None
    previous_response_id: Id | None = None
    conversation: Anything = None
    prompt: Anything = None
    background: bool | None = None
    temperature: Temperature | None = None
    top_p: Fraction | None = None
    top_logprobs: TopLogprobs | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: Seed | None = None
    metadata: Metadata | None = None
    store: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None
