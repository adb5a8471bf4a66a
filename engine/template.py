"""Chat templates: a conversation to the text of a prompt, within bounds.

A template comes with the model and is a program: it runs in Jinja's sandbox, without the file
system, and its output is limited.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from engine.errors import RequestError
from engine.protocol import ChatMessage

__all__ = ["ChatTemplate"]

_LONGEST = 16 * 2**20
"""Characters of a rendered prompt."""


class ChatTemplate:
    """A model's chat template.

    Args:
        source: the Jinja text.
        special: names such as bos_token and their texts, which templates refer to.

    Raises:
        RequestError: the template is no valid Jinja.
    """

    def __init__(self, source: str, special: dict[str, str]) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        functions: dict[str, Any] = {"raise_exception": _refuse, "strftime_now": _now}
        environment.globals.update(functions)
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise RequestError(f"the model's chat template can't be read: {error}") from error
        self._special = special

    def render(self, messages: tuple[ChatMessage, ...]) -> str:
        """Return the prompt up to where the assistant's answer begins.

        Raises:
            RequestError: the template refuses this conversation, fails, or never ends.
        """
        plain = [{"role": m.role.value, "content": m.content} for m in messages]
        try:
            pieces = self._template.generate(
                messages=plain, add_generation_prompt=True, tools=None, **self._special
            )
            return _joined(pieces)
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError) as error:
            reason = " ".join(str(error).split())
            raise RequestError(
                f"the model's chat template refuses this conversation: {reason}",
                "change the messages, or give a raw prompt",
            ) from error


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
