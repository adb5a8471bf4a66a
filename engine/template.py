"""Chat templates: a conversation to the text of a prompt, within bounds.

A template comes with the model and is a program: it runs in Jinja's sandbox, without the file
system, and its output is limited.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from engine.bounds import bounded
from engine.errors import RequestError
from engine.protocol import ChatMessage, Role

__all__ = ["ChatTemplate"]

_LONGEST = 16 * 2**20
"""Characters of a rendered prompt."""
_LARGEST = 256 * 2**10
"""Characters of a template."""
_SECONDS = 5.0
_BYTES = 512 * 2**20
"""What rendering may take."""
_FAULTS = (
    jinja2.TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
    TimeoutError,
    MemoryError,
)
"""What a template that fails may raise."""


class ChatTemplate:
    """A model's chat template.

    Args:
        source: the Jinja text.
        special: names such as bos_token and their texts, which templates refer to.

    Raises:
        RequestError: the template is no valid Jinja, or larger than any that is meant well.
    """

    def __init__(self, source: str, special: dict[str, str]) -> None:
        if len(source) > _LARGEST:
            raise RequestError(f"the model's chat template is longer than {_LARGEST} characters")
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, optimized=False, extensions=[loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        functions: dict[str, Any] = {"raise_exception": _refuse, "strftime_now": _now}
        environment.globals.update(functions)
        try:
            with bounded(_SECONDS, _BYTES):
                self._template = environment.from_string(source)
        except _FAULTS as error:
            raise RequestError(f"the model's chat template can't be read: {error}") from error
        self._special = special

    def render(
        self,
        messages: tuple[ChatMessage, ...],
        tools: tuple[str, ...] = (),
        options: str = "{}",
        *,
        is_open: bool = True,
        quoted: Callable[[str], str] = str,
    ) -> str:
        """Return the prompt.

        Args:
            messages: the conversation.
            tools: JSON objects, in the order in which the template lists them.
            options: a JSON object of further names the template reads.
            is_open: whether it goes up to where the assistant's answer begins.
            quoted: what is done to each text that came from outside.

        Raises:
            RequestError: the template refuses this conversation, fails, or never ends.
        """
        names = _quoted(json.loads(options), quoted)
        own = {"messages", "tools", "add_generation_prompt", *self._special}
        if clash := sorted(own & names.keys()):
            raise RequestError(f"template options can't set {', '.join(clash)}")
        given: dict[str, Any] = {
            "messages": [_plain(message, quoted) for message in messages],
            "add_generation_prompt": is_open,
            "tools": [_quoted(json.loads(tool), quoted) for tool in tools] or None,
            **self._special,
            **names,
        }
        try:
            with bounded(_SECONDS, _BYTES):
                return _joined(self._template.generate(given))
        except _FAULTS as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise RequestError(
                f"the model's chat template refuses this conversation: {reason}",
                "change the messages, or give a raw prompt",
            ) from error


def _plain(message: ChatMessage, quoted: Callable[[str], str]) -> dict[str, Any]:
    """Return a message as templates know it; what it does not have is left out."""
    plain: dict[str, Any] = {"role": message.role.value, "content": quoted(message.content)}
    if message.reasoning:
        plain["reasoning_content"] = quoted(message.reasoning)
    if message.tool_calls:
        plain["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": quoted(call.name),
                    "arguments": _quoted(json.loads(call.arguments), quoted),
                },
            }
            for call in message.tool_calls
        ]
    if message.role is Role.TOOL:
        plain["tool_call_id"] = message.tool_call_id
        if message.name:
            plain["name"] = quoted(message.name)
    return plain


def _quoted(value: Any, quoted: Callable[[str], str]) -> Any:
    """Return a JSON value with all its texts quoted."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list):
        return [_quoted(item, quoted) for item in value]
    if isinstance(value, dict):
        return {quoted(name): _quoted(item, quoted) for name, item in value.items()}
    return value


def _joined(pieces: Iterable[str]) -> str:
    text: list[str] = []
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > _LONGEST:
            raise ValueError(f"its output is longer than {_LONGEST} characters")
        text.append(piece)
    return "".join(text)


def _to_json(value: object, indent: int | None = None, **_: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _now(form: str) -> str:
    return datetime.now().astimezone().strftime(form)
