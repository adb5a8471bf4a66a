"""The one owner of the engine process: start it, send commands, hand its events on, end it.

Shared by the app, the command line and the server. Everything runs on the caller's event
loop; `spawn` needs none, so the engine can start while the front end is still importing.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from engine import wire
from engine.protocol import (
    PROTOCOL_VERSION,
    Command,
    EngineFailed,
    EngineStarted,
    ErrorInfo,
    Event,
    Shutdown,
)
from mtplx_tui.files import open_log

LINE_LIMIT = 64 * 2**20
"""Bytes: longer than any batch the engine may write."""
END_WAIT_S = 2.0
"""How long a process may take to leave before it is killed."""

Listener = Callable[[list[Event]], None]


class EngineGone(ConnectionError):
    """A command could not be sent: the engine process is not there."""


def engine_command(cache: Path, blas: str) -> list[str]:
    """Return the command line of the engine.

    Args:
        cache: folder for what the engine makes once and keeps.
        blas: "auto" or "stock"; see `engine.blas`.
    """
    return [sys.executable, "-P", "-m", "engine", "--blas", blas, "--cache", str(cache)]


def spawn(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start an engine process whose stderr, native output too, goes to a log file.

    Args:
        command: a command line that speaks `engine.wire`, such as `engine_command` gives.
        log: appended to; where it can't be written, what would go there is dropped.
    """
    output = open_log(log)
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            start_new_session=True,
        )
    finally:
        os.close(output)


class EngineLink:
    """An engine process and those who listen to it.

    `on_events` gets each batch of events in order; `on_gone` is called once when the process
    ends without having been asked to.
    """

    def __init__(
        self,
        on_events: Listener,
        on_gone: Callable[[ErrorInfo], None],
        start: Callable[[], subprocess.Popen[bytes]],
    ) -> None:
        self._on_events = on_events
        self._on_gone = on_gone
        self._start = start
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: _CommandPipe | None = None
        self._reading: asyncio.Task[None] | None = None
        self._is_closing = False

    @property
    def pid(self) -> int | None:
        """The engine's process id, None when there is none."""
        return self._process.pid if self._process else None

    def open(self, process: subprocess.Popen[bytes] | None = None) -> None:
        """Take over a process that `spawn` gave, or start one."""
        if self._process is not None:
            raise RuntimeError("an engine process is there already")
        self._is_closing = False
        self._process = process or self._start()
        self._pipe = _CommandPipe(self._process)
        self._reading = asyncio.get_running_loop().create_task(
            self._read(self._process, self._pipe)
        )

    def send(self, command: Command) -> None:
        """Write a command to the engine; never waits for it.

        Raises:
            EngineGone: there is no engine process to take it.
        """
        if self._pipe is None:
            raise EngineGone("the engine is not running")
        try:
            self._pipe.write(wire.encode([command]))
        except BrokenPipeError as error:
            raise EngineGone("the engine is not running") from error

    async def close(self) -> None:
        """End the engine: by message, then by force."""
        self._is_closing = True
        process, reading = self._process, self._reading
        if process is None:
            return
        try:
            self.send(Shutdown())
        except EngineGone:
            process.terminate()
        await asyncio.to_thread(_wait_or_kill, process)
        if reading is not None:
            # Whoever stops waiting here must not stop the reading, which lets go of the process.
            await asyncio.shield(reading)

    async def restart(self) -> None:
        """End the engine, whatever it is doing, and start another."""
        await self.close()
        self.open()

    async def _read(self, process: subprocess.Popen[bytes], pipe: _CommandPipe) -> None:
        reader = asyncio.StreamReader(limit=LINE_LIMIT)
        protocol = asyncio.StreamReaderProtocol(reader)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: protocol, process.stdout)
        try:
            reason = await self._pump(reader)
        finally:
            transport.close()
        # An engine whose command pipe closes leaves, also one that was given up.
        pipe.close()
        self._pipe = None
        await asyncio.to_thread(_wait_or_kill, process)
        self._process = None
        if not self._is_closing:
            self._on_gone(reason or _obituary(process.returncode))

    async def _pump(self, reader: asyncio.StreamReader) -> ErrorInfo | None:
        """Hand batches on until the pipe ends; return why it was given up, if it was."""
        while True:
            try:
                line = await reader.readline()
                # A line without an end is what a process that was killed was writing.
                if not line.endswith(b"\n"):
                    return None
                events = wire.decode(line)
            except ValueError as error:  # no message, or a line beyond LINE_LIMIT
                return ErrorInfo(f"the engine sent something unreadable: {error}", RESTART)
            first = events[0] if events else None
            if isinstance(first, EngineStarted) and first.protocol != PROTOCOL_VERSION:
                return ErrorInfo(
                    f"engine and app speak different versions "
                    f"({first.protocol} and {PROTOCOL_VERSION})",
                    "reinstall mtplx-tui",
                )
            if isinstance(first, EngineFailed):
                return first.error
            self._on_events(events)


RESTART = "restart the engine; its log tells more"


def _obituary(returncode: int) -> ErrorInfo:
    if returncode < 0:
        return ErrorInfo(f"the engine was ended by signal {-returncode}", RESTART)
    return ErrorInfo(f"the engine ended with exit code {returncode}", RESTART)


class _CommandPipe:
    """The way to a process's standard input. What the process is slow to take waits here."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdin is None:
            raise ValueError("the process has no command pipe")
        self._file = process.stdin
        self._loop = asyncio.get_running_loop()
        self._waiting = bytearray()
        os.set_blocking(self._file.fileno(), False)

    def write(self, data: bytes) -> None:
        """Take data. Raises BrokenPipeError where nobody will read it."""
        self._waiting += data
        try:
            while self._waiting:
                del self._waiting[: os.write(self._file.fileno(), self._waiting)]
        except BlockingIOError:
            self._loop.add_writer(self._file.fileno(), self._go_on)

    def _go_on(self) -> None:
        self._loop.remove_writer(self._file.fileno())
        try:
            self.write(b"")
        except BrokenPipeError:
            # The process is gone, which its reader notices and tells.
            self._waiting.clear()

    def close(self) -> None:
        """End the pipe; what waits has no reader any more."""
        self._loop.remove_writer(self._file.fileno())
        self._file.close()


def _wait_or_kill(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(END_WAIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
