"""The heat of a command's own run: sensors sampled beside it, a second at a time."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from mtplx_tui.machine.heat import Heat, HeatLog
from mtplx_tui.machine.history import sample
from mtplx_tui.machine.sensors import INTERVAL_S, Sensors

__all__ = ["Watch"]

SETTLE_S = 0.5


class Watch:
    """A context in which the machine's heat is noted.

    Args:
        sensors: not started yet; stopped when the context is left.
    """

    def __init__(self, sensors: Sensors) -> None:
        self._sensors = sensors
        self._log = HeatLog()
        self._lock = threading.Lock()
        self._is_over = threading.Event()

    def __enter__(self) -> Self:
        self._sensors.start()
        self._sensors.settle(SETTLE_S)
        self._note()
        threading.Thread(target=self._follow, name="heat", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over.set()
        self._sensors.stop()

    @property
    def heat(self) -> Heat | None:
        """What it came to so far; None where no sensor says anything."""
        self._note()
        with self._lock:
            return self._log.heat

    def _follow(self) -> None:
        while not self._is_over.wait(INTERVAL_S):
            self._note()

    def _note(self) -> None:
        taken = sample(self._sensors.snapshot(), None)
        with self._lock:
            self._log.add(taken)
