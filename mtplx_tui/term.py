"""The terminal: refuses one that can't show the app, and keeps native output off the screen.

Textual draws to `sys.__stderr__`, reads `sys.__stdin__` and asks `sys.__stdout__` for the size.
While the app runs, both outputs are a private handle on the terminal, and descriptors 1 and 2,
where libraries and child processes write, lead into a log.
"""

from __future__ import annotations

import faulthandler
import io
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from mtplx_tui.config import Terminal

__all__ = ["TerminalRefused", "check_terminal", "private_terminal"]

HINT = "`mtplx-tui generate --help` shows how to work without it"
LOG_BYTES = 1_000_000
"""A longer log is put aside as `.1` before a new one begins."""


class TerminalRefused(Exception):
    """The app can't be shown here; the message is one line and says what to do instead."""


def check_terminal(terminal: Terminal) -> None:
    """Raise TerminalRefused unless the full-screen app can be shown."""
    if terminal.is_dumb:
        name = f"TERM={terminal.name}" if terminal.name else "TERM is not set"
        raise TerminalRefused(f"the app needs a full-screen terminal ({name}); {HINT}")
    for stream, what in ((sys.__stdin__, "input"), (sys.__stderr__, "error output")):
        if stream is None or not stream.isatty():
            raise TerminalRefused(f"the app needs a terminal, and its {what} is none; {HINT}")


@contextmanager
def private_terminal(log: Path) -> Generator[None]:
    """Keep the terminal for Textual alone; what else is written goes to a log.

    Args:
        log: appended to; where it can't be written, what would go there is dropped.
    """
    kept_out, kept_err = sys.__stdout__, sys.__stderr__
    _flush()
    saved = [os.dup(1), os.dup(2)]
    handle = _open_handle(saved[1])
    descriptor = _open_log(log)
    sys.__stdout__ = sys.__stderr__ = handle
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    faulthandler.enable(descriptor)
    try:
        yield
    finally:
        _flush()
        faulthandler.disable()
        os.dup2(saved[0], 1)
        os.dup2(saved[1], 2)
        sys.__stdout__, sys.__stderr__ = kept_out, kept_err
        for number in (*saved, descriptor):
            os.close(number)
        _close(handle)


def _open_handle(descriptor: int) -> io.TextIOWrapper:
    """Return a handle of its own on a terminal, which no child process inherits."""
    kept = sys.__stderr__
    return open(
        os.dup(descriptor),
        "w",
        encoding=(kept.encoding if kept is not None else None) or "utf-8",
        errors="replace",
    )


def _open_log(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > LOG_BYTES:
            path.replace(path.with_name(f"{path.name}.1"))
        return os.open(path, flags, 0o600)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


def _flush() -> None:
    """Write out what Python holds back, to where it belongs at this moment."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def _close(handle: io.TextIOWrapper) -> None:
    """Close the handle, of a terminal that may be gone already."""
    try:
        handle.close()
    except OSError:
        return
