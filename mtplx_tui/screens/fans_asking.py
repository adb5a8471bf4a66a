"""Whether fans are held as root, asked of the person with the command shown."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from mtplx_tui.machine.policy import Policy
from mtplx_tui.screens.dialogs import Confirm
from mtplx_tui.telling import NOTE_S

if TYPE_CHECKING:
    from mtplx_tui.app import MtplxApp

__all__ = ["ask_for_fans"]


def ask_for_fans(app: MtplxApp, policy: Policy) -> None:
    """Follow a fan policy; where fans need root, sudo asks first, with the command shown."""
    keeper = app.station.keeper
    if not app.station.snapshot.fans:
        app.notify("no fan can be seen here")
    if policy is Policy.AUTOMATIC or keeper.has_guard or not keeper.setup.needs_root:
        app.station.choose(policy)
        return
    command = keeper.setup.shown_command()
    detail = f"Setting fans needs root. This is what sudo will run:\n\n{command}"
    app.push_screen(Confirm("Hold the fans?", detail), functools.partial(_answered, app, policy))


def _answered(app: MtplxApp, policy: Policy, answer: str | None) -> None:
    if answer is None:
        return
    with app.suspend():
        problem = app.station.open_as_root()
    if problem:
        app.notify(problem, severity="error", timeout=NOTE_S, markup=False)
    else:
        app.station.choose(policy)
