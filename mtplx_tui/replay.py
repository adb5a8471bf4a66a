"""Replays a trace at any speed: the events that are due, applied to a view of its own.

Events carry no clock, but their facts tell the time between them: a cycle took its seconds, the
prompt was read in the seconds that the request's end names. Knows no screen; time comes from
outside.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from engine.protocol import CycleDone, ErrorInfo, Event, PrefillProgress, RequestDone
from mtplx_tui import view
from mtplx_tui.traces import Trace
from mtplx_tui.view import EngineView

__all__ = ["INSTANT", "SPEEDS", "Replay", "whole_view"]

INSTANT = math.inf
SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, INSTANT)


class Replay:
    """One trace on its way.

    Args:
        trace: to replay.
        speed: of SPEEDS.
    """

    def __init__(self, trace: Trace, speed: float = 1.0) -> None:
        self.trace = trace
        self.view = EngineView()
        self.speed = speed
        self.is_held = False
        self._due = tuple(accumulate(_seconds(trace.events)))
        self._next = 0
        self._position_s = 0.0

    @property
    def is_over(self) -> bool:
        """Whether all of it was replayed."""
        return self._next == len(self.trace.events)

    @property
    def position_s(self) -> float:
        """How far it is, in its own seconds."""
        return self._position_s

    @property
    def total_s(self) -> float:
        """How long it is, in its own seconds."""
        return self._due[-1] if self._due else 0.0

    def advance(self, seconds: float) -> bool:
        """Let time pass; return whether anything happened.

        Args:
            seconds: on the clock of who watches.
        """
        if self.is_held or self.is_over:
            return False
        passed = self.total_s if self.speed == INSTANT else seconds * self.speed
        self._position_s = min(self._position_s + passed, self.total_s)
        events = self.trace.events[self._next : bisect_right(self._due, self._position_s)]
        for event in events:
            self.view = view.apply(self.view, event)
        self._next += len(events)
        if self._next == len(self.trace.events):
            self.view = _ended(self.view)
        return bool(events)

    def change_speed(self, by: int) -> None:
        """Go to a faster or slower speed, if there is one."""
        at = SPEEDS.index(self.speed) + by
        self.speed = SPEEDS[min(max(at, 0), len(SPEEDS) - 1)]

    def again(self) -> None:
        """Go back to the beginning."""
        self.view, self._next, self._position_s = EngineView(), 0, 0.0


def whole_view(trace: Trace) -> EngineView:
    """Return the view at a trace's end."""
    replay = Replay(trace, INSTANT)
    replay.advance(0.0)
    return replay.view


def _ended(at_end: EngineView) -> EngineView:
    """Return the view after the last event; what did not end is marked as cut."""
    if not any(request.is_running for request in at_end.requests):
        return at_end
    return view.engine_died(at_end, ErrorInfo("the trace ends here", ""))


def _seconds(events: Sequence[Event]) -> list[float]:
    """Return what passed before each event."""
    chunks: dict[str, int] = {}
    for event in events:
        if isinstance(event, PrefillProgress):
            chunks[event.request] = chunks.get(event.request, 0) + 1
    prefill = {e.request: e.prefill_s for e in events if isinstance(e, RequestDone)}
    seconds = []
    for event in events:
        if isinstance(event, CycleDone):
            seconds.append(event.total_s)
        elif isinstance(event, PrefillProgress):
            seconds.append(max(0.0, prefill.get(event.request, 0.0)) / chunks[event.request])
        else:
            seconds.append(0.0)
    return seconds
