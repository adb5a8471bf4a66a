"""A terminal with a program in it: keys go in, a screen is read."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyte

from tests.fakes.processes import PATIENCE_S


class Terminal:
    """Runs a program in a pseudo-terminal of its own, as its session's leader.

    Args:
        command: the program and its words.
        environment: all of it.
        size: columns and rows.
        answers: whether it tells where its cursor is when it is asked, as most terminals do.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        environment: Mapping[str, str],
        size: tuple[int, int] = (100, 30),
        *,
        answers: bool = False,
    ) -> None:
        self._ours, theirs = os.openpty()
        self._screen = pyte.Screen(*size)
        if answers:
            self._screen.write_process_input = lambda data: self.press(data)  # how pyte says it
        self._stream = pyte.ByteStream(self._screen)
        self.written = b""
        """All that the program wrote."""
        self._set_size(size)
        self._is_over = False
        self.process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            start_new_session=True,
            # The first terminal that a session's leader opens becomes its own.
            preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),
        )
        os.close(theirs)

    @property
    def text(self) -> str:
        """What the screen shows."""
        rows = (self._screen.buffer[y] for y in range(self._screen.lines))
        columns = range(self._screen.columns)
        return "\n".join("".join(row[x].data for x in columns) for row in rows)

    @property
    def screen(self) -> pyte.Screen:
        """What the screen shows, with its colours."""
        return self._screen

    @property
    def modes(self) -> list[Any]:
        """What the terminal does with keys, as `termios` tells it."""
        return termios.tcgetattr(self._ours)

    @property
    def reads_keys(self) -> bool:
        """Whether the program gets each key as it is pressed, not a line at a time."""
        return not self.modes[3] & termios.ICANON

    def press(self, keys: str | bytes) -> None:
        """Type keys, or whatever a broken line makes of them."""
        os.write(self._ours, keys.encode() if isinstance(keys, str) else keys)

    def resize(self, columns: int, rows: int) -> None:
        """Give the terminal another size, and tell the program as the kernel does."""
        self._set_size((columns, rows))
        self._screen.resize(rows, columns)
        os.kill(self.process.pid, signal.SIGWINCH)

    def shows(self, *texts: str, within_s: float = PATIENCE_S) -> float:
        """Wait until the screen shows all of these; return how many seconds that took."""
        return self.until(lambda: all(text in self.text for text in texts), texts, within_s)

    def until(
        self, is_so: Callable[[], bool], what: object = "", within_s: float = PATIENCE_S
    ) -> float:
        """Read on until something is so; return how many seconds that took."""
        begin = time.monotonic()
        while not is_so():
            left = begin + within_s - time.monotonic()
            assert left > 0, f"not in time: {what}\n{self.text}"
            assert self._read(min(left, 0.1)) or is_so(), f"it ended: {what}\n{self.text}"
        return time.monotonic() - begin

    def until_given_back(self, is_so: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
        """Read on until something is so that another process sees to, some time after the program is gone."""
        end = time.monotonic() + within_s
        while not is_so():
            assert time.monotonic() < end, f"not given back\n{self.text}"
            if not self._read(0.1):
                time.sleep(0.02)

    def rest(self, quiet_s: float = 1.0, at_most_s: float = 5.0) -> None:
        """Read on until nothing more is written for a while; a cursor that blinks has no end."""
        written, end = -1, time.monotonic() + at_most_s
        while written < len(self.written) and time.monotonic() < end:
            written = len(self.written)
            deadline = time.monotonic() + quiet_s
            while (left := deadline - time.monotonic()) > 0 and self._read(left):
                pass

    def end(self, within_s: float = PATIENCE_S) -> int:
        """Read on until the program has ended, and return its exit code."""
        deadline = time.monotonic() + within_s
        while self._read(0.1):
            assert time.monotonic() < deadline, f"it goes on\n{self.text}"
        return self.process.wait(within_s)

    def hang_up(self) -> None:
        """Take the terminal away."""
        if not self._is_over:
            self._is_over = True
            os.close(self._ours)

    def close(self) -> None:
        """End the program, if it is not over, and the terminal."""
        self.process.kill()
        self.process.wait()
        self.hang_up()

    def _set_size(self, size: tuple[int, int]) -> None:
        columns, rows = size
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _read(self, timeout_s: float) -> bool:
        """Read what there is within some time; False where there will be no more."""
        ready, _, _ = select.select([self._ours], [], [], timeout_s)
        if not ready:
            return self.process.poll() is None
        try:
            data = os.read(self._ours, 1 << 16)
        except OSError:  # the last that had the terminal open is gone
            return False
        self.written += data
        self._stream.feed(data)
        return bool(data)
