"""The machine's watch in the app: sensors, their history, and the fans; a tick a second.

Told of tokens by the engine's events. Knows no screen: those who look are told through `on_change`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from engine.protocol import CycleDone, Event
from mtplx_tui.machine.fans import FanKeeper, FanView
from mtplx_tui.machine.guarding import GuardLink, GuardSetup, start
from mtplx_tui.machine.history import History, sample
from mtplx_tui.machine.policy import Policy
from mtplx_tui.machine.readings import Snapshot
from mtplx_tui.machine.sensors import Sensors, fresh_celsius

__all__ = ["TICK_S", "Station"]

TICK_S = 1.0
PASSWORD_S = 120.0
"""How long sudo may wait for a password."""


class Station:
    """See the module.

    Args:
        sensors: not started yet.
        setup: how a fan guard is started here.
        on_change: called after a tick, and when the fans' state changes.
        listen: called with the descriptor that `hear` is to be called for; None for none.
        clock: the monotonic one.
    """

    def __init__(
        self,
        sensors: Sensors,
        setup: GuardSetup,
        on_change: Callable[[], None],
        listen: Callable[[int | None], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.history = History()
        self.snapshot = Snapshot(clock(), time.time())
        self._sensors, self._clock, self._on_change = sensors, clock, on_change
        self.keeper = FanKeeper(setup, on_change, listen, clock)
        self._tokens = 0
        self._ticked_s = clock()

    @property
    def now_s(self) -> float:
        """The time by the monotonic clock that everything here goes by."""
        return self._clock()

    @property
    def fans(self) -> FanView:
        """What is with the fans."""
        return self.keeper.view

    def start(self) -> None:
        """Begin to sample, and have fans given back that a crash left held."""
        self._sensors.start()
        self.keeper.recover()

    def apply(self, events: Iterable[Event]) -> None:
        """Take the engine's events: tokens drive the fans."""
        tokens = sum(len(e.emitted) for e in events if isinstance(e, CycleDone))
        if tokens:
            self._tokens += tokens
            self.keeper.progress(tokens)

    def tick(self, *, is_generating: bool) -> None:
        """Look at the sensors and beat for the guard; once a second, from the screen's own loop.

        Args:
            is_generating: whether a request is running, be it at no speed at all.
        """
        self.take(self._sensors.snapshot(), is_generating=is_generating)

    def take(self, snapshot: Snapshot, *, is_generating: bool) -> None:
        """Take a second's readings; `tick` does it with the sensors' own."""
        now = self._clock()
        elapsed_s = max(now - self._ticked_s, 1e-3)
        speed = self._tokens / elapsed_s if self._tokens or is_generating else None
        self._tokens, self._ticked_s = 0, now
        self.snapshot = snapshot
        self.history.add(sample(snapshot, speed))
        self.keeper.tick(fresh_celsius(snapshot))
        self._on_change()

    def choose(self, policy: Policy) -> None:
        """Follow a fan policy."""
        self.keeper.choose(policy)

    def open_as_root(self) -> str:
        """Start a guard through sudo, which may ask on the terminal, and wait for it.

        Returns:
            What went wrong, in a line; empty when the guard is there.
        """
        try:
            link = GuardLink(start(self.keeper.setup))
            said = link.wait_for(PASSWORD_S, "hello", "refused")
        except OSError as error:
            return f"fans left alone: {error}"
        if said is None or said.get("is") == "refused":
            link.hang_up()
            return f"fans left alone: {'nobody answered sudo' if said is None else said.get('why')}"
        self.keeper.adopt(link)
        return ""

    def close(self) -> None:
        """Give the fans back and stop sampling."""
        self._sensors.stop()
        self.keeper.close()
