"""The set-up as the app goes through it: owns how far it is, and the tuning that runs meanwhile.

Fed with all events by the app, it gives back those that are not its own: neither chats nor the view hear
of what a tuning asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from engine.protocol import (
    Cancel,
    Command,
    CycleDone,
    Event,
    Finish,
    ModelInfo,
    RequestDone,
    RequestFailed,
)
from mtplx_tui.files import Places
from mtplx_tui.library.disk import DEMO, is_here
from mtplx_tui.setup import flow, kept
from mtplx_tui.setup.flow import Offered, Place, Progress, Step

if TYPE_CHECKING:
    from mtplx_tui.bench.tuning import Tuning
    from mtplx_tui.library.queue import Job

__all__ = ["PREFIX", "Guide"]

PREFIX = "tune-"
"""Of the requests of a tuning."""


class Guide:
    """See the module.

    Args:
        places: where the progress is kept.
        send: gives the engine a command; False where there is none.
        tell: says something to the person.
    """

    def __init__(
        self, places: Places, send: Callable[[Command], bool], tell: Callable[[str], None]
    ) -> None:
        self._path = places.setup
        self._has_begun = places.setup.exists()
        """Whether it was shown before."""
        self._send, self._tell = send, tell
        found = kept.read(places.setup)
        self.problem = found.problem
        self.progress = flow.reconcile(found.progress, is_found=is_here(found.progress.model))
        self._drafted = 0
        self._tuning: Tuning | None = None
        self._has_warned = False

    @property
    def is_new(self) -> bool:
        """Whether no model was ever chosen here."""
        return not self.progress.model

    def is_wanted(self, last_model: str | None) -> bool:
        """Return whether a start that names no model shows it: the first one, or one after it was cut off.

        Args:
            last_model: that was opened here; None where none was.
        """
        return self.is_new and (last_model is None or self._has_begun)

    @property
    def step(self) -> Step:
        """What comes next."""
        return flow.next_step(self.progress, has_demo=is_here(DEMO))

    @property
    def wanted_download(self) -> str:
        """The model that is still to be downloaded; empty where none is."""
        progress = self.progress
        return progress.model if progress.model and not progress.is_here else ""

    # What a person answers

    def begin(self) -> None:
        """Take it that it is shown: cut off from now on, it is shown again."""
        self._put(self.progress)

    def choose(self, model: str, *, is_here: bool) -> None:
        """Take the model that was chosen; it is talked with here."""
        chosen = flow.choose(self.progress, model, is_here=is_here)
        self._put(flow.place(chosen, Place.APP))

    def skip_all(self, model: str) -> None:
        """Take it that nothing is wanted but a model that is here."""
        self._put(flow.skip_rest(self.progress, model, Place.APP))

    def toured(self) -> None:
        """Take it that the tour was seen, or left."""
        self._put(flow.toured(self.progress, was_seen=True))

    def skip_tuning(self) -> None:
        """Take it that no tuning is wanted."""
        self._put(flow.tuned(self.progress, was_done=False))

    def drop_download(self) -> None:
        """Stay with the demo."""
        self._put(flow.drop(self.progress, DEMO))

    # What happens meanwhile

    def take_job(self, job: Job) -> bool:
        """Look at a download; True where the chosen model came by it."""
        from mtplx_tui.library.queue import JobState

        if job.name != self.wanted_download or job.state is not JobState.DONE:
            return False
        self._put(flow.fetched(self.progress))
        return True

    def take(self, events: Iterable[Event]) -> list[Event]:
        """Take the tuning's events out of a batch and return the others, which may hold an answer."""
        others: list[Event] = []
        for event in events:
            if str(getattr(event, "request", "")).startswith(PREFIX):
                self._take_own(event)
            else:
                others.append(event)
                self._look_for_answer(event)
        return others

    def _look_for_answer(self, event: Event) -> None:
        if self.is_new or self.progress.has_answer:
            return
        if isinstance(event, CycleDone):
            self._drafted += event.accepted
        elif isinstance(event, RequestDone) and event.finish in (Finish.STOP, Finish.LENGTH):
            self._put(flow.answered(self.progress))
            told = (
                f"your first answer: {self._drafted} of its {event.completion_tokens} tokens were "
                "drafted and accepted by the exact rule"
            )
            is_toured = self.progress.tour is not Offered.OPEN
            self._tell(told if is_toured else f"{told}; {{app.set_up}} shows how, in a minute")

    # Tuning

    @property
    def words(self) -> str:
        """How far a tuning is; empty while there is none."""
        work = self._tuning
        return "" if work is None else f"tuning: answer {work.done + 1} of {work.answers}"

    def tune(self, model: ModelInfo) -> None:
        """Begin to tune. Raises ValueError where the model has no head."""
        from mtplx_tui.bench.tuning import Tuning

        self._tuning = Tuning(model, prefix=PREFIX)
        self._go_on(self._tuning)

    def stop_tuning(self, why: str) -> None:
        """End a tuning, if there is one; what the engine has learnt by it stays."""
        work, self._tuning = self._tuning, None
        if work is None:
            return
        if work.running:
            self._send(Cancel(work.running))
        self._tell(f"tuning ended early: {why}")

    def _take_own(self, event: Event) -> None:
        work = self._tuning
        if work is None:
            return
        if isinstance(event, RequestFailed):
            self._tuning = None
            self._tell(f"tuning ended early: {event.error.message}")
            return
        reply = work.take(event)
        if reply is not None:
            self._send(reply)
        elif not work.running:
            self._go_on(work)

    def _go_on(self, work: Tuning) -> None:
        command = work.next()
        if command is None:
            self._end(work)
        elif not self._send(command):
            self._tuning = None

    def _end(self, work: Tuning) -> None:
        from mtplx_tui.bench.tuning import best_of, cost_words

        self._tuning = None
        self._put(flow.tuned(self.progress, was_done=True))
        best = best_of(work.found())
        self._tell(f"tuned; the fastest is {cost_words(best)}; kept for the automatic depth")

    def _put(self, progress: Progress) -> None:
        self.progress = progress
        problem = kept.keep(self._path, progress)
        if problem and not self._has_warned:
            self._has_warned = True
            self._tell(problem)
