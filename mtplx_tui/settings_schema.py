"""Every setting of config.toml, once: its type, default, explanation, and when a change takes effect.

Reading, saving, the settings screen and `docs/settings.md` are made from this table. Knows no file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, TypeVar

from engine.protocol import MAX_DEPTH, Mode
from mtplx_tui.setting_kinds import Choice, Flag, Kind, Number, Size, Text, Whole

__all__ = ["SCHEMA", "Effect", "Setting", "Settings"]

Value = TypeVar("Value")


class Effect(StrEnum):
    """When a change counts."""

    AT_ONCE = "at once"
    NEXT_ANSWER = "from the next answer on"
    NEXT_CHAT = "in the next new chat"
    NEXT_SERVER = "when the server is started next"
    NEXT_START = "at the next start"


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table."""

    name: str
    """The key in config.toml, and the field of Settings."""
    default: Any
    kind: Kind
    group: str
    explanation: str
    effect: Effect
    variable: str = ""
    """Of the environment, which goes before the file; empty for none."""
    is_of_model: bool = False
    """Left open, it is the loaded model's own."""

    @property
    def allowed(self) -> str:
        """What may be written in the file, in words."""
        word = f", or {self.kind.word}" if self.kind.word else ""
        return f"{self.kind.words}{word}"

    def check(self, value: object) -> object:
        """Return what a value of the file stands for. Raises ValueError: what it must be."""
        if self.kind.word and value == self.kind.word:
            return None
        try:
            return self.kind.check(value)
        except ValueError:
            raise ValueError(f"must be {self.allowed}") from None

    def read(self, text: str) -> object:
        """Return what a typed text stands for. Raises ValueError: what it must be."""
        text = text.strip()
        try:
            return self.check(text if text == self.kind.word else self.kind.read(text))
        except ValueError:
            raise ValueError(f"must be {self.allowed}") from None

    def shown(self, value: object) -> str:
        """Return a value as a person types it."""
        if value is None:
            return self.kind.word or "none"
        if isinstance(value, bool):
            return "true" if value else "false"
        return f"{value:g}" if isinstance(value, float) else str(value)


def _set(
    default: Value,
    kind: Kind,
    group: str,
    effect: Effect,
    explanation: str,
    **more: object,
) -> Value:
    columns: Mapping[str, object] = {
        "kind": kind,
        "group": group,
        "effect": effect,
        "explanation": explanation,
        **more,
    }
    return field(default=default, metadata=columns)


MODEL, ANSWERS, SCREEN = "Model and speculation", "Answers", "Screen"
CACHE, NETWORK = "What is kept of prompts", "Downloads and server"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a person can set in config.toml."""

    last_model: str | None = _set(
        None,
        Text(),
        MODEL,
        Effect.NEXT_START,
        "The model opened when none is named: a folder, owner/name, or demo. "
        "The app keeps the model loaded last here.",
    )
    depth: int | None = _set(
        None,
        Whole(0, MAX_DEPTH, word="auto"),
        MODEL,
        Effect.AT_ONCE,
        "Tokens drafted in a cycle. 0 is plain decoding; auto lets the engine choose "
        "by what drafts cost and how many are accepted.",
    )
    mode: Mode = _set(  # noqa: RUF009 - makes a field, of an enum's member
        Mode.TOKEN,
        Choice(tuple(Mode)),
        MODEL,
        Effect.NEXT_ANSWER,
        "How drafts are judged. All three are exact; seeded gives the same text "
        "for the same seed at every depth.",
    )
    blas: str = _set(
        "auto",
        Choice(("auto", "stock")),
        MODEL,
        Effect.NEXT_START,
        "The matrix library of the engine on a Linux CPU: auto takes the fastest that "
        "is installed, stock is the one that came with MLX.",
        variable="MTPLX_TUI_BLAS",
    )
    temperature: float | None = _set(
        None,
        Number(0, 100, word="model"),
        ANSWERS,
        Effect.NEXT_CHAT,
        "How much chance has a say in an answer; 0 always takes the likeliest token.",
        is_of_model=True,
    )
    top_p: float | None = _set(
        None,
        Number(0, 1, word="model", is_above=True),
        ANSWERS,
        Effect.NEXT_CHAT,
        "Only the likeliest tokens are drawn from, as many as have this share "
        "of the probability together; 1 is all.",
        is_of_model=True,
    )
    top_k: int | None = _set(
        None,
        Whole(0, 1_000_000, word="model"),
        ANSWERS,
        Effect.NEXT_CHAT,
        "Only so many of the likeliest tokens are drawn from; 0 is all.",
        is_of_model=True,
    )
    min_p: float | None = _set(
        None,
        Number(0, 1, word="model"),
        ANSWERS,
        Effect.NEXT_CHAT,
        "Tokens less likely than this share of the likeliest one are left out; 0 leaves out none.",
        is_of_model=True,
    )
    max_tokens: int | None = _set(
        None,
        Whole(1, 10_000_000, word="none"),
        ANSWERS,
        Effect.NEXT_CHAT,
        "The most tokens of an answer; none goes on to the end of the context.",
    )
    theme: str = _set(
        "auto",
        Text(),
        SCREEN,
        Effect.AT_ONCE,
        "The colours; auto suits them to the terminal. "
        "A terminal of sixteen colours keeps its own.",
    )
    feed_hz: int = _set(
        10,
        Whole(1, 10),
        SCREEN,
        Effect.AT_ONCE,
        "How often a streaming answer is drawn, in a second; less suits a slow line.",
    )
    notify: bool = _set(
        True,  # noqa: FBT003 - a default
        Flag(),
        SCREEN,
        Effect.AT_ONCE,
        "Whether the terminal is told when a long answer or a download ends unseen.",
    )
    restore: bool = _set(
        True,  # noqa: FBT003 - a default
        Flag(),
        SCREEN,
        Effect.NEXT_START,
        "Whether a start goes back to where the last one ended: tab, chat and unsent text.",
    )
    prefix_memory: str | None = _set(
        None,
        Size("4GB", word="auto", has_zero=True),
        CACHE,
        Effect.AT_ONCE,
        "Memory for prompts and answers that later ones may begin with; "
        "auto is a share of the machine's, 0 keeps nothing.",
    )
    prefix_disk: str = _set(
        "0",
        Size("20GB", has_zero=True),
        CACHE,
        Effect.AT_ONCE,
        "The same on the disk, where it outlives the engine; 0 writes nothing.",
    )
    download_limit: str | None = _set(
        None,
        Size("20MB", word="none"),
        NETWORK,
        Effect.AT_ONCE,
        "Bytes a second of all downloads together.",
    )
    server_host: str = _set(
        "127.0.0.1",
        Text(),
        NETWORK,
        Effect.NEXT_SERVER,
        "The address the server listens at. One that other machines reach, such as 0.0.0.0, "
        "makes its key needed.",
    )
    server_port: int = _set(
        8080,
        Whole(0, 65535),
        NETWORK,
        Effect.NEXT_SERVER,
        "The port the server listens at; 0 takes any that is free.",
    )


SCHEMA: Mapping[str, Setting] = {
    each.name: Setting(each.name, each.default, **each.metadata) for each in fields(Settings)
}
"""By name, in the order they are shown in."""
