"""From a request's messages and tools to what the model's chat template is given.

A model whose template knows no tools is told of them in words, in the manner of Hermes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.protocol import ChatMessage, Role, ToolCall
from mtplx_tui.server.ask import Ask, Message, Tool
from mtplx_tui.server.tool_formats import FALLBACK, ToolFormat, format_of

__all__ = ["Wording", "after_thinking", "always_thinks", "forced_call_schema", "word"]

_TOOLS = """\
# Tools

You may call one or more functions to help with what the user asks.

Their signatures are within <tools></tools>:
<tools>
{tools}
</tools>

For each call give a JSON object with its name and arguments within <tool_call></tool_call>:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""


@dataclass(frozen=True, slots=True)
class Wording:
    """What the engine is given of a conversation."""

    messages: tuple[ChatMessage, ...]
    tools: tuple[str, ...] = ()
    options: dict[str, bool] = field(default_factory=dict)
    form: ToolFormat | None = None
    """How the model writes calls; None where it may make none."""


def word(ask: Ask, messages: Sequence[Message], template: str) -> Wording:
    """Return a conversation as a model with this chat template is given it."""
    options = _options(ask, template)
    native = format_of(template)
    may_call = bool(ask.tools) and ask.tool_choice.kind != "none"
    if native is None:
        told = _in_words(messages, ask.tools if may_call else ())
        return Wording(told, (), options, FALLBACK if may_call else None)
    names = {call.id: call.name for message in messages for call in message.calls}
    given = tuple(_native(message, names) for message in messages)
    if not may_call:
        return Wording(given, (), options)
    tools = tuple(_json(tool.described()) for tool in ask.tools)
    return Wording(given, tools, options, native)


def forced_call_schema(ask: Ask) -> str:
    """Return the JSON schema of an answer that has to be a call."""
    wanted = ask.tool_choice.name
    calls = [_call_schema(tool) for tool in ask.tools if wanted in (None, tool.name)]
    return _json(calls[0] if len(calls) == 1 else {"anyOf": calls})


def always_thinks(template: str) -> bool:
    """Return whether a template opens reasoning in each prompt, and nothing can turn that off."""
    end = template.rpartition("add_generation_prompt")[2]
    return "<think>" in end and "</think>" not in end and "enable_thinking" not in end


def after_thinking(schema: str) -> str:
    """Return the grammar of a JSON document behind reasoning that is already open.

    In llguidance's language, which names the mark's own token outside of quotes.
    """
    return f"start: /(?s:.*)/ </think> /\\n*/ answer\nanswer: %json {schema}\n"


def _call_schema(tool: Tool) -> dict[str, object]:
    return {
        "type": "object",
        "properties": {
            "name": {"const": tool.name},
            "arguments": tool.parameters or {"type": "object"},
        },
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _options(ask: Ask, template: str) -> dict[str, bool]:
    """Return what the template is told beside the messages."""
    options: dict[str, bool] = {}
    thinks = False if _is_bound(ask) else ask.thinks
    if thinks is not None:
        options["enable_thinking"] = thinks
    if "preserve_thinking" in template:
        options["preserve_thinking"] = ask.keeps_thinking
    return options


def _is_bound(ask: Ask) -> bool:
    """Whether a grammar holds the whole answer, so that there is no place to think in."""
    return ask.grammar is not None or ask.tool_choice.kind == "required"


def _native(message: Message, names: dict[str, str]) -> ChatMessage:
    return ChatMessage(
        Role(message.role),
        message.text,
        reasoning=message.reasoning,
        tool_calls=tuple(ToolCall(call.name, call.arguments, call.id) for call in message.calls),
        tool_call_id=message.call_id,
        name=names.get(message.call_id, "") if message.role == "tool" else "",
    )


def _in_words(messages: Sequence[Message], tools: Sequence[Tool]) -> tuple[ChatMessage, ...]:
    """Return a conversation without roles and fields that a plain template doesn't know."""
    told: list[ChatMessage] = []
    for message in messages:
        role, text = Role(message.role), message.text
        if role is Role.TOOL:
            role, text = Role.USER, f"<tool_response>\n{text}\n</tool_response>"
        for call in message.calls:
            written = f'{{"name": {_json(call.name)}, "arguments": {call.arguments}}}'
            text = f"{text}\n<tool_call>\n{written}\n</tool_call>".lstrip("\n")
        if told and told[-1].role is role:
            text = f"{told.pop().content}\n\n{text}"
        told.append(ChatMessage(role, text))
    if not tools:
        return tuple(told)
    words = _TOOLS.format(tools="\n".join(_json(tool.described()) for tool in tools))
    if told and told[0].role is Role.SYSTEM:
        words = f"{told.pop(0).content}\n\n{words}"
    return (ChatMessage(Role.SYSTEM, words), *told)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
