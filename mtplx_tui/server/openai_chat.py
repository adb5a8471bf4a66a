"""/v1/chat/completions: the answer as OpenAI's clients read it, whole or as a stream."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any

from engine.protocol import Channel
from mtplx_tui.server import sse
from mtplx_tui.server.ask import Call
from mtplx_tui.server.choice import Choice
from mtplx_tui.server.exchange import Exchange
from mtplx_tui.server.faults import Fault, openai_body
from mtplx_tui.server.steps import Ended, PieceLogprob, Read, Said, Step

__all__ = ["ChatAnswer", "facts", "logprob_of", "openai_usage"]


class ChatAnswer:
    """See the module.

    Args:
        exchange: that is answered.
        has_both_fields: whether `reasoning` goes beside `reasoning_content`.
    """

    def __init__(self, exchange: Exchange, *, has_both_fields: bool) -> None:
        self._exchange = exchange
        self._has_both = has_both_fields
        self._id = f"chatcmpl-{secrets.token_hex(12)}"
        self._created = int(time.time())
        self._calls = [0] * len(exchange.choices)
        self._has_usage = exchange.ask.has_usage

    # Whole

    def document(self) -> dict[str, Any]:
        """Return the whole answer."""
        return {
            **self._head("chat.completion"),
            "choices": [self._choice(choice) for choice in self._exchange.choices],
            "usage": openai_usage(self._exchange),
            "mtplx": facts(self._exchange),
        }

    def _head(self, kind: str) -> dict[str, Any]:
        model = self._exchange.ask.model
        return {"id": self._id, "object": kind, "created": self._created, "model": model}

    def _choice(self, choice: Choice) -> dict[str, Any]:
        calls = [_call(part) for part in choice.parts if isinstance(part, Call)]
        message: dict[str, Any] = {
            "role": "assistant",
            "content": _text(choice, Channel.ANSWER) or (None if calls else ""),
            "refusal": None,
        }
        reasoning = _text(choice, Channel.REASONING)
        if reasoning:
            message.update(self._reasoning(reasoning))
        if calls:
            message["tool_calls"] = calls
        has_logprobs = self._exchange.ask.logprobs is not None
        return {
            "index": choice.index,
            "message": message,
            "finish_reason": choice.ended.finish if choice.ended else None,
            "logprobs": _logprobs(choice.logprobs) if has_logprobs else None,
        }

    def _reasoning(self, text: str) -> dict[str, str]:
        both = {"reasoning": text} if self._has_both else {}
        return {"reasoning_content": text, **both}

    # Stream

    def begin(self) -> list[bytes]:
        """Return what comes first."""
        head = {"role": "assistant", "content": ""}
        name = {"mtplx": {"request": self._exchange.name}}
        return [self._chunk(choice.index, head, **name) for choice in self._exchange.choices]

    def step(self, step: Step) -> list[bytes]:
        """Return what a cycle brought."""
        deltas = [self._delta(step.choice, part) for part in step.parts]
        if not step.logprobs:
            return [self._chunk(step.choice, delta) for delta in deltas]
        deltas = deltas or [{"content": ""}]
        told = {"logprobs": _logprobs(step.logprobs)}
        first = self._chunk(step.choice, deltas[0], told)
        return [first, *(self._chunk(step.choice, delta) for delta in deltas[1:])]

    def _delta(self, choice: int, part: Said | Call) -> dict[str, Any]:
        if isinstance(part, Call):
            number = self._calls[choice]
            self._calls[choice] += 1
            return {"tool_calls": [{"index": number, **_call(part)}]}
        if part.channel is Channel.REASONING:
            return self._reasoning(part.text)
        return {"content": part.text}

    def ended(self, ended: Ended) -> list[bytes]:
        """Return what says that a choice is complete."""
        return [self._chunk(ended.choice, {}, {"finish_reason": ended.finish})]

    def end(self) -> list[bytes]:
        """Return what comes last."""
        last: dict[str, Any] = {"choices": [], "mtplx": facts(self._exchange)}
        last["usage"] = openai_usage(self._exchange)
        chunk = sse.plain({**self._head("chat.completion.chunk"), **last})
        return [chunk, sse.DONE] if self._has_usage else [sse.DONE]

    def alive(self, read: Read) -> list[bytes]:
        """Return a sign of life."""
        return [sse.comment(f"keepalive {read.done}/{read.total}")]

    def empty(self) -> list[bytes]:
        """Return a sign of life for clients that count parsed events alone."""
        return [self._chunk(0, {"content": ""})]

    def failed(self, fault: Fault) -> list[bytes]:
        """Return an error after the headers."""
        return [sse.plain(openai_body(fault))]

    def _chunk(
        self, choice: int, delta: dict[str, Any], more: dict[str, Any] | None = None, **extra: Any
    ) -> bytes:
        one = {"index": choice, "delta": delta, "finish_reason": None, "logprobs": None}
        chunk = {**self._head("chat.completion.chunk"), "choices": [{**one, **(more or {})}]}
        if self._has_usage:
            chunk["usage"] = None
        return sse.plain({**chunk, **extra})


def facts(exchange: Exchange) -> dict[str, Any]:
    """Return the documented extra field: what speculation did."""
    told = [choice.facts() for choice in exchange.choices]
    left_out = {"left_out": exchange.ask.left_out} if exchange.ask.left_out else {}
    return {"request": exchange.name, **left_out, "choices": told}


def openai_usage(exchange: Exchange) -> dict[str, Any]:
    """Return the tokens of a request."""
    usage = exchange.usage()
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "accepted_prediction_tokens": usage.accepted,
            "rejected_prediction_tokens": usage.drafted - usage.accepted,
        },
    }


def _call(call: Call) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _text(choice: Choice, channel: Channel) -> str:
    return "".join(
        part.text for part in choice.parts if isinstance(part, Said) and part.channel is channel
    )


def _logprobs(found: Sequence[PieceLogprob]) -> dict[str, Any]:
    return {"content": [logprob_of(each) for each in found], "refusal": None}


def logprob_of(each: PieceLogprob, unknown: list[int] | None = None) -> dict[str, Any]:
    """Return what was told of a token, with the likeliest in its place.

    Args:
        each: the token.
        unknown: in place of the bytes of one that is part of a character.
    """
    told = each.logprob
    tops = zip(told.top_pieces, told.top_logprobs, strict=True)
    return {
        **_token(each.piece, told.logprob, unknown),
        "top_logprobs": [_token(piece, logprob, unknown) for piece, logprob in tops],
    }


def _token(piece: str, logprob: float, unknown: list[int] | None) -> dict[str, Any]:
    is_known = "\ufffd" not in piece
    told = list(piece.encode("utf-8", "replace")) if is_known else unknown
    return {"token": piece, "logprob": max(logprob, -9999.0), "bytes": told}
