"""What crosses the door between a front end and the engine process: commands in, events out.

Everything here is frozen and made of str, int, float, bool, None, enums, tuples and other
frozen dataclasses, so a message can neither change on the way nor hide an array. Events carry
facts, never rates; whoever wants a rate computes it (`mtplx_tui.view`). Standard library only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "COMMANDS",
    "EVENTS",
    "MAX_DEPTH",
    "MAX_LOGPROBS",
    "PROTOCOL_VERSION",
    "Cancel",
    "CancelLoad",
    "Candidate",
    "Certificate",
    "Certify",
    "CertifyDone",
    "CertifyProgress",
    "Channel",
    "ChatMessage",
    "CheckResult",
    "Command",
    "Constraints",
    "CycleDone",
    "DepthSet",
    "DraftDetail",
    "Ended",
    "EngineFailed",
    "EngineStarted",
    "ErrorInfo",
    "Event",
    "Finish",
    "Generate",
    "HeadInfo",
    "LawCheck",
    "LoadCancelled",
    "LoadFailed",
    "LoadModel",
    "LoadProgress",
    "Mode",
    "ModelInfo",
    "ModelLoaded",
    "PrefillProgress",
    "RequestDone",
    "RequestFailed",
    "RequestStarted",
    "Role",
    "Sampling",
    "SetDepth",
    "SetDetail",
    "Shutdown",
    "TextRun",
    "TokenBias",
    "TokenLogprob",
    "Verdict",
    "WindowDetail",
    "check_depth",
]

PROTOCOL_VERSION = 3
MAX_DEPTH = 8
MAX_LOGPROBS = 20


class Mode(StrEnum):
    """How drafts are judged. Every mode is exact; temperature 0 is greedy in each of them."""

    TOKEN = "token"
    """The ratio rule with residual and bonus (Leviathan et al. 2023)."""
    BLOCK = "block"
    """The window judged as a whole; never accepts fewer drafts on average (Sun et al. 2024)."""
    SEEDED = "seeded"
    """The same noise for draft and target: the text depends on the seed, never on the depth."""


class Role(StrEnum):
    """Who says a chat message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class Channel(StrEnum):
    """Which part of an answer a piece of text belongs to."""

    ANSWER = "answer"
    REASONING = "reasoning"


class Ended(StrEnum):
    """How the last token of a cycle came about."""

    PLAIN = "plain"
    """Depth 0: the one token, drawn from the trunk."""
    BONUS = "bonus"
    """All drafts were accepted; one more token was drawn from the trunk."""
    RESIDUAL = "residual"
    """A draft was rejected; the token in its place (in seeded mode the target's own draw)."""
    STOP = "stop"
    """A stop token or stop string cut the run; what came after it is not in `emitted`."""
    LENGTH = "length"
    """The token that used up max_tokens or the context, whatever else it was."""


class Finish(StrEnum):
    """Why a request ended."""

    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a conversation, as the chat template sees it."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """What plain decoding would draw from. Raises ValueError naming the field and its range."""

    temperature: float = 0.6
    """0 is greedy."""
    top_p: float = 0.95
    """1 keeps everything."""
    top_k: int = 20
    """0 keeps everything."""
    min_p: float = 0.0
    """Least probability kept, relative to the most probable token; 0 keeps everything."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and 0 <= self.temperature <= 100):
            raise ValueError(f"temperature must be between 0 and 100, not {self.temperature:g}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, not {self.top_p:g}")
        if self.top_k < 0:
            raise ValueError(f"top_k must be 0 (off) or more, not {self.top_k}")
        if not 0 <= self.min_p <= 1:
            raise ValueError(f"min_p must be between 0 and 1, not {self.min_p:g}")


@dataclass(frozen=True, slots=True)
class TokenBias:
    """What is added to one token's logit."""

    token: int
    bias: float


