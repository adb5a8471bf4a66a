"""What the person is told in passing: in the app, and by the terminal while looking elsewhere.

Knows no screen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

from engine.protocol import ErrorInfo, RequestDone
from mtplx_tui.remedies import one_line
from mtplx_tui.telling import NOTE_S
from mtplx_tui.wording import duration

__all__ = ["Notices"]

FAULTS_TOLD = 2
"""Each by a notice of its own, at most."""
LONG_ANSWER_S = 10.0
"""From here on a person may have gone elsewhere meanwhile."""


class Show(Protocol):
    """Shows a notice; None is the time that is usual."""

    def __call__(
        self,
        message: str,
        *,
        severity: Literal["information", "warning", "error"] = "information",
        timeout: float | None = None,
        markup: bool = True,
    ) -> None:
        """Show it."""


class Notices:
    """See the module.

    Args:
        show: shows a notice in the app.
        ring: has the terminal call a person who looks elsewhere.
        may_ring: tells whether the person wants to be called.
    """

    def __init__(
        self, show: Show, ring: Callable[[str], None], may_ring: Callable[[], bool]
    ) -> None:
        self._show, self._ring, self._may_ring = show, ring, may_ring

    def say(self, text: str) -> None:
        """Tell how something went."""
        self._show(text, timeout=NOTE_S, markup=False)

    def warn(self, text: str, timeout: float | None = None) -> None:
        """Tell of something that is not as it should be."""
        self._show(text, severity="warning", timeout=timeout, markup=False)

    def warn_of_files(self, faults: list[str]) -> None:
        """Tell what is wrong with the files here; of many only the first, they would cover the screen."""
        if len(faults) > FAULTS_TOLD:
            rest = len(faults) - 1
            faults = [faults[0], f"and {rest} more files have faults; {{app.doctor}} names them"]
        for fault in faults:
            self.warn(fault, NOTE_S)

    def fail(self, text: str) -> None:
        """Tell of something that could not be done."""
        self._show(text, severity="error", timeout=NOTE_S, markup=False)

    def error(self, error: ErrorInfo) -> None:
        """Tell what went wrong in the engine, and what helps."""
        self.fail(one_line(error))

    def call(self, text: str) -> None:
        """Have the terminal call, where that is wanted."""
        if self._may_ring():
            self._ring(text)

    def answered(self, done: RequestDone, *, is_seen: bool) -> None:
        """Tell of an answer that took long to a person who is looking elsewhere.

        Args:
            done: how it ended.
            is_seen: whether the tab it is in is shown.
        """
        if done.total_s < LONG_ANSWER_S or not self._may_ring():
            return
        text = f"answered: {done.completion_tokens:,} tokens in {duration(done.total_s)}"
        self.call(text)
        if not is_seen:
            self.say(text)
