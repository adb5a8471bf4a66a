"""Textual's driver of a terminal, which goes on only after it was stopped.

A terminal that is taken away sends SIGCONT after SIGHUP, and anybody may send it. Textual then
starts its threads a second time; the first ones outlive the app, and one spins on a terminal that
is gone.
"""

from __future__ import annotations

from textual.drivers.linux_driver import LinuxDriver

__all__ = ["Driver"]


class Driver(LinuxDriver):
    """See the module."""

    def _sigcont_application(self, *_: object) -> None:
        if self._must_signal_resume:
            super()._sigcont_application()
