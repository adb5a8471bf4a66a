"""What runs on this machine, as `ps` tells it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

PATIENCE_S = 60.0
"""What a test waits for at most, wherever it waits: on a loaded machine seconds are short."""


def children(parent: int) -> list[int]:
    """Return the ids of a process's children."""
    command = ["ps", "-A", "-o", "pid=,ppid=,comm="]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = (line.split(None, 2) for line in listed.splitlines())
    return [int(pid) for pid, ppid, name in rows if int(ppid) == parent and name != "ps"]


def is_gone(pid: int) -> bool:
    """Whether there is no such process any more, or only what its parent has not read yet."""
    command = ["ps", "-p", str(pid), "-o", "stat="]
    state = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return not state or state.startswith("Z")


def comes_true(is_so: Callable[[], bool], within_s: float = PATIENCE_S) -> bool:
    """Whether something becomes true in time; looked at a hundred times a second."""
    deadline = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
