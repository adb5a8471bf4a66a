"""The engine of a server that runs without the app: kept alive, its model loaded again after a death."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable

from engine.protocol import (
    Command,
    EngineStarted,
    ErrorInfo,
    Event,
    LimitPrefixes,
    LoadFailed,
    LoadModel,
    LoadProgress,
    ModelLoaded,
    PrefixesKept,
)
from mtplx_tui.cli import tell
from mtplx_tui.driving import EngineTrouble
from mtplx_tui.library.disk import Location
from mtplx_tui.link import EngineLink
from mtplx_tui.view import EngineView, apply, engine_died, engine_starting

__all__ = ["EngineHost"]

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
"""Between a death and the next start: doubled each time, until one has lived a while."""
LIVED_S = 60.0


class EngineHost:
    """See the module.

    Args:
        start: starts an engine process.
        location: of the model.
        limits: of what is kept of prompts.
        show: takes passing lines of progress; an empty one takes the last away.
    """

    def __init__(
        self,
        start: Callable[[], subprocess.Popen[bytes]],
        location: Location,
        limits: LimitPrefixes,
        show: Callable[[str], None],
    ) -> None:
        self.view = EngineView()
        self._location = location
        self._limits = limits
        self._show = show
        self._link = EngineLink(self._take, self._gone, start)
        self._on_events: Callable[[list[Event]], None] = lambda _: None
        self._on_death: Callable[[ErrorInfo], None] = lambda _: None
        self._loaded: asyncio.Future[None] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._wait_s = FIRST_WAIT_S
        self._began_at = 0.0
        self._note = ""
        """Of the cache of prefixes, told already."""

    def attach(
        self, on_events: Callable[[list[Event]], None], on_death: Callable[[ErrorInfo], None]
    ) -> None:
        """Tell someone each batch of events, and each death."""
        self._on_events, self._on_death = on_events, on_death

    def send(self, command: Command) -> None:
        """Send a command. Raises EngineGone."""
        self._link.send(command)

    async def load(self) -> None:
        """Start the engine and load the model. Raises EngineTrouble where that comes to nothing."""
        self._loaded = asyncio.get_running_loop().create_future()
        self._began_at = time.monotonic()
        self._link.open()
        await self._loaded

    async def close(self) -> None:
        """End the engine."""
        if self._starting is not None:
            self._starting.cancel()
        await self._link.close()

    def _take(self, events: list[Event]) -> None:
        for event in events:
            self.view = apply(self.view, event)
            self._follow(event)
        self._on_events(events)

    def _follow(self, event: Event) -> None:
        match event:
            case EngineStarted(blas_note=note):
                if note:
                    tell(note)
                self.send(self._limits)
                self.send(LoadModel("load", self._location.name, self._location.path))
            case LoadProgress(stage=stage, done=done, total=total):
                self._show(f"{stage}{f' {100 * done // total} %' if total else ''}")
            case LoadFailed(error=error):
                self._settle(error)
            case PrefixesKept(note=note):
                if note and note != self._note:
                    tell(note)
                self._note = note
            case ModelLoaded(model=model):
                self._show("")
                if model.head is None:
                    tell(f"{model.name} is decoded plainly: {model.head_note}")
                self._settle(None)

    def _settle(self, error: ErrorInfo | None) -> None:
        """Say how the first load went; a later one that fails leaves the server without a model."""
        if self._loaded is not None and not self._loaded.done():
            if error is None:
                self._loaded.set_result(None)
            else:
                self._loaded.set_exception(EngineTrouble(error))
        elif error is not None:
            tell(f"the model can't be loaded again: {error.message}")

    def _gone(self, error: ErrorInfo) -> None:
        self.view = engine_died(self.view, error)
        self._on_death(error)
        if self._loaded is not None and not self._loaded.done():
            self._loaded.set_exception(EngineTrouble(error))
            return
        tell(f"{error.message}; it is started again")
        self._starting = asyncio.get_running_loop().create_task(self._start_again())

    async def _start_again(self) -> None:
        if time.monotonic() - self._began_at > LIVED_S:
            self._wait_s = FIRST_WAIT_S
        await asyncio.sleep(self._wait_s)
        self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)
        self._began_at = time.monotonic()
        self.view = engine_starting(self.view)
        try:
            self._link.open()
        except OSError as error:
            self._gone(ErrorInfo(f"the engine can't be started: {error}", ""))
