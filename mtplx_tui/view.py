"""What the app knows of the engine: a frozen EngineView, and the one function that updates it.

`apply(view, event)` is the only reader of events for display; screens look at the view. Rates
are made here, from facts. Knows no Textual, no file and no process: a recorded list of events
gives the same view again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Generic, TypeVar

from engine.protocol import (
    MAX_DEPTH,
    Channel,
    CycleDone,
    DepthSet,
    EngineStarted,
    ErrorInfo,
    Event,
    LoadCancelled,
    LoadFailed,
    LoadProgress,
    ModelInfo,
    ModelLoaded,
    PrefillProgress,
    PrefixReused,
    RequestDone,
    RequestFailed,
    RequestStarted,
    TextRun,
)

T = TypeVar("T")
RequestEvent = PrefixReused | PrefillProgress | DepthSet | CycleDone | RequestDone | RequestFailed


class EngineState(StrEnum):
    """What the engine process is doing, in one word."""

    STARTING = "starting"
    EMPTY = "no model"
    LOADING = "loading"
    READY = "ready"
    GENERATING = "generating"
    DEAD = "stopped"


class Log(Generic[T]):
    """An append-only sequence whose older versions stay valid: they share one list.

    Appending to the newest version costs O(1); appending to an older one copies.
    """

    __slots__ = ("_items", "_length")

    def __init__(self, items: list[T] | None = None, length: int | None = None) -> None:
        self._items = [] if items is None else items
        self._length = len(self._items) if length is None else length

    def appended(self, item: T) -> Log[T]:
        """Return this sequence with one more item."""
        items = self._items
        if len(items) != self._length:
            items = items[: self._length]
        items.append(item)
        return Log(items, self._length + 1)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> T:
        if not -self._length <= index < self._length:
            raise IndexError(index)
        return self._items[index % self._length]

    def __iter__(self) -> Iterator[T]:
        return (self._items[index] for index in range(self._length))

    def since(self, start: int) -> list[T]:
        """Return the items from `start` on."""
        return self._items[start : self._length]


@dataclass(frozen=True, slots=True)
class DepthSums:
    """What the cycles of one depth came to."""

    cycles: int = 0
    tokens: int = 0
    total_s: float = 0.0
    total_s2: float = 0.0
    """Sum of the squares of their seconds."""
    draft_s: float = 0.0
    verify_s: float = 0.0

    def and_one(self, cycle: CycleDone) -> DepthSums:
        """Return the sums with one more cycle."""
        return DepthSums(
            self.cycles + 1,
            self.tokens + len(cycle.emitted),
            self.total_s + cycle.total_s,
            self.total_s2 + cycle.total_s * cycle.total_s,
            self.draft_s + cycle.draft_s,
            self.verify_s + cycle.verify_s,
        )


@dataclass(frozen=True, slots=True)
class RequestView:
    """One request, from what its events said."""

    request: str
    started: RequestStarted | None = None
    depth: int | None = 0
    """Of the next cycle; None: automatic."""
    reuse: PrefixReused | None = None
    """How much of the prompt was known; None before the first turn."""
    prefilled: int = 0
    cycles: Log[CycleDone] = field(default_factory=Log)
    reached_at: tuple[int, ...] = (0,) * MAX_DEPTH
    """Drafts judged at depth 1, 2, ...; a draft behind a rejected one is not judged."""
    accepted_at: tuple[int, ...] = (0,) * MAX_DEPTH
    at_depth: tuple[DepthSums, ...] = (DepthSums(),) * (MAX_DEPTH + 1)
    """By the depth that was drafted to, from 0."""
    emitted: int = 0
    cycle_s: float = 0.0
    """Seconds spent in this request's cycles."""
    draft_s: float = 0.0
    verify_s: float = 0.0
    accept_s: float = 0.0
    graphs_built: int = 0
    """In this request's cycles; see `CycleDone`."""
    answer: str = ""
    reasoning: str = ""
    done: RequestDone | None = None
    error: ErrorInfo | None = None
    was_cut: bool = False
    """The engine died under it."""
    events: Log[Event] = field(default_factory=Log)
    """All that was said of it, as it was said: a trace of it."""

    @property
    def is_running(self) -> bool:
        """Whether more cycles may come."""
        return self.done is None and self.error is None and not self.was_cut

    @property
    def depth_now(self) -> int:
        """The depth of the next cycle as far as it is known: where automatic, the newest one's."""
        if self.depth is not None:
            return self.depth
        return self.cycles[-1].depth if len(self.cycles) else 0

    @property
    def tokens_per_s(self) -> float | None:
        """Emitted tokens over the time of the cycles; None before the first."""
        return self.emitted / self.cycle_s if self.cycle_s > 0 else None

    @property
    def tokens_per_cycle(self) -> float | None:
        """Emitted tokens a cycle; None before the first."""
        return self.emitted / len(self.cycles) if len(self.cycles) else None


