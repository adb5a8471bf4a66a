"""Gives a terminal back where the program can't do it any more: killed, or crashed in native code.

A process of its own waits for the program's end. Started by a shell the shell may mend the keys; started by
`uv run` nobody does: no echo, no ctrl+c, and a mouse that types.
"""

from __future__ import annotations

import os
import termios
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["FULL_SCREEN", "LINES", "given_back"]

LINES = b"\x1b[?2004l\x1b[0m\x1b[?25h"
"""No marks around what is pasted, no colour, and a cursor."""
FULL_SCREEN = (
    b"\x1b[?2026l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1015l\x1b[?1004l\x1b[?2048l"
    b"\x1b[<u\x1b[?7h\x1b[?1049l" + LINES
)
"""No reports of mouse, focus and size, keys as ever, long lines that wrap, and the screen of before."""
_MOST_DESCRIPTORS = 1024


@contextmanager
def given_back(descriptor: int, restoring: bytes) -> Generator[None]:
    """Have a terminal given back if this process ends within.

    Args:
        descriptor: of the terminal, as it is to be again; of anything else, nothing is done.
        restoring: what is written to it then.
    """
    try:
        modes = termios.tcgetattr(descriptor)
        reading, writing = os.pipe()
    except (OSError, termios.error):
        yield
        return
    begun = os.fork()
    if not begun:
        try:
            # In a session of its own, and nobody's child: it lives on whatever becomes of the program.
            os.setsid()
            if not os.fork():
                _wait(reading, descriptor, modes, restoring)
        finally:
            os._exit(0)
    os.close(reading)
    os.waitpid(begun, 0)
    try:
        yield
    finally:
        with suppress(BrokenPipeError):  # it was killed
            os.write(writing, b".")
        os.close(writing)


def _wait(reading: int, descriptor: int, modes: list[Any], restoring: bytes) -> None:
    """Wait for the program's end; where it said nothing before, give the terminal back."""
    low, high = sorted((reading, descriptor))
    for first, end in ((0, low), (low + 1, high), (high + 1, _MOST_DESCRIPTORS)):
        if first < end:  # to Python, from 0 to before 0 is everything
            os.closerange(first, end)
    if not os.read(reading, 1):
        termios.tcsetattr(descriptor, termios.TCSANOW, modes)
        os.write(descriptor, restoring)
