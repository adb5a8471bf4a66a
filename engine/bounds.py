"""Bounds of time and memory around code that came with a model, such as a chat template.

They are the process's own: an alarm, which the main thread alone can have, and on Linux a limit of
address space a bit above what is in use.
"""

from __future__ import annotations

import contextlib
import resource
import signal
import sys
import threading
from collections.abc import Generator
from pathlib import Path

__all__ = ["bounded"]


@contextlib.contextmanager
def bounded(seconds: float, nbytes: int) -> Generator[None]:
    """Run a block of Python within bounds.

    Raises:
        TimeoutError: it took longer.
        MemoryError: it asked for more memory than that, where such a bound can be set.
    """
    with _within_memory(nbytes), _within_time(seconds):
        yield


@contextlib.contextmanager
def _within_time(seconds: float) -> Generator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: object) -> None:
        raise TimeoutError(f"it takes longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _within_memory(nbytes: int) -> Generator[None]:
    if sys.platform != "linux":
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    wanted = pages * resource.getpagesize() + nbytes
    if soft == resource.RLIM_INFINITY or wanted < soft:
        resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
