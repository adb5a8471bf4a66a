"""The one request that every API is translated into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from engine.protocol import Constraints
from mtplx_tui.requests import Options

__all__ = ["Ask", "Call", "Message", "Prompt", "Tool", "ToolChoice"]


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool."""

    id: str
    name: str
    arguments: str
    """A JSON object."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message, whatever API it came by."""

    role: Literal["system", "user", "assistant", "tool"]
    text: str
    reasoning: str = ""
    """What the assistant thought before it."""
    calls: tuple[Call, ...] = ()
    """Of the assistant."""
    call_id: str = ""
    """Which call a tool's message answers."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    """A JSON schema, its keys in the order they came in."""

    def described(self) -> dict[str, Any]:
        """Return it as chat templates expect it."""
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
        }
        return {"type": "function", "function": function}


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether a tool has to be called, and which."""

    kind: Literal["none", "auto", "required"] = "auto"
    name: str | None = None
    """With `required`: this one; None leaves the choice to the model."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation, or raw text, or token ids."""

    messages: tuple[Message, ...] = ()
    raw: str | None = None
    ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Ask:
    """See the module."""

    api: Literal["chat", "completions", "responses", "messages"]
    model: str
    prompts: tuple[Prompt, ...]
    """One; several for /v1/completions alone."""
    options: Options = field(default_factory=Options)
    constraints: Constraints = field(default_factory=Constraints)
    grammar: str | None = None
    logprobs: int | None = None
    n: int = 1
    """Choices a prompt; choice i has seed + i."""
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    has_parallel_calls: bool = True
    thinks: bool | None = None
    """Whether the model is to think first; None leaves it to its template."""
    keeps_thinking: bool = True
    """Whether the template is to keep what the assistant thought in earlier turns, if it can."""
    has_echo: bool = False
    """Whether the prompt is to be part of the text."""
    is_streamed: bool = False
    has_usage: bool = True
    """Whether a stream is to tell its usage."""
    left_out: str = ""
    """What of the request was left out of the prompt, in words; empty where nothing was."""
