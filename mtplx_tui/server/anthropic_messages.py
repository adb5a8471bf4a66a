"""/v1/messages: the answer as Anthropic's clients read it, whole or as a stream.

Blocks come one after the other, never interleaved; a call's input is sent whole, so that a client
never acts on half of it.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Any, Literal

from engine.protocol import Channel
from mtplx_tui.server import sse
from mtplx_tui.server.ask import Call
from mtplx_tui.server.exchange import Exchange
from mtplx_tui.server.faults import Fault, anthropic_body
from mtplx_tui.server.openai_chat import facts
from mtplx_tui.server.steps import Ended, Part, Read, Step

__all__ = ["MessagesAnswer"]

_Kind = Literal["text", "thinking"]


class MessagesAnswer:
    """See the module.

    Args:
        exchange: that is answered.
        request_id: as the response's header has it.
    """

    def __init__(self, exchange: Exchange, request_id: str) -> None:
        self._exchange = exchange
        self._request_id = request_id
        self._id = f"msg_{secrets.token_hex(12)}"
        self._index = -1
        self._open: _Kind | None = None
        self._thought = ""

    # Whole

    def document(self) -> dict[str, Any]:
        """Return the whole answer."""
        choice = self._exchange.choices[0]
        reason, stop = _stop_reason(choice.ended)
        blocks = [_block(part) for part in choice.parts]
        return {
            **self._head(),
            "content": blocks or [{"type": "text", "text": ""}],
            "stop_reason": reason,
            "stop_sequence": stop,
            "usage": self._usage(),
            "mtplx": facts(self._exchange),
        }

    def _head(self) -> dict[str, Any]:
        model = self._exchange.ask.model
        return {"id": self._id, "type": "message", "role": "assistant", "model": model}

    def _usage(self) -> dict[str, Any]:
        """Return the tokens; Anthropic's input_tokens leave out those that were cached."""
        usage = self._exchange.usage()
        return {
            "input_tokens": usage.prompt - usage.cached,
            "cache_read_input_tokens": usage.cached,
            "cache_creation_input_tokens": 0,
            "output_tokens": usage.completion,
        }

    # Stream

    def begin(self) -> list[bytes]:
        """Return what comes first."""
        message = {
            **self._head(),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": self._usage(),
        }
        return [self._event("message_start", message=message), self._event("ping")]

    def step(self, step: Step) -> list[bytes]:
        """Return what a cycle brought."""
        return [event for part in step.parts for event in self._part(part)]

    def _part(self, part: Part) -> list[bytes]:
        if isinstance(part, Call):
            return [*self._closed(), *self._call(part)]
        kind: _Kind = "thinking" if part.channel is Channel.REASONING else "text"
        begun: list[bytes] = []
        if self._open != kind:
            begun = [*self._closed(), self._begun(_empty(kind))]
            self._open = kind
        if kind == "thinking":
            self._thought += part.text
            return [*begun, self._delta(type="thinking_delta", thinking=part.text)]
        return [*begun, self._delta(type="text_delta", text=part.text)]

    def _call(self, call: Call) -> list[bytes]:
        block = {"type": "tool_use", "id": _use_id(call), "name": call.name, "input": {}}
        return [
            self._begun(block),
            self._delta(type="input_json_delta", partial_json=call.arguments),
            self._event("content_block_stop", index=self._index),
        ]

    def _begun(self, block: dict[str, Any]) -> bytes:
        self._index += 1
        return self._event("content_block_start", index=self._index, content_block=block)

    def _delta(self, **delta: Any) -> bytes:
        return self._event("content_block_delta", index=self._index, delta=delta)

    def _closed(self) -> list[bytes]:
        """Return what closes the block that is open."""
        if self._open is None:
            return []
        events = [self._event("content_block_stop", index=self._index)]
        if self._open == "thinking":
            events.insert(
                0, self._delta(type="signature_delta", signature=_signature(self._thought))
            )
            self._thought = ""
        self._open = None
        return events

    def ended(self, ended: Ended) -> list[bytes]:
        """Return what says that the answer is complete."""
        reason, stop = _stop_reason(ended)
        delta = {"stop_reason": reason, "stop_sequence": stop}
        return [
            *self._closed(),
            self._event(
                "message_delta", delta=delta, usage=self._usage(), mtplx=facts(self._exchange)
            ),
        ]

    def end(self) -> list[bytes]:
        """Return what comes last."""
        return [self._event("message_stop")]

    def alive(self, read: Read) -> list[bytes]:
        """Return a sign of life."""
        return [self._event("ping")]

    def empty(self) -> list[bytes]:
        """Return a sign of life for clients that count parsed events alone."""
        return [self._event("ping")]

    def failed(self, fault: Fault) -> list[bytes]:
        """Return an error after the headers."""
        return [sse.event("error", anthropic_body(fault, self._request_id))]

    def _event(self, name: str, /, **fields: Any) -> bytes:
        return sse.event(name, {"type": name, **fields})


def _empty(kind: _Kind) -> dict[str, Any]:
    if kind == "thinking":
        return {"type": "thinking", "thinking": "", "signature": ""}
    return {"type": "text", "text": ""}


def _block(part: Part) -> dict[str, Any]:
    if isinstance(part, Call):
        given = json.loads(part.arguments)
        return {"type": "tool_use", "id": _use_id(part), "name": part.name, "input": given}
    if part.channel is Channel.REASONING:
        signature = _signature(part.text)
        return {"type": "thinking", "thinking": part.text, "signature": signature}
    return {"type": "text", "text": part.text}


def _use_id(call: Call) -> str:
    return f"toolu_{call.id.removeprefix('call_')}"


def _signature(thought: str) -> str:
    """Return what clients keep beside a thought; it is taken back unseen."""
    return hashlib.sha256(thought.encode("utf-8", "replace")).hexdigest()


def _stop_reason(ended: Ended | None) -> tuple[str | None, str | None]:
    if ended is None:
        return None, None
    if ended.finish == "length":
        return "max_tokens", None
    if ended.finish == "tool_calls":
        return "tool_use", None
    return ("stop_sequence", ended.stop) if ended.stop is not None else ("end_turn", None)
