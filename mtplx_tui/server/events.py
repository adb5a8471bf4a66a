"""What the engine does, as server-sent events: the browser's live view, and whoever else may look.

Every reader has a bounded queue; one that is too slow is told how much it missed.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

from engine import wire
from engine.protocol import (
    CycleDone,
    DepthSet,
    EngineStarted,
    Event,
    LoadFailed,
    LoadProgress,
    ModelLoaded,
    PrefillProgress,
    PrefixReused,
    RequestDone,
    RequestFailed,
    RequestStarted,
)
from mtplx_tui.server import sse
from mtplx_tui.server.broker import model_id
from mtplx_tui.server.served import ServedRequest
from mtplx_tui.view import EngineView

__all__ = ["EventFeed", "served", "snapshot"]

MOST_WAITING = 2_000
_RECENT = 20
"""Requests that were served, of which is told."""
CYCLES = 64
"""Of each request in the snapshot."""
_TOLD = (
    EngineStarted,
    LoadProgress,
    LoadFailed,
    ModelLoaded,
    RequestStarted,
    PrefixReused,
    PrefillProgress,
    DepthSet,
    CycleDone,
    RequestDone,
    RequestFailed,
)


class _Reader:
    def __init__(self) -> None:
        self.waiting: deque[tuple[str, dict[str, Any]]] = deque()
        self.missed = 0
        self.has_news = asyncio.Event()

    def put(self, name: str, data: dict[str, Any]) -> None:
        if len(self.waiting) >= MOST_WAITING:
            self.waiting.popleft()
            self.missed += 1
        self.waiting.append((name, data))
        self.has_news.set()


class EventFeed:
    """Hands events to all who read."""

    def __init__(self, heartbeat_s: float) -> None:
        self._heartbeat_s = heartbeat_s
        self._readers: set[_Reader] = set()
        self._is_closed = False

    @property
    def has_readers(self) -> bool:
        """Whether anyone listens."""
        return bool(self._readers)

    def take(self, events: list[Event]) -> None:
        """Hand a batch of engine events on."""
        if not self._readers:
            return
        for event in events:
            if isinstance(event, _TOLD):
                self.tell(type(event).__name__, _without_paths(event))

    def tell(self, name: str, data: dict[str, Any]) -> None:
        """Hand one event on."""
        for reader in self._readers:
            reader.put(name, data)

    def close(self) -> None:
        """End all streams."""
        self._is_closed = True
        for reader in self._readers:
            reader.has_news.set()

    async def pieces(self, first: Callable[[], dict[str, Any]]) -> AsyncIterator[bytes]:
        """Yield what a reader gets, from a snapshot on."""
        reader = _Reader()
        self._readers.add(reader)
        numbers = itertools.count(1)
        try:
            yield sse.event("snapshot", first())
            while not self._is_closed:
                if await self._news(reader):
                    yield b"".join(_taken(reader, numbers))
                else:
                    yield sse.comment("keepalive")
        finally:
            self._readers.discard(reader)

    async def _news(self, reader: _Reader) -> bool:
        try:
            async with asyncio.timeout(self._heartbeat_s):
                await reader.has_news.wait()
        except TimeoutError:
            return False
        reader.has_news.clear()
        return True


def _taken(reader: _Reader, numbers: itertools.count[int]) -> list[bytes]:
    pieces: list[bytes] = []
    if reader.missed:
        pieces.append(sse.event("lagged", {"missed": reader.missed}))
        reader.missed = 0
    while reader.waiting:
        name, data = reader.waiting.popleft()
        pieces.append(b"id: %d\n" % next(numbers) + sse.event(name, data))
    return pieces


def _without_paths(event: Event) -> dict[str, Any]:
    """Return an event as JSON, without where files are."""
    if isinstance(event, ModelLoaded):
        model = replace(event.model, path="", name=model_id(event.model), chat_template="")
        event = replace(event, model=model)
    if isinstance(event, RequestStarted):
        event = replace(event, model=event.model.rstrip("/").rpartition("/")[2])
    return wire.to_plain(event)


def _fields(request: ServedRequest) -> dict[str, Any]:
    """Return a request as JSON."""
    fields = wire.plain_fields(request)
    return dict(fields)


def served(
    live: tuple[ServedRequest, ...], recent: tuple[ServedRequest, ...]
) -> dict[str, list[dict[str, Any]]]:
    """Return what is served and what was, newest first, as JSON."""
    return {
        "live": [_fields(each) for each in live],
        "recent": [_fields(each) for each in recent[:_RECENT]],
    }


def snapshot(
    view: EngineView, live: tuple[ServedRequest, ...], recent: tuple[ServedRequest, ...]
) -> dict[str, Any]:
    """Return what a reader has to know before the first event: what runs, or the newest answer where nothing does."""
    model = None
    if view.model is not None:
        model = _without_paths(ModelLoaded("", view.model))["model"]
    told = [request for request in view.requests if request.is_running] or view.requests[-1:]
    return {
        "state": view.state.value,
        "engine": None if view.engine is None else wire.to_plain(view.engine),
        "model": model,
        **served(live, recent),
        "requests": [
            {
                "request": request.request,
                "is_running": request.is_running,
                "depth": request.depth,
                "prompt_tokens": request.started.prompt_tokens if request.started else 0,
                "prefilled": request.prefilled,
                "cycles": [
                    wire.to_plain(request.cycles[at])
                    for at in range(max(0, len(request.cycles) - CYCLES), len(request.cycles))
                ],
            }
            for request in told
        ],
    }
