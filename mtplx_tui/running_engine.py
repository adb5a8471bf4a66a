"""The engine that the app runs: owns the way to its process, and the view of what it said.

Knows no screen, and nothing of what becomes of its events.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from engine.protocol import Command, ErrorInfo, Event, LoadModel, LoadProgress
from mtplx_tui import view
from mtplx_tui.link import EngineGone, EngineLink
from mtplx_tui.view import EngineView

__all__ = ["Process", "RunningEngine"]

Process = subprocess.Popen[bytes]


class RunningEngine:
    """See the module.

    Args:
        start: starts an engine process; None for one whose events come from elsewhere.
        process: one that runs already.
        feed: takes a batch of events.
        lost: called when the process ended, or could not be started.
    """

    def __init__(
        self,
        start: Callable[[], Process] | None,
        process: Process | None,
        feed: Callable[[list[Event]], None],
        lost: Callable[[ErrorInfo], None],
    ) -> None:
        self.view = EngineView()
        self._link = None if start is None else EngineLink(feed, lost, start)
        self._process = process
        self._lost = lost

    @property
    def can_run(self) -> bool:
        """Whether there is a way to a process."""
        return self._link is not None

    @property
    def is_answering(self) -> bool:
        """Whether a request runs."""
        return any(request.is_running for request in self.view.requests)

    def open(self) -> None:
        """Take the process over that runs already, or start one."""
        if self._link is None:
            return
        process, self._process = self._process, None
        try:
            self._link.open(process)
        except OSError as error:
            self._tell_not_started(error)

    def give(self, command: Command) -> None:
        """Give the engine a command. Raises EngineGone where there is none to take it.

        A model that was asked for is loading from then on: the first time the engine is a second busy
        with its libraries before it says so itself.
        """
        if self._link is None:
            raise EngineGone("there is no engine")
        self._link.send(command)
        if isinstance(command, LoadModel):
            self.apply(LoadProgress(command.request, "starting", 0, 0))

    def apply(self, event: Event) -> None:
        """Take what it said into the view."""
        self.view = view.apply(self.view, event)

    def died(self, error: ErrorInfo) -> None:
        """Take it that what was running is cut."""
        self.view = view.engine_died(self.view, error)

    def starting(self) -> None:
        """Take it that another process is started."""
        self.view = view.engine_starting(self.view)

    async def restart(self) -> None:
        """End the process, whatever it is doing, and start another."""
        if self._link is None:
            return
        try:
            await self._link.restart()
        except OSError as error:
            self._tell_not_started(error)

    def _tell_not_started(self, error: OSError) -> None:
        self._lost(ErrorInfo(f"the engine can't be started: {error}", ""))

    async def close(self) -> None:
        """End the process."""
        if self._link is not None:
            await self._link.close()
