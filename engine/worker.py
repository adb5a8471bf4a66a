"""The loop of the engine process: commands in, one step of the session, events out.

Cycles are joined into at most 20 batches a second; every other event, and a request's first
cycle, goes out at once. The process leaves when its command pipe closes, whatever it is
doing, so no engine outlives its front end.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from engine import wire
from engine.protocol import (
    Cancel,
    CancelLoad,
    Certify,
    CertifyProgress,
    Command,
    CountTokens,
    CycleDone,
    Event,
    Generate,
    LimitPrefixes,
    LoadModel,
    SetDepth,
    SetDetail,
    ShowPrompt,
    Shutdown,
)
from engine.session import Session

__all__ = ["Outbox", "Worker"]

BATCH_S = 0.05
_log = logging.getLogger(__name__)


class Outbox:
    """Joins events into batches.

    Args:
        write: takes a line; one call a batch.
        clock: seconds.
    """

    def __init__(
        self, write: Callable[[bytes], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write = write
        self._clock = clock
        self._waiting: list[Event] = []
        self._last = -BATCH_S

    def put(self, event: Event) -> None:
        """Take an event; write what waits if it is due."""
        self._waiting.append(event)
        can_wait = isinstance(event, CertifyProgress) or (
            isinstance(event, CycleDone) and event.cycle > 0
        )
        if not can_wait or self._clock() - self._last >= BATCH_S:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._waiting:
            batch, self._waiting = self._waiting, []
            self._write(wire.encode(batch))
            self._last = self._clock()


class Worker:
    """See the module.

    Args:
        commands: lines of commands.
        outbox: takes the events.
        cache_folder: for weights that were unpacked for a CPU.
    """

    def __init__(self, commands: BinaryIO, outbox: Outbox, cache_folder: Path) -> None:
        self._lines = commands
        self._outbox = outbox
        self._queue: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._cancelled_loads: set[str] = set()
        self._session = Session(outbox.put, cache_folder, self._cancelled_loads.__contains__)

    def run(self) -> None:
        """Serve until Shutdown."""
        threading.Thread(target=self._read, name="commands", daemon=True).start()
        while True:
            for command in self._next_commands():
                if isinstance(command, Shutdown):
                    return
                self._obey(command)
            if self._session.is_busy:
                self._session.step()
            elif self._session.can_tidy:
                self._session.tidy()

    def _next_commands(self) -> list[Command]:
        """Return all commands that wait; wait for one when there is nothing else to do."""
        commands: list[Command] = []
        if not self._session.is_busy:
            self._outbox.flush()
            if not self._session.can_tidy:
                commands.append(self._queue.get())
        while not self._queue.empty():
            commands.append(self._queue.get())
        return commands

    def _obey(self, command: Command) -> None:
        match command:
            case LoadModel():
                self._session.load(command)
            case Generate():
                self._session.generate(command)
            case SetDepth():
                self._session.set_depth(command)
            case SetDetail():
                self._session.set_detail(command)
            case Cancel():
                self._session.cancel(command)
            case Certify():
                self._session.certify(command)
            case CountTokens():
                self._session.count(command)
            case LimitPrefixes():
                self._session.limit_prefixes(command)
            case ShowPrompt():
                self._session.show_prompt(command)

    def _read(self) -> None:
        """Read commands in a thread of its own, so that a load can be cancelled."""
        for line in self._lines:
            try:
                commands = wire.decode(line)
            except wire.WireError:
                _log.exception("unreadable command; leaving")
                os._exit(1)
            for command in commands:
                if isinstance(command, CancelLoad):
                    self._cancelled_loads.add(command.request)
                self._queue.put(command)
        os._exit(0)
