"""The machine's watch in the app: sensors, their history, and the fans; a tick a second.

Told of tokens by the engine's events. Knows no screen: those who look are told through `on_change`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from engine.protocol import CycleDone, Event, RequestDone, RequestFailed, RequestStarted
from mtplx_tui.machine.fans import FanKeeper, FanView
from mtplx_tui.machine.guarding import GuardLink, GuardSetup, start
from mtplx_tui.machine.heat import Heat, HeatLog
from mtplx_tui.machine.history import History, Sample, sample
from mtplx_tui.machine.policy import Policy
from mtplx_tui.machine.readings import Snapshot
from mtplx_tui.machine.sensors import Sensors, fresh_celsius

__all__ = ["TICK_S", "Station"]

TICK_S = 1.0
MAX_LOGS = 32
"""Requests whose heat is known; the oldest are forgotten."""
PASSWORD_S = 120.0
"""How long sudo may wait for a password."""


class Station:
    """See the module.

    Args:
        sensors: not started yet.
        setup: how a fan guard is started here.
        on_change: called after a tick, and when the fans' state changes.
        clock: the monotonic one.
    """

    def __init__(
        self,
        sensors: Sensors,
        setup: GuardSetup,
        on_change: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.history = History()
        self.snapshot = Snapshot(clock(), time.time())
        self._sensors, self._clock, self._on_change = sensors, clock, on_change
        self.keeper = FanKeeper(setup, on_change, self._listen, clock)
        self._tokens = 0
        self._ticked_s = clock()
        self._sample: Sample | None = None
        self._logs: dict[str, HeatLog] = {}
        """By request, or by whatever else is watched."""
        self._watched: set[str] = set()
        self._heard: int | None = None
        """The descriptor of the guard that is listened to."""

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

    def watch(self, name: str) -> None:
        """Note the heat from now on under a name."""
        log = self._logs[name] = HeatLog()
        if self._sample is not None:
            log.add(self._sample)
        self._watched.add(name)
        for old in [name for name in self._logs if name not in self._watched][:-MAX_LOGS]:
            del self._logs[old]

    def unwatch(self, name: str) -> None:
        """Note no more under a name; what was noted can be had."""
        self._watched.discard(name)

    def engine_died(self) -> None:
        """Take it that nothing is answered any more."""
        self._watched.clear()

    def heat_of(self, name: str) -> Heat | None:
        """Return the heat while a request ran, or whatever was watched; None where none is known."""
        log = self._logs.get(name)
        return None if log is None else log.heat

    def follow(self, events: Iterable[Event]) -> None:
        """Take the events of answers that are seen: each has its heat noted."""
        for event in events:
            match event:
                case RequestStarted(request=name):
                    self.watch(name)
                case RequestDone(request=name) | RequestFailed(request=name):
                    self.unwatch(name)

    def apply(self, events: Iterable[Event]) -> None:
        """Take all events of the engine: tokens drive the fans, whoever asked for them."""
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
        self._sample = sample(snapshot, speed)
        self.history.add(self._sample)
        for name in self._watched:
            self._logs[name].add(self._sample)
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

    def _listen(self, descriptor: int | None) -> None:
        """Have the running loop call when the guard says something; None is none."""
        loop = asyncio.get_running_loop()
        if self._heard is not None:
            loop.remove_reader(self._heard)
        self._heard = descriptor
        if descriptor is not None:
            loop.add_reader(descriptor, self.keeper.hear)

    def close(self) -> None:
        """Give the fans back and stop sampling."""
        self._sensors.stop()
        self.keeper.close()
