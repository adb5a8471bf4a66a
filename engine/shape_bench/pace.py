"""How many rounds there is time for, and who is told how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

__all__ = ["Pace"]

_LEAST = 2
"""Rounds that run whatever time is left, so that each figure has a spread."""


class Pace:
    """One for a whole measurement; its clock runs from when it is made.

    Args:
        repeats: rounds of each part, at most.
        budget_s: of all parts together, first runs included; 0 for as long as it takes.
        tell: told in a line what is being done, and what came of it.
    """

    def __init__(self, repeats: int, budget_s: float, tell: Callable[[str], None]) -> None:
        self.tell = tell
        self.warming_s = 0.0
        """Spent on first runs, in which kernels are compiled."""
        self._repeats = repeats
        self._end = time.monotonic() + budget_s if budget_s else None

    def rounds(self, share: float) -> Iterator[int]:
        """Yield the rounds of a part that may take this share of the time that is left."""
        begin = time.monotonic()
        end = None if self._end is None else begin + share * (self._end - begin)
        for index in range(self._repeats):
            if index >= _LEAST and end is not None and time.monotonic() > end:
                self.tell(f"{index} rounds of {self._repeats}: no more time")
                return
            yield index

    def warm(self, name: str, run: Callable[[], None]) -> None:
        """Run something for the first time, and tell where that took long."""
        begin = time.monotonic()
        run()
        seconds = time.monotonic() - begin
        self.warming_s += seconds
        if seconds > 1:
            self.tell(f"{name} took {seconds:.1f} s at first")
