"""What clients of OpenAI's chat and completion APIs send. Unknown fields are passed over."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from mtplx_tui.server.limits import (
    Anything,
    Bias,
    Depth,
    Fraction,
    Id,
    Items,
    Many,
    MinP,
    Penalty,
    Repetition,
    Seed,
    Stops,
    Temperature,
    Text,
    TokenIds,
    Tokens,
    TopK,
    TopLogprobs,
    Word,
)

__all__ = [
    "ChatBody",
    "ChatInput",
    "CompletionBody",
    "Content",
    "Extras",
    "ForcedTool",
    "FunctionTool",
    "Part",
    "ResponseFormat",
    "SchemaFormat",
    "StreamOptions",
]

Object = dict[str, Anything]


class Part(Struct, frozen=True):
    """A part of a message's content."""

    type: Word
    text: Text | None = None
    refusal: Text | None = None


Content = Text | Annotated[list[Part], Items] | None


class CallFunction(Struct, frozen=True):
    """Of a call."""

    name: Word
    arguments: Text = "{}"


class CallInput(Struct, frozen=True):
    """A call that the assistant made."""

    function: CallFunction
    id: Id = ""
    type: Literal["function"] = "function"


class ChatInput(Struct, frozen=True):
    """A message."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content = None
    reasoning_content: Text | None = None
    reasoning: Text | None = None
    tool_calls: Annotated[list[CallInput], Meta(max_length=512)] | None = None
    tool_call_id: Id | None = None
    name: Word | None = None


class Function(Struct, frozen=True):
    """What the model may call."""

    name: Annotated[str, Meta(min_length=1, max_length=256)]
    description: Text | None = None
    parameters: Object | None = None
    strict: bool | None = None


class FunctionTool(Struct, frozen=True):
    """A tool; those of other types are passed over."""

    type: Word
    function: Function | None = None


class ForcedName(Struct, frozen=True):
    """Of a tool."""

    name: Word


class AllowedTools(Struct, frozen=True):
    """Which of the tools may be called."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[Object], Meta(max_length=512)]


class ForcedTool(Struct, frozen=True):
    """A tool that has to be called, or those that may be."""

    type: Literal["function", "allowed_tools"]
    function: ForcedName | None = None
    allowed_tools: AllowedTools | None = None


class SchemaFormat(Struct, frozen=True):
    """A JSON schema and its name."""

    name: Word = ""
    schema: Object | None = None
    strict: bool | None = None


class ResponseFormat(Struct, frozen=True):
    """What the answer has to be."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: SchemaFormat | None = None


class StreamOptions(Struct, frozen=True):
    """Of a stream."""

    include_usage: bool = False


class TemplateOptions(Struct, frozen=True):
    """What a caller may tell the chat template; nothing else."""

    enable_thinking: bool | None = None
    preserve_thinking: bool | None = None


class Extras(Struct, frozen=True, kw_only=True):
    """Fields that are this server's, or a convention among servers."""

    depth: Depth | Literal["auto"] | None = None
    mode: Literal["token", "block", "seeded"] | None = None
    top_k: TopK | None = None
    min_p: MinP | None = None
    repetition_penalty: Repetition | None = None
    min_tokens: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None


class _Sampled(Extras, frozen=True, kw_only=True):
    model: Annotated[str, Meta(min_length=1, max_length=256)]
    max_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: Fraction | None = None
    n: Many | None = None
    stop: Annotated[str, Meta(max_length=256)] | Stops | None = None
    seed: Seed | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: Bias | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None


class ChatBody(_Sampled, frozen=True, kw_only=True):
    """POST /v1/chat/completions."""

    messages: Annotated[list[ChatInput], Meta(min_length=1, max_length=10_000)]
    max_completion_tokens: Tokens | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    tools: Annotated[list[FunctionTool], Meta(max_length=512)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ForcedTool | None = None
    parallel_tool_calls: bool | None = None
    functions: Anything = None
    function_call: Anything = None
    response_format: ResponseFormat | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = (
        None
    )
    chat_template_kwargs: TemplateOptions | None = None


class CompletionBody(_Sampled, frozen=True, kw_only=True):
    """POST /v1/completions."""

    prompt: (
        Text | Annotated[list[Text | int | TokenIds], Meta(min_length=1, max_length=2**20)] | None
    ) = None
    echo: bool | None = None
    suffix: Text | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    best_of: Annotated[int, Meta(ge=1, le=1)] | None = None