@dataclass(frozen=True, slots=True)
class Constraints:
    """What bends the logits by what came before. Raises ValueError naming the field.

    Penalties are those of Keskar et al. 2019 (repetition) and of OpenAI's API (presence,
    frequency). Where bans and a grammar leave a place no token, its bans are lifted.
    """

    repetition_penalty: float = 1.0
    """Divides positive logits, multiplies negative ones, of tokens in prompt or answer."""
    presence_penalty: float = 0.0
    """Taken off the logit of every token the answer holds already."""
    frequency_penalty: float = 0.0
    """Taken off once for each time the answer holds the token."""
    logit_bias: tuple[TokenBias, ...] = ()
    min_tokens: int = 0
    """Tokens before a stop token may come."""
    banned: tuple[tuple[int, ...], ...] = ()
    """Runs of token ids that the answer, its prompt counted in, never completes."""

    def __post_init__(self) -> None:
        if not 0.01 <= self.repetition_penalty <= 100:
            raise ValueError(
                f"repetition penalty must be between 0.01 and 100, not {self.repetition_penalty:g}"
            )
        for name in ("presence_penalty", "frequency_penalty"):
            value = getattr(self, name)
            if not -100 <= value <= 100:
                raise ValueError(
                    f"{name.replace('_', ' ')} must be between -100 and 100, not {value:g}"
                )
        if self.min_tokens < 0:
            raise ValueError(f"min_tokens must be 0 or more, not {self.min_tokens}")
        if not all(self.banned):
            raise ValueError("a banned run of tokens must not be empty")
        self._check_bias()

    def _check_bias(self) -> None:
        tokens = [each.token for each in self.logit_bias]
        for each in self.logit_bias:
            if not -1000 <= each.bias <= 1000:
                raise ValueError(
                    f"the bias of token {each.token} must be between -1000 and 1000, "
                    f"not {each.bias:g}"
                )
        if len(set(tokens)) < len(tokens):
            raise ValueError("logit_bias names a token twice")


def check_depth(depth: int | None) -> None:
    """Raise ValueError unless depth is automatic (None) or one the engine can draft to."""
    if depth is not None and not 0 <= depth <= MAX_DEPTH:
        raise ValueError(f"depth must be between 0 and {MAX_DEPTH}, not {depth}")


@dataclass(frozen=True, slots=True)
class LoadModel:
    """Load a model in place of the one loaded now; requests in flight are cancelled."""

    request: str
    name: str
    """As the person named it; comes back in ModelInfo."""
    path: str
    """Absolute path of a folder with config.json, or of the demo's GGUF file."""


@dataclass(frozen=True, slots=True)
class CancelLoad:
    """Stop the load that this request began; answered by LoadCancelled if it was still going."""

    request: str


@dataclass(frozen=True, slots=True)
class Generate:
    """Complete a prompt. Answered by RequestStarted, CycleDone..., RequestDone."""

    request: str
    messages: tuple[ChatMessage, ...]
    """The conversation, put through the model's chat template; empty where `raw` is given."""
    raw: str | None = None
    """A prompt that bypasses the chat template."""
    sampling: Sampling = Sampling()
    seed: int = 0
    """0 to 2**64 - 1."""
    depth: int | None = None
    """None: chosen cycle by cycle from what past cycles cost and gave."""
    mode: Mode = Mode.TOKEN
    max_tokens: int | None = None
    """None: up to the end of the context."""
    stop: tuple[str, ...] = ()
    constraints: Constraints = Constraints()
    grammar: str | None = None
    """A JSON schema, as JSON, which the answer then fits."""
    logprobs: int | None = None
    """How many likeliest tokens to report beside each emitted one, 0 to MAX_LOGPROBS; None: no
    log-probabilities at all."""

    def __post_init__(self) -> None:
        check_depth(self.depth)
        if self.logprobs is not None and not 0 <= self.logprobs <= MAX_LOGPROBS:
            raise ValueError(f"logprobs must be between 0 and {MAX_LOGPROBS}, not {self.logprobs}")
        least = self.constraints.min_tokens
        if self.max_tokens is not None and least > self.max_tokens:
            raise ValueError(f"min_tokens is {least}, more than max_tokens, {self.max_tokens}")
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed must be between 0 and 2**64 - 1, not {self.seed}")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ValueError(f"max_tokens must be 1 or more, not {self.max_tokens}")
        if any(not text for text in self.stop):
            raise ValueError("a stop string must not be empty")
        if (self.raw is None) == (not self.messages):
            raise ValueError("a prompt is either messages or raw text")


@dataclass(frozen=True, slots=True)
class SetDepth:
    """Draft to another depth from the request's next cycle on; answered by DepthSet."""

    request: str
    depth: int | None
    """None: automatic from now on."""

    def __post_init__(self) -> None:
        check_depth(self.depth)


@dataclass(frozen=True, slots=True)
class SetDetail:
    """From the request's next cycle on tell what windows are judged by, or no more."""

    request: str
    is_on: bool


@dataclass(frozen=True, slots=True)
class Cancel:
    """End a request within one cycle; answered by RequestDone with Finish.CANCELLED."""

    request: str


