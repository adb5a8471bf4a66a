"""An engine process of a command's own, and answers from it: several in flight, cycle by cycle."""

from __future__ import annotations

import asyncio
import functools
import subprocess
from collections.abc import Callable, Sequence

from engine.protocol import (
    Command,
    CycleDone,
    EngineStarted,
    ErrorInfo,
    Event,
    Generate,
    LoadFailed,
    LoadModel,
    LoadProgress,
    ModelInfo,
    RequestFailed,
)
from mtplx_tui import config, link
from mtplx_tui.library.disk import Location
from mtplx_tui.view import EngineView, RequestView, apply

__all__ = ["EngineTrouble", "OwnEngine"]


class EngineTrouble(Exception):
    """The engine can't go on; the message is one line."""

    def __init__(self, error: ErrorInfo) -> None:
        super().__init__(f"{error.message}; {error.remedy}" if error.remedy else error.message)


class OwnEngine:
    """See the module. Used as an asynchronous context."""

    def __init__(self) -> None:
        places = config.find_places()
        settings, _ = config.load_settings(places)
        command = link.engine_command(places.cache, settings.blas)
        start = functools.partial(link.spawn, command, places.logs / "engine.log")
        self._events: asyncio.Queue[Event | ErrorInfo] = asyncio.Queue()
        self._link = link.EngineLink(self._take, self._events.put_nowait, start)
        self._view = EngineView()

    async def __aenter__(self) -> OwnEngine:
        self._link.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._link.close()

    @property
    def started(self) -> EngineStarted | None:
        """What the engine said of itself."""
        return self._view.engine

    def send(self, command: Command) -> None:
        """Send a command."""
        self._link.send(command)

    async def load(self, location: Location, tell: Callable[[LoadProgress], None]) -> ModelInfo:
        """Load a model. Raises EngineTrouble."""
        self.send(LoadModel("load", location.name, location.path))
        while self._view.model is None:
            event = await self._next()
            if isinstance(event, LoadProgress):
                tell(event)
        return self._view.model

    async def answer(
        self, commands: Sequence[Generate], watch: Callable[[CycleDone], None] = lambda _: None
    ) -> dict[str, RequestView]:
        """Run requests side by side to their ends. Raises EngineTrouble.

        The engine gives each one cycle in turn, so whatever slows the machine slows all alike.
        """
        for command in commands:
            self.send(command)
        names = [command.request for command in commands]
        while True:
            views = {name: self._view.request(name) for name in names}
            done = {name: view for name, view in views.items() if view is not None and view.done}
            if len(done) == len(names):
                return done
            event = await self._next()
            if isinstance(event, CycleDone):
                watch(event)

    def memory_bytes(self) -> int:
        """Return what the engine process holds in memory now; 0 where it can't be told."""
        if self._link.pid is None:
            return 0
        command = ["ps", "-o", "rss=", "-p", str(self._link.pid)]
        try:
            told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            return int(told) * 1024
        except (OSError, ValueError, subprocess.CalledProcessError):
            return 0

    def _take(self, events: list[Event]) -> None:
        for event in events:
            self._events.put_nowait(event)

    async def _next(self) -> Event:
        event = await self._events.get()
        if isinstance(event, ErrorInfo):
            raise EngineTrouble(event)
        self._view = apply(self._view, event)
        if isinstance(event, (LoadFailed, RequestFailed)):
            raise EngineTrouble(event.error)
        return event
