"""Whose turn it is: always the one that will have been served for the least time after it.

Time is shared, not turns: a chunk of a long prompt costs as much as many cycles of a short
answer, and comes when the others have had as much. A turn is taken to cost what the one before it
did. Whoever comes later begins with the least that the others had, neither ahead nor behind.

Source:
    Demers, Keshav, Shenker 1989, "Analysis and simulation of a fair queueing algorithm".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

__all__ = ["Turns"]

T = TypeVar("T")


class Turns(Generic[T]):
    """See the module."""

    def __init__(self) -> None:
        self._served: dict[T, float] = {}
        """Seconds, in the order of the last turns."""
        self._cost: dict[T, float] = {}
        """Seconds of the last turn."""

    def __len__(self) -> int:
        return len(self._served)

    def __iter__(self) -> Iterator[T]:
        return iter(list(self._served))

    def add(self, item: T) -> None:
        """Let an item take part from now on."""
        self._served[item] = min(self._served.values(), default=0.0)

    def remove(self, item: T) -> None:
        """Let an item take part no longer."""
        del self._served[item]
        self._cost.pop(item, None)

    def clear(self) -> None:
        """Let nothing take part any longer."""
        self._served.clear()
        self._cost.clear()

    def next(self, waits: Callable[[T], bool] = lambda _: False) -> T:
        """Return whose turn it is.

        Args:
            waits: whether an item passes; not all of them may. Those that wait in vain save up no
                time for later.
        """
        order = sorted(self._served, key=lambda item: self._served[item] + self._cost.get(item, 0))
        chosen = next((item for item in order if not waits(item)), order[0])
        for item in order[: order.index(chosen)]:
            self._served[item] = self._served[chosen]
        return chosen

    def charge(self, item: T, seconds: float) -> None:
        """Count time that an item was served, and put it behind those that had as much."""
        self._served[item] = self._served.pop(item) + seconds
        self._cost[item] = seconds
