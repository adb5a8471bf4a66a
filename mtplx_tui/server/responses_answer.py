"""/v1/responses: the answer as OpenAI's clients read it, whole or as a stream of numbered events."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any, Literal

from engine.protocol import Channel
from mtplx_tui.server import sse
from mtplx_tui.server.ask import Call, ToolChoice
from mtplx_tui.server.exchange import Exchange
from mtplx_tui.server.faults import Fault
from mtplx_tui.server.openai_chat import facts, logprob_of
from mtplx_tui.server.responses_shapes import ResponsesBody
from mtplx_tui.server.steps import Ended, Part, PieceLogprob, Read, Said, Step

__all__ = ["ResponsesAnswer"]

_Status = Literal["in_progress", "completed", "incomplete", "failed"]


class ResponsesAnswer:
    """See the module.

    Args:
        exchange: that is answered.
        body: what was sent; what it sets for the client's own sake comes back.
    """

    def __init__(self, exchange: Exchange, body: ResponsesBody) -> None:
        self._exchange = exchange
        self._body = body
        self._id = f"resp_{secrets.token_hex(16)}"
        self._created = time.time()
        self._number = 0
        self._output: list[dict[str, Any]] = []
        """Items that are complete."""
        self._open: _Item | None = None
        self._is_cut = False

    # Whole

    def document(self) -> dict[str, Any]:
        """Return the whole answer."""
        choice = self._exchange.choices[0]
        self._is_cut = choice.ended is not None and choice.ended.finish == "length"
        rest = list(choice.logprobs)
        for part in choice.parts:
            has_logprobs = isinstance(part, Said) and part.channel is Channel.ANSWER
            self._put(part, rest if has_logprobs else ())
        self._close()
        return self._response("incomplete" if self._is_cut else "completed")

    def _response(self, status: _Status, fault: Fault | None = None) -> dict[str, Any]:
        ask = self._exchange.ask
        is_over = status != "in_progress"
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None if fault is None else _error(fault),
            "incomplete_details": {"reason": "max_output_tokens"} if self._is_cut else None,
            "instructions": self._body.instructions,
            "max_output_tokens": ask.options.max_tokens,
            "metadata": self._body.metadata or {},
            "model": ask.model,
            "output": list(self._output),
            "parallel_tool_calls": ask.has_parallel_calls,
            "previous_response_id": None,
            "store": False,
            "temperature": ask.options.temperature,
            "tool_choice": _choice(ask.tool_choice),
            "tools": [
                {
                    "type": "function",
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters,
                    "strict": False,
                }
                for tool in ask.tools
            ],
            "top_p": ask.options.top_p,
            "truncation": "disabled",
            "usage": self._usage() if is_over else None,
            **({"mtplx": facts(self._exchange)} if is_over else {}),
        }

    def _usage(self) -> dict[str, Any]:
        usage = self._exchange.usage()
        return {
            "input_tokens": usage.prompt,
            "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
            "output_tokens": usage.completion,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning},
            "total_tokens": usage.prompt + usage.completion,
        }

    # Stream

    def begin(self) -> list[bytes]:
        """Return what comes first."""
        return [
            self._event("response.created", response=self._response("in_progress")),
            self._event("response.in_progress", response=self._response("in_progress")),
        ]

    def step(self, step: Step) -> list[bytes]:
        """Return what a cycle brought."""
        events: list[bytes] = []
        logprobs: Sequence[PieceLogprob] = step.logprobs
        for part in step.parts:
            is_answer = isinstance(part, Said) and part.channel is Channel.ANSWER
            events += self._put(part, logprobs if is_answer else ())
            logprobs = () if is_answer else logprobs
        return events

    def _put(self, part: Part, logprobs: Sequence[PieceLogprob] = ()) -> list[bytes]:
        """Add a part to the item that is open, or to a new one; return the events of it."""
        if isinstance(part, Call):
            events = [*self._close(), *self._begin(_CallItem(part))]
            return [*events, *self._close()]
        kind = _ThoughtItem if part.channel is Channel.REASONING else _TextItem
        events = []
        if type(self._open) is not kind:
            events = [*self._close(), *self._begin(kind())]
        item = self._open
        if item is not None:
            events += self._events(item.add(part.text, [logprob_of(each, []) for each in logprobs]))
        return events

    def _begin(self, item: _Item) -> list[bytes]:
        self._open = item
        added = ("response.output_item.added", {"item": item.item("in_progress")})
        return self._events([added, *item.begin()])

    def _close(self) -> list[bytes]:
        item, self._open = self._open, None
        if item is None:
            return []
        status: _Status = "incomplete" if self._is_cut else "completed"
        done = item.item(status)
        events = self._events([*item.end(), ("response.output_item.done", {"item": done})])
        self._output.append(done)
        return events

    def _events(self, told: Sequence[tuple[str, dict[str, Any]]]) -> list[bytes]:
        at = {"output_index": len(self._output)}
        return [self._event(name, **at, **fields) for name, fields in told]

    def ended(self, ended: Ended) -> list[bytes]:
        """Return what says that the answer is complete."""
        self._is_cut = ended.finish == "length"
        return self._close()

    def end(self) -> list[bytes]:
        """Return what comes last."""
        status: _Status = "incomplete" if self._is_cut else "completed"
        return [self._event(f"response.{status}", response=self._response(status))]

    def alive(self, read: Read) -> list[bytes]:
        """Return a sign of life: an event, since some clients count parsed events alone."""
        progress = {"done": read.done, "total": read.total}
        response = {**self._response("in_progress"), "mtplx": {"prefill": progress}}
        return [self._event("response.in_progress", response=response)]

    def empty(self) -> list[bytes]:
        """Return another sign of life; none is needed."""
        return []

    def failed(self, fault: Fault) -> list[bytes]:
        """Return an error after the headers."""
        return [self._event("response.failed", response=self._response("failed", fault))]

    def _event(self, name: str, /, **fields: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        return sse.event(name, {"type": name, "sequence_number": number, **fields})


_Told = list[tuple[str, dict[str, Any]]]


class _TextItem:
    """A message that grows."""

    def __init__(self) -> None:
        self._id = f"msg_{secrets.token_hex(16)}"
        self._text = ""
        self._logprobs: list[dict[str, Any]] = []

    def item(self, status: _Status) -> dict[str, Any]:
        content = [] if status == "in_progress" else [self._part()]
        told = {"id": self._id, "type": "message", "role": "assistant", "status": status}
        return {**told, "content": content}

    def _part(self) -> dict[str, Any]:
        told = {"type": "output_text", "text": self._text, "annotations": []}
        return {**told, "logprobs": list(self._logprobs)}

    def _at(self, **fields: Any) -> dict[str, Any]:
        return {"item_id": self._id, "content_index": 0, **fields}

    def begin(self) -> _Told:
        return [("response.content_part.added", self._at(part=self._part()))]

    def add(self, text: str, logprobs: list[dict[str, Any]]) -> _Told:
        self._text += text
        self._logprobs += logprobs
        return [("response.output_text.delta", self._at(delta=text, logprobs=logprobs))]

    def end(self) -> _Told:
        done = self._at(text=self._text, logprobs=list(self._logprobs))
        return [
            ("response.output_text.done", done),
            ("response.content_part.done", self._at(part=self._part())),
        ]


class _ThoughtItem:
    """Reasoning that grows."""

    def __init__(self) -> None:
        self._id = f"rs_{secrets.token_hex(16)}"
        self._text = ""

    def item(self, status: _Status) -> dict[str, Any]:
        content = [{"type": "reasoning_text", "text": self._text}] if self._text else []
        told = {"id": self._id, "type": "reasoning", "summary": [], "status": status}
        return {**told, "content": content}

    def begin(self) -> _Told:
        return []

    def add(self, text: str, logprobs: list[dict[str, Any]]) -> _Told:
        self._text += text
        at = {"item_id": self._id, "content_index": 0}
        return [("response.reasoning_text.delta", {**at, "delta": text})]

    def end(self) -> _Told:
        at = {"item_id": self._id, "content_index": 0}
        return [("response.reasoning_text.done", {**at, "text": self._text})]


class _CallItem:
    """A call, which comes whole."""

    def __init__(self, call: Call) -> None:
        self._id = f"fc_{secrets.token_hex(16)}"
        self._call = call

    def item(self, status: _Status) -> dict[str, Any]:
        call = self._call
        arguments = "" if status == "in_progress" else call.arguments
        told = {"id": self._id, "type": "function_call", "call_id": call.id, "name": call.name}
        return {**told, "arguments": arguments, "status": status}

    def begin(self) -> _Told:
        delta = {"item_id": self._id, "delta": self._call.arguments}
        return [("response.function_call_arguments.delta", delta)]

    def add(self, text: str, logprobs: list[dict[str, Any]]) -> _Told:
        return []

    def end(self) -> _Told:
        done = {
            "item_id": self._id,
            "name": self._call.name,
            "arguments": self._call.arguments,
        }
        return [("response.function_call_arguments.done", done)]


_Item = _TextItem | _ThoughtItem | _CallItem


def _error(fault: Fault) -> dict[str, str]:
    return {"code": "server_error", "message": fault.message}


def _choice(choice: ToolChoice) -> Any:
    if choice.name is not None:
        return {"type": "function", "name": choice.name}
    return choice.kind
