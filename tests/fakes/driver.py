"""A real engine process driven from a test, command by command."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from engine import wire
from engine.protocol import (
    ChatMessage,
    Command,
    CycleDone,
    EngineStarted,
    Event,
    Generate,
    LoadFailed,
    LoadModel,
    ModelInfo,
    ModelLoaded,
    RequestDone,
    RequestFailed,
    Role,
)
from mtplx_tui import link


class EngineProcess:
    """Spawns the engine as the app does; events are read with a deadline."""

    def __init__(self, cache: Path, blas: str = "auto") -> None:
        self.log = cache / "engine.log"
        self.process: subprocess.Popen[bytes] = link.spawn(
            link.engine_command(cache, blas), self.log
        )
        self._buffer = b""
        self._events: list[Event] = []
        self.model: ModelInfo | None = None
        started = self.wait_for(EngineStarted)
        assert isinstance(started, EngineStarted)
        self.started = started

    def send(self, *commands: Command) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(wire.encode(commands))
        self.process.stdin.flush()

    def next_event(self, timeout_s: float = 120) -> Event:
        """Return the next event; raises EOFError when the process has ended."""
        while not self._events:
            self._read(timeout_s)
        return self._events.pop(0)

    def wait_for(self, *kinds: type, timeout_s: float = 120) -> Event:
        """Return the next event of these kinds, passing over others."""
        deadline = time.monotonic() + timeout_s
        while not isinstance(event := self.next_event(deadline - time.monotonic()), kinds):
            pass
        return event

    @contextlib.contextmanager
    def held(self) -> Generator[None]:
        """Hold the engine where it is; all that it has told by then is passed over."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            with contextlib.suppress(TimeoutError):
                while True:
                    self._read(0.1)
            self._events.clear()
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def load(self, name: str, path: Path) -> ModelInfo:
        self.send(LoadModel("load", name, str(path)))
        event = self.wait_for(ModelLoaded, LoadFailed, timeout_s=300)
        assert isinstance(event, ModelLoaded), event
        self.model = event.model
        return event.model

    def complete(
        self, command: Generate, watch: Callable[[Event], object] = lambda _: None
    ) -> tuple[list[CycleDone], RequestDone]:
        """Run a request to its end."""
        self.send(command)
        cycles: list[CycleDone] = []
        while True:
            event = self.next_event()
            watch(event)
            if isinstance(event, CycleDone):
                cycles.append(event)
            assert not isinstance(event, RequestFailed), event
            if isinstance(event, RequestDone):
                return cycles, event

    def close(self) -> int:
        """Close the command pipe and return the exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            return self.process.wait(10)
        finally:
            self.kill()

    def kill(self) -> None:
        """End the process at once, and let go of its pipes."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def _read(self, timeout_s: float) -> None:
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        ready, _, _ = select.select([descriptor], [], [], max(0.0, timeout_s))
        if not ready:
            raise TimeoutError(f"nothing from the engine; its log: {self.log.read_text()}")
        data = os.read(descriptor, 1 << 20)
        if not data:
            raise EOFError(f"the engine ended; its log: {self.log.read_text()}")
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._events += wire.decode(line + b"\n")


def question(text: str, request: str = "r", **options: Any) -> Generate:
    """Return a request of one user message."""
    return Generate(request, (ChatMessage(Role.USER, text),), **options)


def token_ids(cycles: list[CycleDone]) -> list[int]:
    """Return all emitted ids."""
    return [token for cycle in cycles for token in cycle.emitted]


def text_of(cycles: list[CycleDone], done: RequestDone) -> str:
    """Return all text, whatever its channel."""
    runs = [run for cycle in cycles for run in cycle.runs]
    return "".join(run.text for run in (*runs, *done.runs))
