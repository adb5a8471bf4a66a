"""An engine process of a command's own, driven from one coroutine."""

from __future__ import annotations

import asyncio
import functools
import subprocess

from engine.protocol import (
    Command,
    ErrorInfo,
    Event,
    LoadFailed,
    LoadModel,
    LoadProgress,
    ModelInfo,
    RequestFailed,
)
from mtplx_tui import config, link
from mtplx_tui.cli import pass_line, tell
from mtplx_tui.library.disk import Location
from mtplx_tui.remedies import one_line
from mtplx_tui.view import EngineView, apply, engine_died

__all__ = ["Engine", "EngineTrouble"]


class EngineTrouble(Exception):
    """The engine can't go on: something to tell in one line, with the exit code that goes with it."""

    def __init__(self, error: ErrorInfo) -> None:
        super().__init__(one_line(error))
        self.exit_code = error.exit_code


class Engine:
    """See the module. Used as an asynchronous context; tells what is wrong with the settings."""

    def __init__(self) -> None:
        places = config.find_places()
        settings, problems = config.load_settings(places)
        for problem in problems:
            tell(problem)
        command = link.engine_command(places.cache, settings.blas)
        start = functools.partial(link.spawn, command, places.logs / "engine.log")
        self._events: asyncio.Queue[Event | ErrorInfo] = asyncio.Queue()
        self._link = link.EngineLink(self._take, self._events.put_nowait, start)
        self._view = EngineView()

    async def __aenter__(self) -> Engine:
        self._link.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._link.close()

    @property
    def view(self) -> EngineView:
        """What is known of the engine after the events that were waited for."""
        return self._view

    def send(self, command: Command) -> None:
        """Send a command."""
        self._link.send(command)

    async def load(self, location: Location) -> ModelInfo:
        """Load a model, telling its progress to a person who watches. Raises EngineTrouble."""
        self.send(LoadModel("load", location.name, location.path))
        while self._view.model is None:
            event = await self.next_event()
            if isinstance(event, LoadProgress):
                share = f" {100 * event.done // event.total} %" if event.total else ""
                pass_line(f"{event.stage}{share}")
        pass_line("")
        return self._view.model

    async def next_event(self) -> Event:
        """Return the next event, known to the view already.

        Raises:
            EngineTrouble: the engine ended, or it says that a load or a request came to nothing.
        """
        event = await self.take_event()
        if isinstance(event, (LoadFailed, RequestFailed)):
            raise EngineTrouble(event.error)
        return event

    async def take_event(self) -> Event:
        """Return the next event, known to the view already, whatever it says.

        Raises:
            EngineTrouble: the engine ended.
        """
        event = await self._events.get()
        if isinstance(event, ErrorInfo):
            self._view = engine_died(self._view, event)
            raise EngineTrouble(event)
        self._view = apply(self._view, event)
        return event

    async def restart(self) -> None:
        """End the engine, whatever it is doing, and start another, which has no model yet."""
        await self._link.restart()
        while not self._events.empty():
            self._events.get_nowait()
        self._view = EngineView()

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
