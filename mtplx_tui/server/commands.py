"""From the one request to the engine's commands, and to what reads their answers."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from engine.protocol import CountTokens, Generate, GrammarKind, ModelInfo, TextRun
from mtplx_tui import requests
from mtplx_tui.server.ask import Ask, Prompt
from mtplx_tui.server.conversation import (
    Wording,
    after_thinking,
    always_thinks,
    forced_call_schema,
    word,
)
from mtplx_tui.server.steps import Part, Said
from mtplx_tui.server.tool_calls import CallFinder, ForcedCall

__all__ = ["Reader", "commands", "count_command", "reader_for"]


class Reader(Protocol):
    """Turns an answer's text into parts."""

    def feed(self, runs: Sequence[TextRun]) -> list[Part]:
        """Return what became certain with these runs."""
        ...

    def finish(self, *, is_whole: bool) -> list[Part]:
        """Return what was held back."""
        ...


class _Plain:
    """All of it is text."""

    def feed(self, runs: Sequence[TextRun]) -> list[Part]:
        return [Said(run.channel, run.text) for run in runs]

    def finish(self, *, is_whole: bool) -> list[Part]:
        return []


def commands(ask: Ask, name: str, model: ModelInfo) -> list[Generate]:
    """Return the engine's commands, choice by choice.

    Args:
        ask: what was asked for.
        name: the request's id; choice i is `name.i`.
        model: what is loaded.

    Raises:
        ValueError: one line that names what does not fit.
    """
    given = ask.options.seed
    seed = secrets.randbits(63) if given is None else given % 2**64
    made: list[Generate] = []
    for prompt in ask.prompts:
        for choice in range(ask.n):
            built = _command(ask, f"{name}.{len(made)}", model, prompt)
            made.append(replace(built, seed=(seed + choice) % 2**64))
    return made


def count_command(ask: Ask, name: str, model: ModelInfo) -> CountTokens:
    """Return the command that counts a prompt's tokens. Raises ValueError as `commands`."""
    return CountTokens(name, _command(ask, name, model, ask.prompts[0]))


def reader_for(ask: Ask, model: ModelInfo) -> Reader:
    """Return what reads one choice of an answer."""
    wording = _wording(ask, ask.prompts[0], model)
    if wording.form is None:
        return _Plain()
    if ask.tool_choice.kind == "required":
        return ForcedCall()
    return CallFinder(wording.form, ask.tools)


def _wording(ask: Ask, prompt: Prompt, model: ModelInfo) -> Wording:
    return word(ask, prompt.messages, model.chat_template)


def _command(ask: Ask, name: str, model: ModelInfo, prompt: Prompt) -> Generate:
    options = replace(ask.options, seed=0)
    if prompt.messages:
        wording = _wording(ask, prompt, model)
        built = requests.build(name, model, options, messages=wording.messages)
        built = replace(
            built,
            tools=wording.tools,
            template_options=json.dumps(wording.options),
            has_special_text=bool(wording.tools),
        )
    elif prompt.ids:
        built = requests.build(name, model, options, raw=" ")
        built = replace(built, raw=None, prompt_ids=prompt.ids)
    else:
        built = requests.build(name, model, options, raw=prompt.raw)
    built = replace(built, constraints=ask.constraints, logprobs=ask.logprobs)
    is_forced = ask.tool_choice.kind == "required" and bool(ask.tools)
    schema = forced_call_schema(ask) if is_forced else ask.grammar
    if schema is not None and prompt.messages and always_thinks(model.chat_template):
        return replace(built, grammar=after_thinking(schema), grammar_kind=GrammarKind.LARK)
    return replace(built, grammar=schema)
