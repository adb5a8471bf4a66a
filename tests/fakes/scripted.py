"""An engine process that does as a test says, step by step; run as a program by `command`."""

from __future__ import annotations

import os
import signal
import sys

from engine import wire
from engine.protocol import (
    PROTOCOL_VERSION,
    Command,
    EngineFailed,
    EngineStarted,
    ErrorInfo,
    Event,
    LoadCancelled,
    LoadModel,
    Shutdown,
)

HEARD_SHUTDOWN, HEARD_THE_END = 3, 4
"""Exit codes of `obey`."""


def command(*steps: str) -> list[str]:
    """Return the command line of an engine that takes these steps and then leaves.

    A step is a function of this module, `:` and its argument behind it.
    """
    return [sys.executable, __file__, *steps]


def tell(*events: Event) -> None:
    write(wire.encode(events))


def write(data: bytes) -> None:
    os.write(1, data)


def started(protocol: str = str(PROTOCOL_VERSION)) -> None:
    tell(EngineStarted(int(protocol), os.getpid(), "cpu", "0", "0", "stock", ""))


def failed(message: str) -> None:
    tell(EngineFailed(ErrorInfo(message, "")))


def say(text: str) -> None:
    write(text.encode())


def line(text: str) -> None:
    say(f"{text}\n")


def long(size: str) -> None:
    line("x" * int(size))


def die(number: str) -> None:
    os.kill(os.getpid(), int(number))


def leave(code: str) -> None:
    sys.exit(int(code))


def hang(_: str = "") -> None:
    """Hear nothing, whatever is said, and mind no signal that can be minded."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        signal.pause()


def obey(_: str = "") -> None:
    """Answer every load, in order, until told to leave."""
    for data in sys.stdin.buffer:
        for heard in wire.decode(data):
            _answer(heard)
    leave(str(HEARD_THE_END))


def _answer(heard: Command) -> None:
    if isinstance(heard, Shutdown):
        leave(str(HEARD_SHUTDOWN))
    if isinstance(heard, LoadModel):
        tell(LoadCancelled(heard.request))


def main() -> None:
    for step in sys.argv[1:]:
        name, _, argument = step.partition(":")
        do = globals()[name]
        do(argument) if argument else do()


if __name__ == "__main__":
    main()