@dataclass(frozen=True, slots=True)
class Certify:
    """Hold the loaded model to the law; answered by CertifyProgress..., CertifyDone.

    A refusal comes as RequestFailed; Cancel ends it with a certificate of what was done.
    """

    request: str
    budget_s: float = 300.0
    """Wall time, kept to within one step."""
    seed: int = 0
    depth: int = 3

    def __post_init__(self) -> None:
        check_depth(self.depth)
        if not 5 <= self.budget_s <= 86_400:
            raise ValueError(f"the budget must be between 5 s and a day, not {self.budget_s:g} s")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be between 0 and 2**32 - 1, not {self.seed}")
        if self.depth < 2:
            raise ValueError("a certificate needs depth 2 or more, where the rules differ")


@dataclass(frozen=True, slots=True)
class Shutdown:
    """Leave the process. Closing the command pipe does the same."""


Command = LoadModel | CancelLoad | Generate | SetDepth | SetDetail | Cancel | Certify | Shutdown
COMMANDS: tuple[type, ...] = (
    LoadModel,
    CancelLoad,
    Generate,
    SetDepth,
    SetDetail,
    Cancel,
    Certify,
    Shutdown,
)


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """An error as a person reads it."""

    message: str
    """What was wrong, one line."""
    remedy: str
    """What to do about it, one line; may be empty."""
    exit_code: int = 1


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
class HeadInfo:
    """The MTP head in use."""

    family: str
    parameters: int
    weights_bytes: int


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is loaded."""

    name: str
    path: str
    model_type: str
    parameters: int
    weights_bytes: int
    quantization: str
    """For example 'affine 4-bit, group 64'; 'none' where the weights are plain."""
    vocabulary: int
    context: int
    """Positions the model was made for."""
    head: HeadInfo | None
    """None: plain decoding only."""
    head_note: str
    """Why there is no head; empty where there is one."""
    sampling: Sampling
    """The model's own generation_config, else the product's default."""
    has_chat_template: bool
    load_s: float


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


@dataclass(frozen=True, slots=True)
class PrefillProgress:
    """Prompt tokens in the caches so far."""

    request: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class DepthSet:
    """SetDepth took effect: the depth of the next cycle, None where it is automatic."""

    request: str
    depth: int | None


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


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """A request ended by an error."""

    request: str
    error: ErrorInfo


class CheckResult(StrEnum):
    """What one check of a certificate came to."""

    KEPT = "kept"
    BROKEN = "broken"
    UNDECIDED = "undecided"


class Verdict(StrEnum):
    """What a certificate says."""

    EXACT = "exact"
    BROKEN = "broken"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class LawCheck:
    """One law, and how the engine was held to it."""

    name: str
    claim: str
    """What holds where the check is kept; one sentence."""
    result: CheckResult
    samples: int
    statistic: float
    """Chi-squared, a z-score, or a count of errors, as `claim` says."""
    degrees: int
    """Degrees of freedom; 0 where the statistic is none of chi-squared."""
    p: float
    """Chance of such a statistic where the law is kept; 1 where nothing was sampled."""
    least_bias: float
    """Smallest total variation that was sure to be seen; 0 where the check is no sample."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """Whether drafting changes what this model says, on this machine, and what that rests on."""

    verdict: Verdict
    summary: str
    checks: tuple[LawCheck, ...]
    least_bias: float
    """Smallest bias of the rules of acceptance that is excluded; 1 where nothing is."""
    passing_p: float
    """Below it a check is broken."""
    model: str
    path: str
    weights_bytes: int
    sampling: Sampling
    depth: int
    seed: int
    budget_s: float
    took_s: float
    protocol: int
    device: str
    mlx: str
    mlx_lm: str


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


Event = (
    EngineStarted
    | EngineFailed
    | LoadProgress
    | LoadFailed
    | LoadCancelled
    | ModelLoaded
    | RequestStarted
    | PrefillProgress
    | DepthSet
    | CycleDone
    | RequestDone
    | RequestFailed
    | CertifyProgress
    | CertifyDone
)
EVENTS: tuple[type, ...] = (
    EngineStarted,
    EngineFailed,
    LoadProgress,
    LoadFailed,
    LoadCancelled,
    ModelLoaded,
    RequestStarted,
    PrefillProgress,
    DepthSet,
    CycleDone,
    RequestDone,
    RequestFailed,
    CertifyProgress,
    CertifyDone,
)
