"""What the server tells of one request, while it runs and after."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Phase", "ServedRequest"]


class Phase(StrEnum):
    """Where a request is."""

    QUEUED = "queued"
    READING = "reading"
    """Its prompt goes into the caches."""
    WRITING = "writing"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ServedRequest:
    """See the module. Figures of several choices are summed."""

    id: str
    api: str
    """chat, completions, responses or messages."""
    client: str
    """As it names itself; empty where it does not."""
    model: str
    phase: Phase
    began_at: float
    """Seconds since 1970."""
    is_streamed: bool
    prompt_tokens: int
    cached_tokens: int
    """Of the prompt: found in the prefix cache."""
    read_tokens: int
    """Of the prompt: in the request's caches so far."""
    completion_tokens: int
    tokens_per_s: float | None
    tokens_per_cycle: float | None
    saved_s: float | None
    """Against plain decoding, as measured; None where it was not."""
    first_token_s: float | None
    total_s: float | None
    note: str
    """How it ended, or what was wrong."""
