"""What an event tells of a window: its text, log-probabilities and what judged it."""

from __future__ import annotations

from dataclasses import dataclass

from engine.protocol.values import Channel

__all__ = [
    "Candidate",
    "DraftDetail",
    "TextRun",
    "TokenLogprob",
    "WindowDetail",
]


@dataclass(frozen=True, slots=True)
class TextRun:
    """A piece of the answer's text, whole characters only."""

    channel: Channel
    text: str


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """What the model itself gave an emitted token: the log-softmax of its raw logits.

    Before any bias, penalty, temperature, truncation or grammar, as plain decoding has it.
    """

    token: int
    logprob: float
    top_ids: tuple[int, ...]
    """The likeliest tokens, likeliest first; as many as were asked for."""
    top_pieces: tuple[str, ...]
    top_logprobs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One token of a distribution."""

    token: int
    piece: str
    """What it alone would read as."""
    prob: float


@dataclass(frozen=True, slots=True)
class DraftDetail:
    """What one draft was judged by."""

    target_prob: float
    """What plain decoding would have drawn it with."""
    draft_prob: float
    """What it was drawn with; 1 where the likeliest token was taken."""
    uniform: float | None
    """In [0, 1); None in seeded mode, where the target's own draw is the judge."""
    reach: float | None
    """The block rule's p_i: the chance that this many drafts or more are accepted; None where
    another rule judged."""
    chance: float | None
    """The block rule's h_i: the run up to this draft passes where the uniform is below it."""
    target_top: tuple[Candidate, ...]
    """Likeliest first; as many as have a probability, five at most."""
    draft_top: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class WindowDetail:
    """What a window was judged by."""

    drafts: tuple[DraftDetail, ...]
    """Beside `drafted`."""
    next_prob: float
    """What the token after the accepted drafts was drawn with."""
    next_uniform: float | None
    """That drew it; None in seeded mode."""
    next_top: tuple[Candidate, ...]
    """Likeliest first: of the residual after a reject, else of the trunk's own row."""
