"""The terminal: refuses one that can't show the app, and keeps native output off the screen.

Textual draws to `sys.__stderr__`, reads `sys.__stdin__` and asks `sys.__stdout__` for the size.
While the app runs, both outputs are a private handle on the terminal, and descriptors 1 and 2,
where libraries and child processes write, lead into a log.
"""

from __future__ import annotations

import codecs
import faulthandler
import io
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from mtplx_tui.config import Terminal
from mtplx_tui.files import open_log
from mtplx_tui.wording import cells

__all__ = ["TerminalRefused", "check_terminal", "notice", "private_terminal"]

HINT = "`mtplx-tui generate --help` shows how to work without it"


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


def notice(text: str, terminal: Terminal) -> str:
    """Return what makes a terminal call its person: its bell, and a notice where it can show one."""
    plain = "".join(sign if sign.isprintable() else " " for sign in text).replace(";", ",")
    told = f"notify;mtplx-tui;{plain}" if terminal.osc_notice == 777 else plain
    return f"\x1b]{terminal.osc_notice};{told}\a\a" if terminal.osc_notice else "\a"


@contextmanager
def private_terminal(log: Path, *, is_utf8: bool = True) -> Generator[None]:
    """Keep the terminal for Textual alone; what else is written goes to a log.

    Args:
        log: appended to; where it can't be written, what would go there is dropped.
        is_utf8: whether the terminal takes UTF-8; what another can't show is shown plainer.
    """
    kept_out, kept_err = sys.__stdout__, sys.__stderr__
    _flush()
    saved = [os.dup(1), os.dup(2)]
    handle = _open_handle(saved[1], is_utf8=is_utf8)
    descriptor = open_log(log)
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


def _open_handle(descriptor: int, *, is_utf8: bool) -> io.TextIOWrapper:
    """Return a handle of its own on a terminal, which no child process inherits."""
    kept = sys.__stderr__
    encoding = (kept.encoding if kept is not None else None) or "utf-8"
    if not is_utf8 and encoding.lower() == "utf-8":
        encoding = "ascii"  # Python writes UTF-8 in the C locale, which promises no more than this
    codecs.register_error(_PLAINER, _plainer)
    return open(os.dup(descriptor), "w", encoding=encoding, errors=_PLAINER)


_PLAINER = "mtplx-tui-plainer"
_LIKENESS = {
    "·": "-",
    "…": ".",
    "×": "x",
    "–": "-",
    "’": "'",
    "▕": "|",
    "▏": "|",
    "│": "|",
    "─": "-",
}


def _plainer(error: UnicodeError) -> tuple[str, int]:
    """Replace what an encoding lacks by something like it, of the same width."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_LIKENESS.get(sign) or "?" * cells(sign) for sign in lacking), error.end


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
