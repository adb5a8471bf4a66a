"""What commands and events are made of. Standard library only."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "MAX_DEPTH",
    "MAX_LOGPROBS",
    "Channel",
    "ChatMessage",
    "Constraints",
    "Ended",
    "ErrorInfo",
    "Finish",
    "GrammarKind",
    "HeadInfo",
    "Mode",
    "ModelInfo",
    "Role",
    "Sampling",
    "TokenBias",
    "ToolCall",
    "check_depth",
    "check_object",
]

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
    TOOL = "tool"
    """What a tool that the assistant called gave back."""


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


class GrammarKind(StrEnum):
    """What a grammar is written in."""

    JSON_SCHEMA = "json_schema"
    LARK = "lark"
    """llguidance's own; it can embed JSON schemas and name special tokens."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the assistant made in an earlier turn."""

    name: str
    arguments: str
    """A JSON object; its keys keep their order. Raises ValueError where it is none."""
    id: str = ""

    def __post_init__(self) -> None:
        check_object("the arguments of a tool call", self.arguments)


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a conversation, as the chat template sees it."""

    role: Role
    content: str
    reasoning: str = ""
    """What an assistant thought before it answered; templates know it as reasoning_content."""
    tool_calls: tuple[ToolCall, ...] = ()
    """Of an assistant."""
    tool_call_id: str = ""
    """Of a tool's result: the call it answers."""
    name: str = ""
    """Of a tool's result: the tool; empty leaves it out."""


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


def check_object(what: str, text: str) -> None:
    """Raise ValueError unless a text is a JSON object."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what} must be JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{what} must be a JSON object, not {text[:60]}")


def check_depth(depth: int | None) -> None:
    """Raise ValueError unless depth is automatic (None) or one the engine can draft to."""
    if depth is not None and not 0 <= depth <= MAX_DEPTH:
        raise ValueError(f"depth must be between 0 and {MAX_DEPTH}, not {depth}")


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """An error as a person reads it."""

    message: str
    """What was wrong, one line."""
    remedy: str
    """What to do about it, one line; may be empty."""
    exit_code: int = 1


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
    chat_template: str = ""
    """Its text, which tells how the model writes tool calls; empty where there is none."""
    kernel_note: str = ""
    """Which kernel is left out though there is a GPU, and why; empty where none is."""
