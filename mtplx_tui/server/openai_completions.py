"""/v1/completions: the answer as OpenAI's clients read it, whole or as a stream."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from mtplx_tui.server import sse
from mtplx_tui.server.ask import Call
from mtplx_tui.server.choice import Choice
from mtplx_tui.server.exchange import Exchange
from mtplx_tui.server.faults import Fault, openai_body
from mtplx_tui.server.openai_chat import facts, openai_usage
from mtplx_tui.server.steps import Ended, PieceLogprob, Read, Said, Step

__all__ = ["CompletionAnswer"]


class CompletionAnswer:
    """See the module.

    Args:
        exchange: that is answered.
        echoes: the prompt of each choice, where it is to be part of the text.
    """

    def __init__(self, exchange: Exchange, echoes: Sequence[str] = ()) -> None:
        self._exchange = exchange
        self._echoes = echoes or [""] * len(exchange.choices)
        self._id = f"cmpl-{secrets.token_hex(12)}"
        self._created = int(time.time())
        self._offsets = [len(echo) for echo in self._echoes]
        self._has_usage = exchange.ask.has_usage

    def document(self) -> dict[str, Any]:
        """Return the whole answer."""
        return {
            **self._head(),
            "choices": [self._choice(choice) for choice in self._exchange.choices],
            "usage": openai_usage(self._exchange),
            "mtplx": facts(self._exchange),
        }

    def _head(self) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": "text_completion",
            "created": self._created,
            "model": self._exchange.ask.model,
        }

    def _choice(self, choice: Choice) -> dict[str, Any]:
        return {
            "index": choice.index,
            "text": self._echoes[choice.index] + _text(choice.parts),
            "finish_reason": choice.ended.finish if choice.ended else None,
            "logprobs": self._logprobs(choice.index, choice.logprobs),
        }

    def _logprobs(self, choice: int, found: Sequence[PieceLogprob]) -> dict[str, Any] | None:
        if self._exchange.ask.logprobs is None:
            return None
        offsets = []
        for each in found:
            offsets.append(self._offsets[choice])
            self._offsets[choice] += len(each.piece)
        return {
            "tokens": [each.piece for each in found],
            "token_logprobs": [max(each.logprob.logprob, -9999.0) for each in found],
            "top_logprobs": [_top(each) for each in found],
            "text_offset": offsets,
        }

    def begin(self) -> list[bytes]:
        """Return what comes first."""
        return [
            self._chunk(choice.index, echo)
            for choice, echo in zip(self._exchange.choices, self._echoes, strict=True)
            if echo
        ]

    def step(self, step: Step) -> list[bytes]:
        """Return what a cycle brought."""
        logprobs = self._logprobs(step.choice, step.logprobs) if step.logprobs else None
        return [self._chunk(step.choice, _text(step.parts), {"logprobs": logprobs})]

    def ended(self, ended: Ended) -> list[bytes]:
        """Return what says that a choice is complete."""
        return [self._chunk(ended.choice, "", {"finish_reason": ended.finish})]

    def end(self) -> list[bytes]:
        """Return what comes last."""
        if not self._has_usage:
            return [sse.DONE]
        last = {"choices": [], "usage": openai_usage(self._exchange)}
        chunk = sse.plain({**self._head(), **last, "mtplx": facts(self._exchange)})
        return [chunk, sse.DONE]

    def alive(self, read: Read) -> list[bytes]:
        """Return a sign of life."""
        return [sse.comment(f"keepalive {read.done}/{read.total}")]

    def empty(self) -> list[bytes]:
        """Return a sign of life for clients that count parsed events alone."""
        return [self._chunk(0, "")]

    def failed(self, fault: Fault) -> list[bytes]:
        """Return an error after the headers."""
        return [sse.plain(openai_body(fault))]

    def _chunk(self, choice: int, text: str, more: Mapping[str, Any] | None = None) -> bytes:
        one = {"index": choice, "text": text, "finish_reason": None, "logprobs": None}
        usage = {"usage": None} if self._has_usage else {}
        return sse.plain({**self._head(), "choices": [{**one, **(more or {})}], **usage})


def _text(parts: Sequence[Said | Call]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Said))


def _top(each: PieceLogprob) -> dict[str, float]:
    told = each.logprob
    return dict(zip(told.top_pieces, told.top_logprobs, strict=True))
