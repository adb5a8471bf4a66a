"""What clients of Anthropic's messages API send. Unknown fields are passed over."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from mtplx_tui.server.limits import (
    Anything,
    Fraction,
    Id,
    Items,
    Seed,
    Stops,
    Text,
    Tokens,
    TopK,
    Word,
)
from mtplx_tui.server.openai_shapes import Extras

__all__ = ["Block", "Blocks", "CountBody", "MessageInput", "MessagesBody", "ToolInput"]

Object = dict[str, Anything]


class Inner(Struct, frozen=True):
    """A block within a tool's result."""

    type: Word
    text: Text | None = None


class Block(Struct, frozen=True):
    """A block of content, of whatever type."""

    type: Word
    text: Text | None = None
    thinking: Text | None = None
    id: Id | None = None
    name: Word | None = None
    input: Object | None = None
    tool_use_id: Id | None = None
    content: Text | Annotated[list[Inner], Items] | None = None
    is_error: bool | None = None


Blocks = Text | Annotated[list[Block], Items]


class MessageInput(Struct, frozen=True):
    """A message; newer clients also send the system's within a conversation."""

    role: Literal["user", "assistant", "system", "developer"]
    content: Blocks


class ToolInput(Struct, frozen=True):
    """A tool; one with another type than custom is the API's own."""

    name: Annotated[str, Meta(min_length=1, max_length=256)]
    description: Text | None = None
    input_schema: Object | None = None
    type: Word | None = None


class ChoiceInput(Struct, frozen=True):
    """Whether a tool has to be called."""

    type: Literal["auto", "any", "tool", "none"]
    name: Word | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(Struct, frozen=True):
    """Whether the model is to think first."""

    type: Literal["enabled", "adaptive", "disabled"]
    budget_tokens: Tokens | None = None
    display: Word | None = None


class FormatInput(Struct, frozen=True):
    """What the answer has to be."""

    type: Literal["json_schema"]
    schema: Object


class OutputConfig(Struct, frozen=True):
    """Of the answer."""

    effort: Word | None = None
    format: FormatInput | None = None


class CountBody(Extras, frozen=True, kw_only=True):
    """POST /v1/messages/count_tokens."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    messages: Annotated[list[MessageInput], Meta(min_length=1, max_length=10_000)]
    system: Blocks | None = None
    tools: Annotated[list[ToolInput], Meta(max_length=512)] | None = None
    tool_choice: ChoiceInput | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None


class MessagesBody(CountBody, frozen=True, kw_only=True):
    """POST /v1/messages."""

    max_tokens: Tokens
    temperature: Fraction | None = None
    top_p: Fraction | None = None
    top_k: TopK | None = None
    stop_sequences: Stops | None = None
    stream: bool | None = None
    seed: Seed | None = None
