"""The app's bench: queues a sweep behind running answers, runs it, and keeps what it measured.

Its requests are its own: neither chats nor the view of the engine hear of them. Fed with all
events by the app, it gives back those that are not its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from engine.protocol import Cancel, Command, EngineStarted, ErrorInfo, Event
from mtplx_tui.bench import results
from mtplx_tui.bench.suite import Plan, Sweep, SweepBroken, about
from mtplx_tui.machine.heat import Heat
from mtplx_tui.machine.station import Station
from mtplx_tui.view import EngineState, EngineView

__all__ = ["Runner", "Stage"]

PREFIX = "bench-"
"""Of its requests' names."""
LEAST_SHARE = 0.02
"""Of the work through, before the rest's time is told."""
WHY_NOT = {
    EngineState.DEAD: "the engine has stopped: {app.restart} starts it again",
    EngineState.EMPTY: "no model is loaded: {app.open_model} opens one",
}


class Stage(StrEnum):
    """How far a bench is."""

    IDLE = "idle"
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


class Runner:
    """See the module.

    Args:
        send: gives the engine a command; False where there is none.
        folder: where results are kept.
        changed: called when there is something new to see.
        clock: seconds, for what is left.
        now: the time of day, for a result's name.
        station: notes the heat meanwhile; None for none.
    """

    def __init__(
        self,
        send: Callable[[Command], bool],
        folder: Path,
        changed: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = datetime.now,
        station: Station | None = None,
    ) -> None:
        self.folder = folder
        self.stage = Stage.IDLE
        self.sweep: Sweep | None = None
        """The newest that began."""
        self.note = ""
        """Why it ended, where not because it was through."""
        self.kept: Path | None = None
        """Where the newest one's result is."""
        self.heat: Heat | None = None
        """While the newest one ran; None while that is not known."""
        self._send, self._changed, self._clock, self._now = send, changed, clock, now
        self._station = station
        self._plan = Plan()
        self._runs = 0
        self._begun_at = 0.0
        self._engine: EngineStarted | None = None

    @property
    def is_active(self) -> bool:
        """Whether one waits or runs."""
        return self.stage in (Stage.WAITING, Stage.RUNNING)

    @property
    def is_held(self) -> bool:
        """Whether an answer goes first."""
        is_between = self.sweep is not None and not self.sweep.running
        return self.stage is Stage.WAITING or (self.stage is Stage.RUNNING and is_between)

    @property
    def words(self) -> str:
        """How far it is, in a few words; empty while none is under way."""
        if self.stage is Stage.RUNNING and self.sweep is not None:
            return f"bench: prompt {self.sweep.done + 1} of {self.sweep.prompts}"
        return "bench: waits for an answer" if self.stage is Stage.WAITING else ""

    @property
    def seconds_left(self) -> float | None:
        """Time until it is through, at most; None while that can't be told."""
        if self.stage is not Stage.RUNNING or self.sweep is None:
            return None
        share = self.sweep.share
        elapsed = self._clock() - self._begun_at
        return elapsed * (1 - share) / share if share >= LEAST_SHARE else None

    def start(self, plan: Plan, view: EngineView) -> str:
        """Begin as soon as the engine is idle; return why that can't be, empty where it can."""
        if self.is_active:
            return "a bench is under way: {bench.back} stops it"
        if view.state in WHY_NOT:
            return WHY_NOT[view.state]
        self._plan = plan
        self.stage, self.note, self.kept, self.heat = Stage.WAITING, "", None, None
        self.look(view)
        self._changed()
        return ""

    def stop(self) -> None:
        """End at once; what was measured is kept."""
        if self.is_active:
            self._end(Stage.STOPPED, "stopped")

    def take(self, events: Iterable[Event]) -> list[Event]:
        """Take its own events out of a batch, and return the others."""
        others: list[Event] = []
        has_own = False
        for event in events:
            if str(getattr(event, "request", "")).startswith(PREFIX):
                has_own = True
                self._take(event)
            else:
                others.append(event)
        if has_own:
            self._changed()
        return others

    def look(self, view: EngineView) -> None:
        """Go on where the engine is idle, and end where it can't be any more."""
        if not self.is_active:
            return
        if view.state in WHY_NOT:
            self._end(Stage.FAILED, WHY_NOT[view.state])
        elif self.is_held and view.state is EngineState.READY:
            self._go_on(view)

    def engine_died(self, error: ErrorInfo) -> None:
        """End: the engine that measured is gone."""
        if self.is_active:
            self._lose(error.message)

    def _go_on(self, view: EngineView) -> None:
        if self.stage is Stage.WAITING and view.model is not None:
            self._runs += 1
            self.sweep = Sweep(view.model, self._plan, f"{PREFIX}{self._runs} ")
            self._engine, self._begun_at = view.engine, self._clock()
            if self._station is not None:
                self._station.watch(PREFIX)
            self.stage = Stage.RUNNING
        commands = [] if self.sweep is None else self.sweep.next()
        if not all(self._send(command) for command in commands):
            self._lose("the engine is gone")
        self._changed()

    def _take(self, event: Event) -> None:
        if self.stage is not Stage.RUNNING or self.sweep is None:
            return
        try:
            is_through = self.sweep.take(event)
        except SweepBroken as broken:
            self._end(Stage.FAILED, str(broken))
            return
        if is_through and self.sweep.done == self.sweep.prompts:
            self._end(Stage.DONE, "")

    def _lose(self, why: str) -> None:
        """End without a word to an engine that is gone."""
        if self.sweep is not None:
            self.sweep.leave()
        self._end(Stage.FAILED, why)

    def _end(self, stage: Stage, note: str) -> None:
        has_begun = self.stage is Stage.RUNNING
        self.stage, self.note = stage, note
        if has_begun and self.sweep is not None:
            for name in self.sweep.running:
                self._send(Cancel(name))
            self.sweep.leave()
            self._keep(self.sweep)
        self._changed()

    def _keep(self, sweep: Sweep) -> None:
        if not sweep.answers:
            return
        if self._station is not None:
            self._station.unwatch(PREFIX)
            self.heat = self._station.heat_of(PREFIX)
        told = about(sweep.model, sweep.plan, self._engine, self.heat)
        try:
            self.kept = results.keep(self.folder, sweep.answers, told, self._now())
        except OSError as error:
            why = f"the result is not kept: {error.strerror}"
            self.note = f"{self.note}; {why}" if self.note else why
