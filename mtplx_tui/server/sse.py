"""Server-sent events: the lines, and an answer made of them that ends with its client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

__all__ = ["DONE", "EVENTS", "EventStream", "comment", "event", "plain"]

DONE = b"data: [DONE]\n\n"
STALL_S = 60.0
"""How long a client may leave a piece of the answer untaken."""
EVENTS = "text/event-stream; charset=utf-8"
_HEADERS = {"content-type": EVENTS, "x-accel-buffering": "no"}


def plain(data: Mapping[str, Any]) -> bytes:
    """Return an event without a name."""
    return b"data: %s\n\n" % _json(data)


def event(name: str, data: Mapping[str, Any]) -> bytes:
    """Return an event with its name."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), _json(data))


def comment(text: str) -> bytes:
    """Return what clients read over."""
    return b": %s\n\n" % text.encode()


def _json(data: Mapping[str, Any]) -> bytes:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


class EventStream(Response):
    """Sends pieces as they come. When the client goes, or takes nothing, the pieces are closed.

    Args:
        pieces: of the body; closed whatever happens.
        headers: beside those of an event stream.
    """

    def __init__(
        self, pieces: AsyncIterator[bytes], headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(headers={**_HEADERS, **(headers or {})})
        self._pieces = pieces
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        sending = asyncio.create_task(self._send(send))
        leaving = asyncio.create_task(_disconnect(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            if not sending.done():
                sending.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
        error = None if sending.cancelled() else sending.exception()
        if error is not None and not isinstance(error, (OSError, TimeoutError)):
            raise error

    async def _send(self, send: Send) -> None:
        start = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        await send(start)
        try:
            async for piece in self._pieces:
                async with asyncio.timeout(STALL_S):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            close = getattr(self._pieces, "aclose", None)
            if close is not None:
                await close()


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
