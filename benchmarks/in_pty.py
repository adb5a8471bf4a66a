"""Runs a program in a pseudo-terminal of a given size, as the benchmarks of the screen need it."""

from __future__ import annotations

import fcntl
import os
import platform
import pty
import struct
import termios
import threading
from collections.abc import Mapping
from importlib.metadata import version

TRUE_COLOR = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}


def start(command: list[str], size: str, environment: Mapping[str, str]) -> tuple[int, int]:
    """Start a program on a terminal of its own.

    Args:
        command: program and arguments.
        size: columns and rows, like 120x40.
        environment: added to this process's own.

    Returns:
        The process id, and the descriptor of the terminal's other end.
    """
    columns, rows = map(int, size.split("x"))
    pid, master = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.environ.update(TRUE_COLOR | dict(environment))
        os.execvp(command[0], command)
    return pid, master


def run(command: list[str], size: str) -> None:
    """Run a program to its end; what it draws is read and forgotten."""
    pid, master = start(command, size, {})
    threading.Thread(target=_drain, args=(master,), daemon=True).start()
    os.waitpid(pid, 0)


def machine() -> dict[str, object]:
    """Return what a figure was measured on."""
    names = ("mlx", "mlx-lm", "textual")
    return {
        "machine": f"{platform.system()} {platform.machine()}, {processor()}",
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in names},
    }


def processor() -> str:
    """Return the processor's own name, where Linux tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or "unknown processor"


def _drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 65536):
            pass
    except OSError:
        return
