"""What the model is given: a command's prompt as text and as tokens."""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import RequestError
from engine.model.load import LoadedModel
from engine.model.tokenizer import Tokenizer
from engine.protocol import Generate

__all__ = ["Prompt", "read_prompt_of"]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt."""

    text: str
    """As the chat template gave it; what the ids read as where they were given."""
    ids: tuple[int, ...]


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
    return Prompt(tokenizer.shown(text), tuple(tokenizer.encode(text, is_rendered=True)))


def _rendered(command: Generate, tokenizer: Tokenizer) -> str:
    return tokenizer.render(command.messages, command.tools, command.template_options)


def _check_ids(ids: tuple[int, ...], vocabulary: int) -> None:
    odd = next((token for token in ids if not 0 <= token < vocabulary), None)
    if odd is not None:
        raise RequestError(
            f"prompt_ids: there is no token {odd}", f"the model's are 0 to {vocabulary - 1}"
        )
