"""The fan guard: a process of its own, the only one that writes fans, and the one that undoes it.

Started as `python -I <this file> BACKEND ROOT STATE_FOLDER`; takes lines of JSON on standard input
and answers in lines of JSON on standard output. It writes down how it found the fans before it
touches them, gives them back when its client dies, freezes or has nothing to do any more, and does
not call them given back before it has read that they are. Standard library only, and of this
project nothing but its neighbours.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":
    # Isolated, Python looks for modules in its own folders only; ours comes last.
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from mtplx_tui.machine.guard import Backend, Clock, Guard
from mtplx_tui.machine.guard_state import Refused, StateFile

__all__ = ["Frames", "Thermometer", "main"]

FRAME_BYTES, FRAME_S = 1024, 2.0
"""The longest message, and the longest time for one to arrive whole."""
FRESH_S = 2.5
"""An older temperature is none."""


class Frames:
    """Cuts what a pipe gives into messages, within bounds of length and time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rest = b""
        self._since_s = 0.0

    def feed(self, data: bytes) -> list[dict[str, object]]:
        """Return the messages that are whole now.

        Raises:
            Refused: one is too long or no JSON object.
        """
        if not self._rest:
            self._since_s = self._clock()
        *lines, self._rest = (self._rest + data).split(b"\n")
        if any(len(line) > FRAME_BYTES for line in (*lines, self._rest)):
            raise Refused(f"a message is longer than {FRAME_BYTES} bytes")
        if lines:
            self._since_s = self._clock()
        return [self._message(line) for line in lines]

    def left_s(self) -> float | None:
        """Return how long the message that has begun may take yet; None where none has."""
        return self._since_s + FRAME_S - self._clock() if self._rest else None

    @staticmethod
    def _message(line: bytes) -> dict[str, object]:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise Refused("a message is not JSON") from error
        if not isinstance(message, dict):
            raise Refused("a message is no JSON object")
        return message


class Thermometer:
    """Reads the temperature in a thread, for a sensor may hang for as long as it likes.

    Args:
        read: gives a temperature or None.
    """

    def __init__(self, read: Callable[[], float | None]) -> None:
        self._read = read
        self._is_wanted, self._is_there = threading.Event(), threading.Event()
        self._celsius: float | None = None
        self._at_s = 0.0
        threading.Thread(target=self._run, daemon=True).start()

    def __call__(self) -> float | None:
        """Return the temperature that came last, and have the next one read."""
        self._is_wanted.set()
        self._is_there.wait(FRESH_S)
        return self._celsius if time.monotonic() - self._at_s < FRESH_S else None

    def _run(self) -> None:
        while True:
            self._is_wanted.wait()
            self._is_wanted.clear()
            self._celsius = self._read()
            self._at_s = time.monotonic()
            self._is_there.set()


def _backend(name: str, root: str) -> Backend:
    if name == "sysfs":
        from mtplx_tui.machine.linux import SysfsFans

        return SysfsFans(Path(root))
    if name == "smc":
        from mtplx_tui.machine.mac import SmcFans, open_smc

        return SmcFans(open_smc())
    raise Refused(f"there is no backend {name!r}")


def _say(message: dict[str, object]) -> None:
    os.write(1, json.dumps(message).encode("utf-8") + b"\n")


class _Pipe:
    """Standard input, and the signals that end the process."""

    def __init__(self) -> None:
        self._wakeup, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        os.set_blocking(1, False)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.set_wakeup_fd(self._waker)
        self.frames = Frames()
        self.is_open = True
        self.is_told_to_end = False

    def pause(self, seconds: float) -> bool:
        """Wait; whether the client is there still, and nobody told us to end."""
        deadline = time.monotonic() + seconds
        poll = select.poll()
        poll.register(0, select.POLLHUP)
        poll.register(self._wakeup, select.POLLIN)
        while (left := deadline - time.monotonic()) > 0:
            if poll.poll(left * 1000):
                return False
        return True

    def read(self, wait_s: float | None) -> list[dict[str, object]]:
        """Return the messages that came within this time. Raises Refused for what is none."""
        left_s = self.frames.left_s()
        if left_s is not None:
            wait_s = left_s if wait_s is None else min(wait_s, left_s)
        sources = [self._wakeup, *([0] if self.is_open else [])]
        ready, _, _ = select.select(sources, [], [], None if wait_s is None else max(0.0, wait_s))
        if self._wakeup in ready:
            os.read(self._wakeup, 64)
            self.is_told_to_end = True
        if 0 in ready:
            data = os.read(0, 4096)
            self.is_open = bool(data)
            return self.frames.feed(data) if data else []
        left_s = self.frames.left_s()
        if left_s is not None and left_s <= 0:
            raise Refused("a message didn't arrive whole")
        return []


def _serve(guard: Guard, pipe: _Pipe) -> None:
    while not guard.is_over:
        try:
            for message in pipe.read(guard.wait_s()):
                guard.take(message)
        except Refused as error:
            pipe.is_open = False
            _try_say({"is": "refused", "why": str(error)})
        if not pipe.is_open:
            guard.lose_client()
        if pipe.is_told_to_end:
            guard.leave()
        guard.tick()


def _try_say(message: dict[str, object]) -> None:
    try:
        _say(message)
    except OSError:
        return


def main(arguments: list[str]) -> int:
    """Guard the fans until the client is gone. Exit code: 0 well, 3 refused, 2 wrong usage."""
    if len(arguments) != 3:
        sys.stderr.write("usage: python -I watchdog.py BACKEND ROOT STATE_FOLDER\n")
        return 2
    name, root, folder = arguments
    os.umask(0o022)
    if os.getpid() != os.getpgrp():
        os.setsid()  # Out of reach of what the terminal sends to all who run in it.
    try:
        fans = _backend(name, root)
        state = StateFile(Path(folder))
        state.lock()
        pipe = _Pipe()
        guard = Guard(
            fans,
            state,
            _say,
            celsius=Thermometer(fans.celsius),
            pause=pipe.pause,
            root=root,
            clock=Clock(),
        )
        guard.recover()
    except (Refused, OSError) as error:
        _try_say({"is": "refused", "why": " ".join(str(error).split())})
        return 3
    _try_say({"is": "hello", "pid": os.getpid()})
    _serve(guard, pipe)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