@dataclass(frozen=True, slots=True)
class EngineView:
    """The engine as the screens see it."""

    state: EngineState = EngineState.STARTING
    engine: EngineStarted | None = None
    model: ModelInfo | None = None
    load: LoadProgress | None = None
    """While loading."""
    error: ErrorInfo | None = None
    """Of the last load, or of the engine's end; gone with the next load."""
    requests: tuple[RequestView, ...] = ()
    """Newest last; only the newest KEPT are held."""

    @property
    def newest(self) -> RequestView | None:
        """The request that began last."""
        return self.requests[-1] if self.requests else None

    def request(self, name: str) -> RequestView | None:
        """The request of this id, if it is still held."""
        return next((r for r in self.requests if r.request == name), None)


KEPT = 16


def apply(view: EngineView, event: Event) -> EngineView:
    """Return the view after an event."""
    change = _CHANGES.get(type(event))
    return view if change is None else _with_state(change(view, event))


def engine_died(view: EngineView, error: ErrorInfo) -> EngineView:
    """Return the view after the engine process ended; what was running is marked as cut."""
    requests = tuple(replace(r, was_cut=True) if r.is_running else r for r in view.requests)
    return EngineView(state=EngineState.DEAD, error=error, requests=requests)


def engine_starting(view: EngineView) -> EngineView:
    """Return the view after a new engine process was started."""
    return EngineView(requests=view.requests)


def wilson_interval(accepted: int, reached: int, z: float = 1.96) -> tuple[float, float]:
    """Return the 95 % interval of an acceptance, (0, 1) before anything was judged.

    Source:
        Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    if reached == 0:
        return 0.0, 1.0
    share = accepted / reached
    spread = z * z / reached
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / reached + spread / (4 * reached))
    return max(0.0, middle - half), min(1.0, middle + half)


def depth_words(depth: int | None, request: RequestView | None = None) -> str:
    """Return a depth as a person reads it: 3, or auto, or auto (3) once a request drafts so."""
    if depth is not None:
        return str(depth)
    if request is None or request.depth is not None or not len(request.cycles):
        return "auto"
    return f"auto ({request.depth_now})"


def text_of(runs: tuple[TextRun, ...], channel: Channel) -> str:
    """Return the text of one channel in a list of runs."""
    return "".join(run.text for run in runs if run.channel is channel)


def _with_state(view: EngineView) -> EngineView:
    if view.state in (EngineState.STARTING, EngineState.DEAD):
        return view
    if view.load is not None:
        state = EngineState.LOADING
    elif view.model is None:
        state = EngineState.EMPTY
    elif any(request.is_running for request in view.requests):
        state = EngineState.GENERATING
    else:
        state = EngineState.READY
    return view if state is view.state else replace(view, state=state)


def _engine_started(view: EngineView, event: EngineStarted) -> EngineView:
    return EngineView(state=EngineState.EMPTY, engine=event, requests=view.requests)


def _load_progress(view: EngineView, event: LoadProgress) -> EngineView:
    return replace(view, load=event, model=None, error=None)


def _load_failed(view: EngineView, event: LoadFailed) -> EngineView:
    return replace(view, load=None, model=None, error=event.error)


def _load_cancelled(view: EngineView, _: LoadCancelled) -> EngineView:
    return replace(view, load=None, model=None)


def _model_loaded(view: EngineView, event: ModelLoaded) -> EngineView:
    return replace(view, load=None, model=event.model, error=None)


def _request_started(view: EngineView, event: RequestStarted) -> EngineView:
    events = Log[Event]().appended(event)
    request = RequestView(event.request, started=event, depth=event.depth, events=events)
    others = tuple(r for r in view.requests if r.request != event.request)
    return replace(view, requests=(*others, request)[-KEPT:])


def _updated(view: EngineView, event: RequestEvent, **changes: object) -> EngineView:
    """Return the view with an event's request changed, or begun if it was not known."""
    old = view.request(event.request)
    known = old or RequestView(event.request)
    new = replace(known, events=known.events.appended(event), **changes)
    if old is None:
        return replace(view, requests=(*view.requests, new)[-KEPT:])
    return replace(view, requests=tuple(new if r is old else r for r in view.requests))


