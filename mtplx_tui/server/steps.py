"""What becomes of a request, choice by choice, as the translation of each API gets it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engine.protocol import Channel, ErrorInfo, TokenLogprob
from mtplx_tui.server.ask import Call

__all__ = ["Ended", "Failed", "FinishWord", "Part", "PieceLogprob", "Read", "Said", "Step"]

FinishWord = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True)
class Said:
    """A piece of text."""

    channel: Channel
    text: str


Part = Said | Call
"""Text, or a whole call: a call that is half there is no part yet."""


@dataclass(frozen=True, slots=True)
class PieceLogprob:
    """A token of the answer, what it reads as, and its log-probability."""

    piece: str
    logprob: TokenLogprob


@dataclass(frozen=True, slots=True)
class Step:
    """What one cycle brought."""

    choice: int
    parts: tuple[Part, ...]
    logprobs: tuple[PieceLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Read:
    """How far the prompt is read."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Ended:
    """A choice is complete."""

    choice: int
    finish: FinishWord
    stop: str | None
    """The stop string that ended it."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The request came to nothing."""

    error: ErrorInfo
