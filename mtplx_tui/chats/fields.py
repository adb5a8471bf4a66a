"""Fields of a chat's records, each checked as it is read."""

from __future__ import annotations

from engine.protocol import Mode
from mtplx_tui.chats.model import AnswerFacts
from mtplx_tui.requests import Options

__all__ = ["facts_of", "number_of", "options_of", "text_of"]


def text_of(record: dict[str, object], name: str, otherwise: str | None = None) -> str:
    """Return a text. Raises ValueError where it is missing and there is none otherwise."""
    value = record.get(name, otherwise)
    if not isinstance(value, str):
        raise ValueError(f"{name} is missing or no text")
    return value


def number_of(record: dict[str, object], name: str) -> float:
    """Return a number. Raises ValueError where it is none."""
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name} is missing or no number")
    return value


def _optional_number(record: dict[str, object], name: str) -> float | None:
    return None if record.get(name) is None else number_of(record, name)


def _whole_number(record: dict[str, object], name: str) -> int:
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name} is missing or no whole number")
    return value


def _optional_whole_number(record: dict[str, object], name: str) -> int | None:
    return None if record.get(name) is None else _whole_number(record, name)


def _table(record: dict[str, object], name: str) -> dict[str, object]:
    value = record.get(name)
    if not isinstance(value, dict):
        raise ValueError(f"{name} is missing or no table")
    return dict[str, object](value)


def options_of(record: dict[str, object]) -> Options:
    """Return what an answer was, or is to be, made with. Raises ValueError where it is damaged."""
    fields = _table(record, "options")
    stop = fields.get("stop", [])
    if not isinstance(stop, list) or not all(isinstance(text, str) for text in stop):
        raise ValueError("stop is no list of texts")
    return Options(
        system=None if fields.get("system") is None else text_of(fields, "system"),
        temperature=_optional_number(fields, "temperature"),
        top_p=_optional_number(fields, "top_p"),
        top_k=_optional_whole_number(fields, "top_k"),
        min_p=_optional_number(fields, "min_p"),
        seed=_optional_whole_number(fields, "seed"),
        depth=_optional_whole_number(fields, "depth"),
        mode=Mode(text_of(fields, "mode")),
        max_tokens=_optional_whole_number(fields, "max_tokens"),
        stop=tuple(str(text) for text in stop),
    )


def facts_of(record: dict[str, object]) -> AnswerFacts | None:
    """Return how an answer was made; None where that is not told. Raises ValueError if damaged."""
    if record.get("facts") is None:
        return None
    fields = _table(record, "facts")
    return AnswerFacts(
        model=text_of(fields, "model"),
        tokens=_whole_number(fields, "tokens"),
        cycles=_whole_number(fields, "cycles"),
        depth=_optional_whole_number(fields, "depth"),
        tokens_per_s=_optional_number(fields, "tokens_per_s"),
        tokens_per_cycle=_optional_number(fields, "tokens_per_cycle"),
        prompt_tokens=_whole_number(fields, "prompt_tokens"),
        first_token_s=number_of(fields, "first_token_s"),
        saved_s=_optional_number(fields, "saved_s"),
        saved_doubt_s=_optional_number(fields, "saved_doubt_s"),
    )
