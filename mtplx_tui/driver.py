"""Textual's driver of a terminal, which goes on only after it was stopped, and knows how large it is now.

A terminal that is taken away sends SIGCONT after SIGHUP, and anybody may send it. Textual then
starts its threads a second time; the first ones outlive the app, and one spins on a terminal that
is gone.

While a window is pulled at, signals come one upon the other: a handler is interrupted by the next once
it has asked for the size, and tells its own, which is older, last. So the size is asked for again when
its turn has come.
"""

from __future__ import annotations

from textual.drivers.linux_driver import LinuxDriver
from textual.events import Resize
from textual.geometry import Size

__all__ = ["Driver"]


class Driver(LinuxDriver):
    """See the module."""

    def newest(self, event: Resize) -> Resize:
        """Return a change of size with the size that the terminal has by now."""
        size = Size(*self._get_terminal_size())
        return event if event.size == size else Resize(size, size)

    def _sigcont_application(self, *_: object) -> None:
        if self._must_signal_resume:
            super()._sigcont_application()
