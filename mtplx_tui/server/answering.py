"""Answers a client: whole, or as a stream with signs of life; lets go when the client does."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from engine.protocol import ErrorInfo
from mtplx_tui.server.exchange import Exchange
from mtplx_tui.server.faults import Fault, engine_fault
from mtplx_tui.server.options import ServerOptions
from mtplx_tui.server.sse import EventStream
from mtplx_tui.server.steps import Ended, Failed, Read, Step

__all__ = ["Answer", "Answering"]

_log = logging.getLogger(__name__)

FIRST_S = 2.0
"""How long a stream waits for the engine to take the request, so that a refusal has its status."""
QUEUE_S = 600.0
"""How long a request may wait in the line."""
_WAITED = ErrorInfo("the request waited too long for its turn", "try again when less is going on")


class Answer(Protocol):
    """How an API tells an answer."""

    def document(self) -> dict[str, Any]:
        """Return the whole answer."""
        ...

    def begin(self) -> list[bytes]:
        """Return what comes first."""
        ...

    def step(self, step: Step) -> list[bytes]:
        """Return what a cycle brought."""
        ...

    def ended(self, ended: Ended) -> list[bytes]:
        """Return what says that a choice is complete."""
        ...

    def end(self) -> list[bytes]:
        """Return what comes last."""
        ...

    def alive(self, read: Read) -> list[bytes]:
        """Return a sign of life."""
        ...

    def empty(self) -> list[bytes]:
        """Return a sign of life for clients that count parsed events alone."""
        ...

    def failed(self, fault: Fault) -> list[bytes]:
        """Return an error after the headers."""
        ...


class Answering:
    """See the module.

    Args:
        options: the server's.
        exchange: that is answered.
        answer: how.
    """

    def __init__(self, options: ServerOptions, exchange: Exchange, answer: Answer) -> None:
        self._options = options
        self._exchange = exchange
        self._answer = answer

    async def respond(self, request: Request) -> Response:
        """Return the response. Raises Fault where the engine refuses the request at once."""
        headers = {"x-mtplx-request": self._exchange.name}
        if self._exchange.ask.left_out:
            headers["x-mtplx-left-out"] = self._exchange.ask.left_out
        try:
            if not self._exchange.ask.is_streamed:
                await self._whole(request)
                return JSONResponse(self._answer.document(), headers=headers)
            first = await self._exchange.next(FIRST_S)
            if isinstance(first, Failed):
                raise engine_fault(first.error)
        except BaseException:
            self._exchange.close()
            raise
        return EventStream(self._pieces(first), headers)

    async def _whole(self, request: Request) -> None:
        """Wait for the end, or for the client to go."""
        reading = asyncio.create_task(self._read_all())
        leaving = asyncio.create_task(_gone(request))
        try:
            await asyncio.wait({reading, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                self._exchange.close()
                raise Fault(499, "the client went away")
            reading.result()
        finally:
            reading.cancel()
            leaving.cancel()
            await asyncio.gather(reading, leaving, return_exceptions=True)

    async def _read_all(self) -> None:
        while self._exchange.has_more:
            outcome = await self._exchange.next(self._options.heartbeat_s)
            if isinstance(outcome, Failed):
                raise engine_fault(outcome.error)
            self._mind_queue()

    def _mind_queue(self) -> None:
        if self._exchange.is_queued and self._exchange.age_s > QUEUE_S:
            self._exchange.fail(_WAITED)

    async def _pieces(self, first: Step | Read | Ended | None) -> AsyncIterator[bytes]:
        """Yield the pieces of a stream."""
        exchange, answer = self._exchange, self._answer
        try:
            yield b"".join(answer.begin())
            pending: Step | Read | Ended | Failed | None = first
            told = emptied = time.monotonic()
            while True:
                pieces = self._told(pending)
                now = time.monotonic()
                if not pieces and now - told >= self._options.heartbeat_s:
                    pieces = answer.alive(exchange.read)
                    if self._options.empty_delta_s and now - emptied >= self._options.empty_delta_s:
                        pieces, emptied = [*pieces, *answer.empty()], now
                if pieces:
                    told = now
                    yield b"".join(pieces)
                if isinstance(pending, Failed):
                    return
                if not exchange.has_more:
                    break
                self._mind_queue()
                pending = await exchange.next(self._options.heartbeat_s)
            yield b"".join(answer.end())
        except Exception:  # noqa: BLE001 - whatever it was, a client in mid-stream has to hear of it
            _log.exception("telling %s failed", exchange.name)
            yield b"".join(answer.failed(Fault(500, "the server failed; its log tells more")))
        finally:
            exchange.close()

    def _told(self, outcome: Step | Read | Ended | Failed | None) -> list[bytes]:
        match outcome:
            case Step():
                return self._answer.step(outcome)
            case Ended():
                return self._answer.ended(outcome)
            case Failed(error=error):
                return self._answer.failed(engine_fault(error))
        return []


async def _gone(request: Request) -> None:
    """Return when the client is not there any more."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
