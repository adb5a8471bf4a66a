"""The one place where a Generate command is built, for the chat and for `generate`.

So a chat's answer and a completion of the same conversation, options and seed are repeats of
each other.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine.protocol import ChatMessage, Generate, Mode, ModelInfo, Role, Sampling
from mtplx_tui.settings_schema import Settings

__all__ = ["Options", "build", "check", "chosen", "resolved"]


@dataclass(frozen=True, slots=True)
class Options:
    """What a person chose; None leaves it to the model, or to chance for the seed."""

    system: str | None = None
    """None: the chat template's own default."""
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    """None: drawn anew for each request."""
    depth: int | None = None
    """None: automatic."""
    mode: Mode = Mode.TOKEN
    max_tokens: int | None = None
    """None: up to the end of the context."""
    stop: tuple[str, ...] = ()


def build(
    request: str,
    model: ModelInfo,
    options: Options,
    *,
    messages: Sequence[ChatMessage] = (),
    raw: str | None = None,
) -> Generate:
    """Return the command that completes a conversation, or a raw prompt.

    Args:
        request: the id its events carry.
        model: what is loaded; gives the sampling that the options leave open.
        options: what the person chose.
        messages: the conversation; a system text of the options is put before it.
        raw: a prompt that bypasses the chat template, in place of messages.

    Raises:
        ValueError: one line that names what does not fit.
    """
    return _built(request, model.sampling, options, tuple(messages), raw)


def chosen(settings: Settings) -> Options:
    """Return what a person's settings say of a new chat."""
    return Options(
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
        min_p=settings.min_p,
        depth=settings.depth,
        mode=settings.mode,
        max_tokens=settings.max_tokens,
    )


def check(
    options: Options, *, messages: Sequence[ChatMessage] = (), raw: str | None = None
) -> None:
    """Raise ValueError where `build` would, whatever the model."""
    _built("", Sampling(), options, tuple(messages), raw)


def _built(
    request: str,
    own: Sampling,
    options: Options,
    conversation: tuple[ChatMessage, ...],
    raw: str | None,
) -> Generate:
    if options.system is not None:
        if raw is not None:
            raise ValueError("a raw prompt takes no system text")
        if any(message.role is Role.SYSTEM for message in conversation):
            raise ValueError("the messages hold a system message already")
        conversation = (ChatMessage(Role.SYSTEM, options.system), *conversation)
    if raw is None and all(message.role is Role.SYSTEM for message in conversation):
        raise ValueError("there is nothing to answer: no message but the system's")
    return Generate(
        request=request,
        messages=conversation,
        raw=raw,
        sampling=_sampling(own, options),
        seed=secrets.randbits(63) if options.seed is None else options.seed,
        depth=options.depth,
        mode=options.mode,
        max_tokens=options.max_tokens,
        stop=options.stop,
    )


def resolved(options: Options, command: Generate) -> Options:
    """Return the options with every value as the command has it, the seed included."""
    return replace(
        options,
        temperature=command.sampling.temperature,
        top_p=command.sampling.top_p,
        top_k=command.sampling.top_k,
        min_p=command.sampling.min_p,
        seed=command.seed,
    )


def _sampling(own: Sampling, options: Options) -> Sampling:
    return Sampling(
        temperature=own.temperature if options.temperature is None else options.temperature,
        top_p=own.top_p if options.top_p is None else options.top_p,
        top_k=own.top_k if options.top_k is None else options.top_k,
        min_p=own.min_p if options.min_p is None else options.min_p,
    )
