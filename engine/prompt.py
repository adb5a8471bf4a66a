"""What the model is given: a command's prompt as text and as tokens, and where it has its joints."""

from __future__ import annotations

import bisect
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from engine.errors import RequestError
from engine.model.load import LoadedModel
from engine.model.tokenizer import Tokenizer
from engine.protocol import Generate, Role

__all__ = ["Prompt", "joints", "read_prompt_of"]

_OTHER = "\ufdd2"
"""A text that no message begins with: a noncharacter of Unicode."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt."""

    text: str
    """As the chat template gave it; what the ids read as where they were given."""
    ids: tuple[int, ...]
    rendered: str = ""
    """The text as the template gave it, marks included; empty where no template was used."""
    ends: tuple[int, ...] = ()
    """By token: characters of `rendered` up to its end."""


def read_prompt_of(command: Generate, model: LoadedModel) -> Prompt:
    """Return a command's prompt.

    Raises:
        RequestError: the prompt is empty or names a token that does not exist, or the chat template
            refuses it.
    """
    prompt = _prompt(command, model)
    if not prompt.ids:
        raise RequestError("the prompt is empty", "give at least one character")
    return prompt


def _prompt(command: Generate, model: LoadedModel) -> Prompt:
    tokenizer = model.tokenizer
    if command.prompt_ids:
        _check_ids(command.prompt_ids, model.info.vocabulary)
        return Prompt(tokenizer.decode_all(command.prompt_ids), command.prompt_ids)
    if command.raw is not None:
        return Prompt(command.raw, tuple(tokenizer.encode(command.raw, is_rendered=False)))
    text = _rendered(command, tokenizer)
    ids, ends = tokenizer.encode_with_ends(text, is_rendered=True)
    return Prompt(tokenizer.shown(text), tuple(ids), text, tuple(ends))


def joints(command: Generate, prompt: Prompt, tokenizer: Tokenizer) -> list[int]:
    """Return the places in a prompt that later ones are likely to share, ascending.

    They are the ends of system text and tools, of all before the last user message, and of all
    but the opening of the answer: where the template gives the same text for other messages.
    """
    if not prompt.rendered:
        return []
    places = {_place(prompt, other, tokenizer) for other in _variants(command, tokenizer)}
    return sorted(places - {0, len(prompt.ids)})


def _variants(command: Generate, tokenizer: Tokenizer) -> Iterator[str]:
    """Yield the prompt with another first message, another last question, and none answered."""
    roles = [message.role for message in command.messages]
    first = next((i for i, role in enumerate(roles) if role is not Role.SYSTEM), None)
    last = max((i for i, role in enumerate(roles) if role is Role.USER), default=None)
    for changed in {first, last} - {None}:
        messages = list(command.messages)
        if changed is not None:
            messages[changed] = replace(messages[changed], content=_OTHER)
        with contextlib.suppress(RequestError):  # a joint that can't be found is none
            yield _rendered(replace(command, messages=tuple(messages)), tokenizer)
    with contextlib.suppress(RequestError):
        yield _rendered(command, tokenizer, is_open=False)


def _place(prompt: Prompt, other: str, tokenizer: Tokenizer) -> int:
    """Return the last place in a prompt that does not move where the text goes on otherwise."""
    alike = _alike(prompt.rendered, other)
    count = bisect.bisect_right(prompt.ends, alike)
    if count < len(prompt.ids) and tokenizer.is_special(prompt.ids[count]):
        return count
    special = (i for i in range(count - 1, -1, -1) if tokenizer.is_special(prompt.ids[i]))
    return next(special, max(0, count - 1))


def _alike(one: str, other: str) -> int:
    """Return how many characters two texts begin alike with."""
    sizes = range(min(len(one), len(other)))
    return bisect.bisect_left(sizes, 1, key=lambda size: int(one[: size + 1] != other[: size + 1]))


def _rendered(command: Generate, tokenizer: Tokenizer, *, is_open: bool = True) -> str:
    return tokenizer.render(
        command.messages, command.tools, command.template_options, is_open=is_open
    )


def _check_ids(ids: tuple[int, ...], vocabulary: int) -> None:
    odd = next((token for token in ids if not 0 <= token < vocabulary), None)
    if odd is not None:
        raise RequestError(
            f"prompt_ids: there is no token {odd}", f"the model's are 0 to {vocabulary - 1}"
        )