def _prefix_reused(view: EngineView, event: PrefixReused) -> EngineView:
    return _updated(view, event, reuse=event, prefilled=event.reused)


def _prefill_progress(view: EngineView, event: PrefillProgress) -> EngineView:
    return _updated(view, event, prefilled=event.done)


def _depth_set(view: EngineView, event: DepthSet) -> EngineView:
    return _updated(view, event, depth=event.depth)


def _with_runs(old: RequestView, runs: tuple[TextRun, ...]) -> dict[str, str]:
    if not runs:
        return {}
    return {
        "answer": old.answer + text_of(runs, Channel.ANSWER),
        "reasoning": old.reasoning + text_of(runs, Channel.REASONING),
    }


def _cycle_done(view: EngineView, event: CycleDone) -> EngineView:
    old = view.request(event.request) or RequestView(event.request)
    reached = min(event.accepted + 1, event.depth)
    return _updated(
        view,
        event,
        cycles=old.cycles.appended(event),
        reached_at=_counted(old.reached_at, reached),
        accepted_at=_counted(old.accepted_at, event.accepted),
        at_depth=_summed(old.at_depth, event),
        emitted=old.emitted + len(event.emitted),
        cycle_s=old.cycle_s + event.total_s,
        draft_s=old.draft_s + event.draft_s,
        verify_s=old.verify_s + event.verify_s,
        accept_s=old.accept_s + event.accept_s,
        graphs_built=old.graphs_built + event.graphs_built,
        **_with_runs(old, event.runs),
    )


def _counted(counts: tuple[int, ...], depths: int) -> tuple[int, ...]:
    """Return the counts with the first `depths` of them one higher."""
    return tuple(count + (at < depths) for at, count in enumerate(counts))


def _summed(sums: tuple[DepthSums, ...], cycle: CycleDone) -> tuple[DepthSums, ...]:
    at = cycle.depth
    return (*sums[:at], sums[at].and_one(cycle), *sums[at + 1 :])


def _request_done(view: EngineView, event: RequestDone) -> EngineView:
    old = view.request(event.request) or RequestView(event.request)
    return _updated(view, event, done=event, **_with_runs(old, event.runs))


def _request_failed(view: EngineView, event: RequestFailed) -> EngineView:
    return _updated(view, event, error=event.error)


_CHANGES: dict[type, Callable[..., EngineView]] = {
    EngineStarted: _engine_started,
    LoadProgress: _load_progress,
    LoadFailed: _load_failed,
    LoadCancelled: _load_cancelled,
    ModelLoaded: _model_loaded,
    RequestStarted: _request_started,
    PrefixReused: _prefix_reused,
    PrefillProgress: _prefill_progress,
    DepthSet: _depth_set,
    CycleDone: _cycle_done,
    RequestDone: _request_done,
    RequestFailed: _request_failed,
}
