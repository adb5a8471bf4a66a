"""What the engine tells: facts, never rates."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from engine.protocol.certificates import Certificate
from engine.protocol.values import Ended, ErrorInfo, Finish, Mode, ModelInfo, Sampling
from engine.protocol.windows import TextRun, TokenLogprob, WindowDetail

__all__ = [
    "CertifyDone",
    "CertifyProgress",
    "CycleDone",
    "DepthSet",
    "EngineFailed",
    "EngineStarted",
    "LoadCancelled",
    "LoadFailed",
    "LoadProgress",
    "ModelLoaded",
    "PrefillProgress",
    "PrefixReused",
    "PrefixesKept",
    "PromptShown",
    "RequestDone",
    "RequestFailed",
    "RequestStarted",
    "Reread",
    "TokensCounted",
]


@dataclass(frozen=True, slots=True)
class EngineStarted:
    """First event of an engine process."""

    protocol: int
    pid: int
    device: str
    """cpu, metal or cuda."""
    mlx: str
    mlx_lm: str
    blas: str
    """The matrix library in use on a CPU: stock, or the name and version of another."""
    blas_note: str
    """Why an optimised one is not in use though it was wanted; empty otherwise."""


@dataclass(frozen=True, slots=True)
class EngineFailed:
    """Only event of an engine process that can't work here; the process then ends."""

    error: ErrorInfo


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """How far a load is."""

    request: str
    stage: str
    done: int
    total: int
    """0 where the amount is not known."""


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """The load came to nothing; no model is loaded now."""

    request: str
    error: ErrorInfo


@dataclass(frozen=True, slots=True)
class LoadCancelled:
    """CancelLoad took effect; no model is loaded now."""

    request: str


@dataclass(frozen=True, slots=True)
class ModelLoaded:
    """The load succeeded."""

    request: str
    model: ModelInfo


@dataclass(frozen=True, slots=True)
class RequestStarted:
    """A request was taken; its prompt is known."""

    request: str
    model: str
    prompt_tokens: int
    sampling: Sampling
    seed: int
    depth: int | None
    """None: automatic; 0 where the model has no head, whatever was asked for."""
    mode: Mode
    max_tokens: int
    """The limit in force, the context's end counted in."""


class Reread(StrEnum):
    """Why what follows the reused tokens of a prompt was read."""

    OFF = "off"
    """The request asked for it, or this model's caches can't be shared."""
    NEW = "new"
    """Nothing that is kept begins like this prompt."""
    APPENDED = "appended"
    """The prompt goes on where what is kept ends."""
    DIFFERS = "differs"
    """What is kept goes on with another token."""
    DROPPED = "dropped"
    """It was kept once, and dropped for want of room."""


@dataclass(frozen=True, slots=True)
class PrefixReused:
    """How much of a prompt was in the cache; once a request, before its first PrefillProgress."""

    request: str
    reused: int
    """Prompt tokens taken over; the rest of `prompt_tokens` is read."""
    matched: int
    """Prompt tokens in common with the closest text that is kept; `reused` or more, since a
    state can be gone back to at some places only."""
    why: Reread
    before: str
    """The text right before position `matched`, some words of it; empty unless they differ."""
    was: str
    """The token there in what is kept; empty unless they differ."""
    now: str
    """The token there in the prompt; empty unless they differ."""


@dataclass(frozen=True, slots=True)
class PrefillProgress:
    """Prompt tokens in the caches so far, those reused counted in."""

    request: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class DepthSet:
    """SetDepth took effect: the depth of the next cycle, None where it is automatic."""

    request: str
    depth: int | None


@dataclass(frozen=True, slots=True)
class CycleDone:
    """One cycle: draft, verify, accept, commit."""

    request: str
    cycle: int
    """Counts from 0 within the request."""
    depth: int
    """How many were drafted; 0 is plain decoding."""
    drafted: tuple[int, ...]
    drafted_pieces: tuple[str, ...]
    """What each drafted token alone would read as, beside `drafted`."""
    accepted: int
    """Drafts accepted, before any stop cut the run."""
    emitted: tuple[int, ...]
    """Token ids: the accepted drafts and one more, unless a stop cut the run."""
    emitted_pieces: tuple[str, ...]
    ended: Ended
    runs: tuple[TextRun, ...]
    """Text that became readable in this cycle; it may lag behind `emitted`."""
    draft_s: float
    verify_s: float
    accept_s: float
    total_s: float
    """Wall time of the cycle; what is left of it beside the other three is the host's."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """Beside `emitted`; empty unless asked for."""
    detail: WindowDetail | None = None
    """None unless SetDetail asked for it."""
    graphs_built: int = 0
    """Passes that had to be built as graphs in this cycle, before they can be repeated; 0 on a CPU."""


@dataclass(frozen=True, slots=True)
class RequestDone:
    """A request ended in order."""

    request: str
    finish: Finish
    completion_tokens: int
    prefill_s: float
    first_token_s: float
    """From the command's arrival to the first emitted token; 0 where there was none."""
    total_s: float
    """From the command's arrival to the end."""
    runs: tuple[TextRun, ...] = ()
    """Text held back until the end: a half character, or a stop string that did not come."""
    stop: str = ""
    """The stop string that ended it; empty where a token did, or something else."""
    reasoning_tokens: int = 0
    """How many of the completion's tokens were reasoning, its marks counted in."""


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """A request ended by an error."""

    request: str
    error: ErrorInfo


@dataclass(frozen=True, slots=True)
class CertifyProgress:
    """How far a certificate is."""

    request: str
    stage: str
    done_s: float
    budget_s: float


@dataclass(frozen=True, slots=True)
class CertifyDone:
    """A certificate, whatever it says."""

    request: str
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class TokensCounted:
    """What CountTokens asked for."""

    request: str
    tokens: int
    error: ErrorInfo | None = None
    """Why there is no count; None where there is one."""


@dataclass(frozen=True, slots=True)
class PromptShown:
    """What the model saw of a request, before its answer."""

    request: str
    text: str
    """As the chat template gave it; what the ids read as where they were given."""
    token_ids: tuple[int, ...]
    """Empty where this is not known any more: the newest requests' alone are."""
    pieces: tuple[str, ...]
    """What each token alone reads as."""


@dataclass(frozen=True, slots=True)
class PrefixesKept:
    """What the cache of prefixes holds; told when a request has ended, and after LimitPrefixes."""

    entries: int
    """Places that a prompt can go on from."""
    tokens: int
    memory_bytes: int
    memory_limit_bytes: int
    disk_bytes: int
    note: str
    """Why nothing is kept, or nothing written to the disk, though it was wanted; may be empty."""
