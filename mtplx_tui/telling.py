"""When the tab that is shown and the status bar are told: owns what they were not told yet.

No event is lost: those that come faster than the pace are told together. Knows no screen.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Protocol

from engine.protocol import Event
from mtplx_tui.pace import Pace

__all__ = ["NOTE_S", "SetTimer", "Spaced", "Telling"]

NOTE_S = 20.0
STATUS_S = 0.2
"""Least time between two looks of the status bar at figures that only grow."""


class Timer(Protocol):
    """What calls once, later."""

    def stop(self) -> object:
        """Call no more."""


SetTimer = Callable[[float, Callable[[], None]], Timer]
"""Has something called after so many seconds."""


class Spaced:
    """Does a thing at once, or as soon as the last time is long enough ago.

    Args:
        do: the thing.
        least_s: tells the seconds from one time to the next.
        set_timer: calls when they are over.
    """

    def __init__(
        self, do: Callable[[], None], least_s: Callable[[], float], set_timer: SetTimer
    ) -> None:
        self._do, self._least_s, self._set_timer = do, least_s, set_timer
        self._done_at = 0.0
        self._timer: Timer | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether it is yet to be done."""
        return self._timer is not None

    def soon(self) -> None:
        """Do it when it is time."""
        wait = self._done_at + self._least_s() - time.monotonic()
        if wait <= 0:
            self.now()
        elif self._timer is None:
            self._timer = self._set_timer(wait, self.now)

    def now(self) -> None:
        """Do it, and no more for what asked before."""
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        self._done_at = time.monotonic()
        self._do()


class Telling:
    """See the module.

    Args:
        pace: how often the tab is told.
        tell: tells the tab of events.
        show_status: has the status bar look.
        set_timer: calls something later.
    """

    def __init__(
        self,
        pace: Pace,
        tell: Callable[[tuple[Event, ...]], None],
        show_status: Callable[[], None],
        set_timer: SetTimer,
    ) -> None:
        self.pace = pace
        self.note = ""
        """What the status bar shows for a while."""
        self.status = Spaced(show_status, lambda: STATUS_S, set_timer)
        self.tab = Spaced(self._tell_all, lambda: self.pace.interval_s, set_timer)
        self._tell, self._set_timer = tell, set_timer
        self._untold: list[Event] = []

    def take(self, events: tuple[Event, ...] = ()) -> None:
        """Tell the tab that something changed, and of these events, as often as the pace allows."""
        self._untold += events
        self.tab.soon()

    def _tell_all(self) -> None:
        events, self._untold = tuple(self._untold), []
        self.status.soon()
        self._tell(events)

    def show_note(self, note: str, *, in_place_of: str = "") -> None:
        """Show something in the status bar for a while, once.

        Args:
            note: what to show; empty shows nothing.
            in_place_of: a note that is true no longer.
        """
        if note and note != self.note:
            self.note = note
            self._set_timer(NOTE_S, functools.partial(self._drop_note, note))
            self.status.soon()
        elif not note:
            self._drop_note(in_place_of)

    def _drop_note(self, note: str) -> None:
        """Show a note no longer, if it is still shown."""
        if note and note == self.note:
            self.note = ""
            self.status.now()
