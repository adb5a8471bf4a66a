"""What the terminal can do, as far as its name tells: it is not asked, since the app may own it."""

from __future__ import annotations

import locale
from collections.abc import Iterator

from mtplx_tui.config import Terminal
from mtplx_tui.doctor.check import Check, Severity
from mtplx_tui.doctor.surroundings import Surroundings

__all__ = ["check_terminal"]

LEAST, GOOD = (60, 16), (80, 24)
"""Columns and rows: what the app can be shown in, and what it is made for."""
_NO_MOUSE = ("linux", "vt100", "vt220", "ansi")
_COPIES = ("ghostty", "WezTerm", "kitty", "alacritty", "foot", "contour", "rio", "WarpTerminal")
_TRUE_COLOR = 2**24


def check_terminal(s: Surroundings) -> Iterator[Check]:
    """Tell name, colours, size, signs, mouse and clipboard."""
    terminal = s.terminal
    yield _name(terminal)
    yield _unicode(terminal)
    if terminal.is_dumb:
        return
    yield _colors(terminal)
    yield _size(s.size)
    yield _mouse(terminal)
    yield _clipboard(terminal)


def _name(terminal: Terminal) -> Check:
    expected = "a full-screen terminal"
    if not terminal.is_dumb:
        program = f" in {terminal.program}" if terminal.program else ""
        far = ", over ssh" if terminal.is_ssh else ""
        return Check("terminal", expected, f"{terminal.name}{program}{far}")
    found = f"TERM={terminal.name}" if terminal.name else "TERM is not set"
    remedy = "the app needs one; `mtplx-tui chat`, `generate` and `serve` work without"
    return Check("terminal", expected, found, Severity.ERROR, remedy)


def _unicode(terminal: Terminal) -> Check:
    encoding = locale.getencoding()
    if terminal.is_utf8:
        return Check("signs", "UTF-8", "the locale promises UTF-8")
    remedy = "plain signs are drawn; for all of them: export LANG=C.UTF-8, or en_US.UTF-8"
    found = f"the locale does not promise UTF-8 (files are read as {encoding})"
    return Check("signs", "UTF-8", found, Severity.WARNING, remedy)


def _colors(terminal: Terminal) -> Check:
    expected = "16 million"
    if not terminal.has_color:
        return Check("colours", expected, "none, by NO_COLOR", Severity.NOTE, "unset NO_COLOR")
    if terminal.colors >= _TRUE_COLOR:
        return Check("colours", expected, "16 million")
    remedy = "if the terminal can do it: export COLORTERM=truecolor"
    return Check("colours", expected, str(terminal.colors), Severity.NOTE, remedy)


def _size(size: tuple[int, int] | None) -> Check:
    expected = f"{GOOD[0]} x {GOOD[1]} or more"
    if size is None:
        return Check("size", expected, "no terminal to measure", Severity.NOTE)
    found = f"{size[0]} x {size[1]}"
    if size[0] < LEAST[0] or size[1] < LEAST[1]:
        remedy = f"make the window larger; the app needs {LEAST[0]} x {LEAST[1]}"
        return Check("size", expected, found, Severity.WARNING, remedy)
    is_tight = size[0] < GOOD[0] or size[1] < GOOD[1]
    return Check("size", expected, found, Severity.NOTE if is_tight else Severity.OK)


def _mouse(terminal: Terminal) -> Check:
    if terminal.name in _NO_MOUSE:
        remedy = "everything has a key; F1 lists them"
        return Check("mouse", "reports clicks", "this kind has none", Severity.NOTE, remedy)
    if terminal.is_tmux:
        return Check("mouse", "reports clicks", "by tmux, to programs that ask")
    return Check("mouse", "reports clicks", "this kind does")


def _clipboard(terminal: Terminal) -> Check:
    expected = "takes copied text (OSC 52)"
    kind = f"{terminal.name} {terminal.program}"
    if terminal.is_tmux:
        remedy = "set -g set-clipboard on, in ~/.tmux.conf"
        return Check("clipboard", expected, "tmux passes it on if told to", Severity.NOTE, remedy)
    if terminal.program == "Apple_Terminal" or terminal.name in _NO_MOUSE:
        remedy = "select with the mouse, or save the conversation to a file"
        return Check("clipboard", expected, "this kind takes none", Severity.NOTE, remedy)
    if any(name.lower() in kind.lower() for name in _COPIES):
        return Check("clipboard", expected, "this kind does")
    remedy = "if copying does nothing, allow OSC 52 in the terminal's own settings"
    return Check("clipboard", expected, "its name does not tell", Severity.NOTE, remedy)
