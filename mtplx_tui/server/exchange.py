"""One request of a client, from its place in the queue to its end; its reader awaits outcomes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.protocol import Cancel, Command, ErrorInfo, Event, RequestDone
from mtplx_tui.forecast import saving
from mtplx_tui.link import EngineGone
from mtplx_tui.server.ask import Ask
from mtplx_tui.server.choice import Choice, Outcome
from mtplx_tui.server.served import Phase, ServedRequest
from mtplx_tui.server.steps import Failed, Read

__all__ = ["Exchange", "Usage"]

MOST_WAITING = 20_000
"""Outcomes that a reader may leave lying before it is taken to be gone."""
LAGGED = ErrorInfo("the client reads too slowly; the answer was given up", "")


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a request, all choices together; the prompt is counted once."""

    prompt: int
    cached: int
    completion: int
    reasoning: int
    drafted: int
    accepted: int


class Exchange:
    """See the module.

    Args:
        name: its id.
        ask: what was asked for.
        client: how the client names itself.
        choices: one for each engine request.
        send: takes commands for the engine.
        on_end: called once, when the engine has nothing more to do for it.
    """

    def __init__(
        self,
        name: str,
        ask: Ask,
        client: str,
        choices: Sequence[Choice],
        send: Callable[[Command], None],
        on_end: Callable[[Exchange], None],
    ) -> None:
        self.name = name
        self.ask = ask
        self.choices = tuple(choices)
        self.began_at = time.time()
        self._began = time.monotonic()
        """The same by a clock that nobody sets; for how long things take."""
        self._client = client
        self._send = send
        self._on_end = on_end
        self._by_name = {choice.command.request: choice for choice in choices}
        self._running: set[str] = set()
        """Engine requests that were sent and have not ended."""
        self._outcomes: asyncio.Queue[Outcome] = asyncio.Queue()
        self._read = Read(0, 0)
        self._phase = Phase.QUEUED
        self._note = ""
        self._took_s: float | None = None

    # For the broker

    @property
    def is_over(self) -> bool:
        """Whether it has its end."""
        return self._phase in (Phase.DONE, Phase.CANCELLED, Phase.FAILED)

    @property
    def is_queued(self) -> bool:
        """Whether the engine has not heard of it."""
        return self._phase is Phase.QUEUED

    @property
    def requests(self) -> Sequence[str]:
        """Ids of its engine requests."""
        return tuple(self._by_name)

    def begin(self) -> None:
        """Hand it to the engine."""
        self._phase = Phase.READING
        for choice in self.choices:
            try:
                self._send(choice.command)
            except EngineGone as error:
                self.fail(ErrorInfo(str(error), "try again in a moment"))
                return
            self._running.add(choice.command.request)

    def take(self, event: Event) -> None:
        """Take an event of one of its engine requests."""
        choice = self._by_name[getattr(event, "request", "")]
        if isinstance(event, RequestDone):
            self._running.discard(event.request)
        if self.is_over or choice.is_over:
            return
        for outcome in choice.take(event):
            self._put(outcome)
        if choice.is_over:
            self._cancel(choice.command.request)
        if all(each.is_over for each in self.choices):
            finishes = sorted({each.ended.finish for each in self.choices if each.ended})
            self._end(Phase.DONE, ", ".join(finishes))

    def fail(self, error: ErrorInfo) -> None:
        """End it by an error, which its reader is told."""
        if not self.is_over:
            self._put(Failed(error))

    def engine_died(self, error: ErrorInfo) -> None:
        """Take it that nothing runs any more."""
        self._running.clear()
        self.fail(error)

    def _put(self, outcome: Outcome) -> None:
        if self.is_over:
            return
        if isinstance(outcome, Read):
            self._read = outcome
        elif not isinstance(outcome, Failed):
            self._phase = Phase.WRITING
        if self._outcomes.qsize() >= MOST_WAITING:
            outcome = Failed(LAGGED)
        self._outcomes.put_nowait(outcome)
        if isinstance(outcome, Failed):
            self._end(Phase.FAILED, outcome.error.message)

    def _cancel(self, request: str) -> None:
        """Stop an engine request that runs on though nothing more is wanted of it."""
        if request in self._running:
            self._running.discard(request)
            try:
                self._send(Cancel(request))
            except EngineGone:
                self._note = "the engine is gone"

    def _end(self, phase: Phase, note: str) -> None:
        self._phase, self._note, self._took_s = phase, note, self.age_s
        for request in list(self._running):
            self._cancel(request)
        self._on_end(self)

    # For whoever answers the client

    @property
    def age_s(self) -> float:
        """How long ago it was asked."""
        return time.monotonic() - self._began

    async def next(self, wait_s: float) -> Outcome | None:
        """Return what comes next; None where nothing came in that time."""
        try:
            async with asyncio.timeout(wait_s):
                return await self._outcomes.get()
        except TimeoutError:
            return None

    @property
    def read(self) -> Read:
        """How far the prompt is read."""
        return self._read

    @property
    def has_more(self) -> bool:
        """Whether outcomes are there, or may come."""
        return not self.is_over or not self._outcomes.empty()

    def close(self) -> None:
        """Let go of it: what runs of it is cancelled."""
        if not self.is_over:
            self._end(Phase.CANCELLED, "the client went away")

    def cancel(self) -> None:
        """End it from the server's side; its client is told."""
        if not self.is_over:
            error = ErrorInfo("the answer was cancelled at the server", "")
            self._outcomes.put_nowait(Failed(error))
            self._end(Phase.CANCELLED, error.message)

    def usage(self) -> Usage:
        """Return what it took, as far as it is known."""
        views = [choice.view for choice in self.choices]
        per_prompt = views[:: self.ask.n]
        reused = [choice.reused for choice in self.choices[:: self.ask.n]]
        return Usage(
            prompt=sum(view.started.prompt_tokens for view in per_prompt if view.started),
            cached=sum(told.reused for told in reused if told),
            completion=sum(view.emitted for view in views),
            reasoning=sum(view.done.reasoning_tokens for view in views if view.done),
            drafted=sum(cycle.depth for view in views for cycle in view.cycles),
            accepted=sum(sum(view.accepted_at) for view in views),
        )

    def served(self) -> ServedRequest:
        """Return what is to be told of it now."""
        usage = self.usage()
        views = [choice.view for choice in self.choices]
        seconds = sum(view.cycle_s for view in views)
        cycles = sum(len(view.cycles) for view in views)
        saved = [found.seconds for view in views if (found := saving(view)) is not None]
        firsts = [view.done.first_token_s for view in views if view.done]
        return ServedRequest(
            id=self.name,
            api=self.ask.api,
            client=self._client,
            model=self.ask.model,
            phase=self._phase,
            began_at=self.began_at,
            is_streamed=self.ask.is_streamed,
            prompt_tokens=usage.prompt,
            cached_tokens=usage.cached,
            read_tokens=self._read.done,
            completion_tokens=usage.completion,
            tokens_per_s=usage.completion / seconds if seconds > 0 else None,
            tokens_per_cycle=usage.completion / cycles if cycles else None,
            saved_s=sum(saved) if saved else None,
            first_token_s=min(firsts, default=None),
            total_s=self._took_s,
            note=self._note,
        )
