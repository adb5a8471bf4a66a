"""Opens the app: checks the terminal and the model's name, starts the engine, then the screen.

The engine process starts before Textual is imported, so both come up at the same time. What is made
until the first frame stays: garbage is never looked for among that.
"""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mtplx_tui import config, link
from mtplx_tui.cli import tell
from mtplx_tui.giving_back import FULL_SCREEN, given_back
from mtplx_tui.library.disk import ModelNotFound, resolve
from mtplx_tui.remedies import one_line
from mtplx_tui.term import TerminalRefused, check_terminal, private_terminal

if TYPE_CHECKING:
    from mtplx_tui.app import MtplxApp

__all__ = ["open_app", "open_trace"]


def open_app(model: str | None) -> int:
    """Run the app until it is left.

    Args:
        model: what to open; None for the last one, or the demo.

    Returns:
        The exit code.
    """
    return _open(model, None)


def open_trace(path: Path) -> int:
    """Run the app on a trace that can be read; no engine starts until it is asked for.

    Returns:
        The exit code.
    """
    return _open(None, path)


def _open(model: str | None, trace: Path | None) -> int:
    try:
        terminal = config.read_terminal()
        check_terminal(terminal)
        if model is not None:
            resolve(model)
    except TerminalRefused as error:
        tell(str(error))
        return 2
    except ModelNotFound as error:
        tell(one_line(error))
        return 1
    places = config.find_places()
    settings, problems = config.load_settings(places)
    command = link.engine_command(places.cache, settings.blas)
    start = functools.partial(link.spawn, command, places.logs / "engine.log")
    process = None
    if trace is None:
        try:
            process = start()
        except OSError:
            process = None  # the app tries again, and tells
    from mtplx_tui.app import MtplxApp

    make = functools.partial(
        MtplxApp,
        places=places,
        settings=settings,
        terminal=terminal,
        start_engine=start,
        process=process,
        model=model,
        problems=problems,
        trace=trace,
        on_seen=_collect_from_now_on,
    )
    return _run(make, places.logs / "app.log", is_utf8=terminal.is_utf8)


def _collect_from_now_on() -> None:
    """Let garbage be looked for, except among what there is now."""
    gc.freeze()
    gc.enable()


def _run(make: Callable[[], MtplxApp], log: Path, *, is_utf8: bool) -> int:
    """Run an app on a terminal of its own.

    Returns:
        The exit code: 0, 1 where the app failed, 128 and the number of the signal that ended it.
    """
    with given_back(2, FULL_SCREEN), private_terminal(log, is_utf8=is_utf8):
        app = make()
        code = app.run()
    if code is None and app.return_code != 0:
        tell(f"something went wrong in the app; {log} tells more")
        return 1
    return code or 0
