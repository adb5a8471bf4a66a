"""What a front end asks of the engine."""

from __future__ import annotations

from dataclasses import dataclass

from engine.protocol.values import (
    MAX_LOGPROBS,
    ChatMessage,
    Constraints,
    GrammarKind,
    Mode,
    Sampling,
    check_depth,
    check_object,
)

__all__ = [
    "Cancel",
    "CancelLoad",
    "Certify",
    "CountTokens",
    "Generate",
    "LimitPrefixes",
    "LoadModel",
    "SetDepth",
    "SetDetail",
    "ShowPrompt",
    "Shutdown",
]

_SAMPLING = Sampling()
_UNBENT = Constraints()


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
    sampling: Sampling = _SAMPLING
    seed: int = 0
    """0 to 2**64 - 1."""
    depth: int | None = None
    """None: chosen cycle by cycle from what past cycles cost and gave."""
    mode: Mode = Mode.TOKEN
    max_tokens: int | None = None
    """None: up to the end of the context."""
    stop: tuple[str, ...] = ()
    constraints: Constraints = _UNBENT
    grammar: str | None = None
    """What the answer then fits, in the language of `grammar_kind`."""
    logprobs: int | None = None
    """How many likeliest tokens to report beside each emitted one, 0 to MAX_LOGPROBS; None: no
    log-probabilities at all."""
    prompt_ids: tuple[int, ...] = ()
    """A prompt as token ids, in place of messages and raw text."""
    tools: tuple[str, ...] = ()
    """What the chat template lists as tools, each a JSON object, its keys in their order."""
    template_options: str = "{}"
    """A JSON object: more names that the chat template reads, such as enable_thinking."""
    grammar_kind: GrammarKind = GrammarKind.JSON_SCHEMA
    has_special_text: bool = False
    """Whether special tokens, other than the one that ends the answer, are part of its text."""
    is_cached: bool = True
    """Whether the prompt may begin with what was read before, and what is read here is kept."""

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
        if (self.raw is not None) + bool(self.messages) + bool(self.prompt_ids) != 1:
            raise ValueError("a prompt is either messages, or raw text, or token ids")
        if self.tools and not self.messages:
            raise ValueError("tools go with messages: a raw prompt lists its own")
        check_object("template_options", self.template_options)
        for tool in self.tools:
            check_object("a tool", tool)


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
class CountTokens:
    """Tell how long a command's prompt is, and generate nothing; answered by TokensCounted."""

    request: str
    command: Generate


@dataclass(frozen=True, slots=True)
class ShowPrompt:
    """Tell what the model saw of a request, also of one that ended; answered by PromptShown."""

    request: str


@dataclass(frozen=True, slots=True)
class LimitPrefixes:
    """Bound what is kept of prompts and answers for later ones; answered by PrefixesKept."""

    memory_bytes: int | None = None
    """None: a share of the machine's memory; 0 keeps nothing."""
    disk_bytes: int = 0
    """0: nothing is written to the disk."""
    disk_bytes_per_hour: int = 8 * 2**30
    """Once so much was written within an hour, nothing more is."""
    disk_free_bytes: int = 10 * 2**30
    """Nothing is written that would leave less free on the disk."""

    def __post_init__(self) -> None:
        for name in ("memory_bytes", "disk_bytes", "disk_bytes_per_hour", "disk_free_bytes"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)}")


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
