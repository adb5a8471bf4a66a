"""How often what the engine says is drawn: as the person wants it, and no faster than a slow line takes.

A terminal behind a slow line leaves drawings waiting; where many wait, the app would stall with
them. So the pace falls while they do, and rises again once all are taken. Knows no screen.
"""

from __future__ import annotations

__all__ = ["Pace"]

FULL_HZ = 10
"""From here on everything is drawn as it comes: the tabs keep a pace of their own."""
SSH_S = 0.2
SLOWEST_S = 1.0
MANY = 4
"""Drawings that wait; Textual's writer holds 30 and then blocks."""


class Pace:
    """The least time between two drawings.

    Args:
        hz: what the person wants.
        is_ssh: whether the terminal is at the other end of a line.
    """

    def __init__(self, hz: int, *, is_ssh: bool) -> None:
        wanted = 0.0 if hz >= FULL_HZ else 1 / hz
        self._least = max(wanted, SSH_S) if is_ssh else wanted
        self.interval_s = self._least
        """Seconds; 0 to draw at once."""

    def look(self, waiting: int) -> None:
        """Take it that so many drawings wait to be taken by the terminal; to be called twice a second."""
        if waiting >= MANY:
            self.interval_s = min(SLOWEST_S, max(1 / FULL_HZ, self.interval_s) * 2)
        elif not waiting:
            self.interval_s /= 2
            if self.interval_s < max(self._least, 1 / FULL_HZ):
                self.interval_s = self._least
