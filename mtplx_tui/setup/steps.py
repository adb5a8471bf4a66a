"""The steps of the set-up carried out in a terminal, or without anybody; one method a step.

Whatever was answered is kept before the next step begins, so that a run goes on where an earlier one
was cut off.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace

from mtplx_tui import config
from mtplx_tui.bench import tuning
from mtplx_tui.bench.command import carry_out
from mtplx_tui.chats.desk import Desk
from mtplx_tui.chats.model import TurnStatus
from mtplx_tui.chats.store import Store
from mtplx_tui.config import Settings
from mtplx_tui.driving import Engine, EngineTrouble
from mtplx_tui.files import Places
from mtplx_tui.library.disk import DEMO, ModelNotFound, is_here, resolve
from mtplx_tui.library.queue import Job, JobState
from mtplx_tui.library.speed import Speed
from mtplx_tui.remedies import one_line
from mtplx_tui.requests import Options
from mtplx_tui.setup import flow, kept, words
from mtplx_tui.setup.asking import Asker, pick
from mtplx_tui.setup.choosing import Choosing, Manner, Seen, SetupFailed, indented
from mtplx_tui.setup.fetch import Fetch
from mtplx_tui.setup.flow import Place, Progress, Step
from mtplx_tui.setup.offers import Offer
from mtplx_tui.terminal_chat.page import Page
from mtplx_tui.terminal_chat.talk import Talk
from mtplx_tui.view import RequestView
from mtplx_tui.wording import showable

__all__ = ["Steps"]


class Steps:
    """See the module.

    Args:
        places: where files are.
        settings: as they were loaded.
        manner: how it is gone through.
        page: where it is told.
        asker: who answers.
        stack: closed by whoever made it; holds the engine and the downloads.
    """

    def __init__(
        self,
        places: Places,
        settings: Settings,
        manner: Manner,
        page: Page,
        asker: Asker,
        stack: AsyncExitStack,
    ) -> None:
        self._places, self._settings, self._manner = places, settings, manner
        self._page, self._asker, self._stack = page, asker, stack
        self.seen = Seen()
        self._choosing = Choosing(places, settings, manner, page, asker, self.seen)
        self.talk: Talk | None = None
        """Once there is an engine."""
        self.is_for_later = False
        """The person talks with the demo while a model is downloaded."""
        self._fetch: Fetch | None = None
        self._has_warned = False
        found = kept.read(places.setup)
        if found.problem:
            page.warn(found.problem)
        self.progress = self._reconciled(found.progress)

    @property
    def step(self) -> Step:
        """What comes next."""
        return flow.next_step(self.progress, has_demo=is_here(DEMO))

    async def run(self) -> None:
        """Go through what is left.

        Raises:
            Left: the person left.
            SetupFailed: it can't go on.
        """
        do = {
            Step.MODEL: self._choose_model,
            Step.TALK: self._see_answer,
            Step.TOUR: self._show_tour,
            Step.FETCH: self._wait_for_model,
            Step.TUNE: self._tune,
            Step.PLACE: self._choose_place,
        }
        if self.progress.model and not self.progress.is_here:
            self._start_download(self.progress.model)
        while (step := self.step) is not Step.DONE and not self.is_for_later:
            await do[step]()

    def begin_anew(self) -> None:
        """Forget what was answered."""
        self._put(Progress())

    def choose_again(self) -> None:
        """Have a model chosen anew; what was seen need not be seen again."""
        self._put(replace(self.progress, model="", is_here=False))

    @property
    def model_to_talk_with(self) -> str:
        """The chosen model, or the demo while it is not here."""
        return self.progress.model if self.progress.is_here else DEMO

    def speed_of(self, offer: Offer) -> Speed | None:
        """Return what is known of a model's speed here."""
        return offer.speed(self.seen.speed, self._places.bench)

    def _put(self, progress: Progress) -> None:
        self.progress = progress
        problem = kept.keep(self._places.setup, progress)
        if problem and not self._has_warned:
            self._has_warned = True
            self._page.warn(problem)

    def _reconciled(self, progress: Progress) -> Progress:
        found = flow.reconcile(progress, is_found=is_here(progress.model))
        if progress.model and not found.model:
            self._page.warn(
                f"{showable(progress.model)} is no longer on this machine; choose again"
            )
        return found

    async def _choose_model(self) -> None:
        offer = await self._choosing.choose()
        self._put(flow.choose(self.progress, offer.name, is_here=offer.is_here))
        if offer.is_here:
            self._remember(offer.name)
        else:
            self._page.tell(f"{showable(offer.name)} is downloaded while you talk with the demo")
            self._start_download(offer.name)

    def _remember(self, name: str) -> None:
        """Write what was chosen into the settings, and say so."""
        path = self._places.config_file
        try:
            config.save_settings(self._places, last_model=name)
        except (OSError, ValueError) as error:
            strerror = error.strerror if isinstance(error, OSError) else ""
            reason = f"{path}: {strerror}" if bool(strerror) else str(error)
            self._page.warn(f"the choice is not written down: {reason}")
        else:
            self._page.tell(f'written to {path}: last_model = "{showable(name)}"')

    # Talking

    async def converse_with(self, name: str) -> Talk:
        """Return a talk with a model that is loaded. Raises SetupFailed where it can't be."""
        talk = self.talk or await self._begin_talk(name)
        if talk.model is None or talk.location.name != name:
            try:
                location = resolve(name)
            except ModelNotFound as error:
                raise SetupFailed(one_line(error)) from error
            if not await talk.load(location):
                raise SetupFailed(
                    f"{showable(name)} could not be loaded; `mtplx-tui doctor` may tell"
                )
        return talk

    async def _begin_talk(self, name: str) -> Talk:
        try:
            location = resolve(name)
            engine = await self._stack.enter_async_context(Engine())
        except ModelNotFound as error:
            raise SetupFailed(one_line(error)) from error
        except OSError as error:
            raise SetupFailed(f"the engine can't be started: {error}") from error
        options = Options(depth=self._settings.depth, mode=self._settings.mode)
        desk = Desk(Store(self._places.chats), options=options)
        self._stack.callback(desk.close)
        self.talk = Talk(engine, desk, self._page, location)
        return self.talk

    async def _load_chosen(self) -> Talk:
        """Return a talk with the chosen model, or with the demo in its place."""
        wanted = self.model_to_talk_with
        try:
            return await self.converse_with(wanted)
        except SetupFailed as error:
            if wanted == DEMO or not is_here(DEMO):
                raise
            self._page.warn(f"{error}; the demo is taken in its place")
            self._put(flow.drop(self.progress, DEMO))
            self._remember(DEMO)
            return await self.converse_with(DEMO)

    async def _see_answer(self) -> None:
        talk = await self._load_chosen()
        question = await self._asker.line(f"your first question (enter: {words.FIRST_QUESTION}) ")
        await self._ask(talk, question or words.FIRST_QUESTION)
        self._put(flow.answered(self.progress))

    async def _ask(self, talk: Talk, question: str) -> None:
        self._page.tell(f"\n> {showable(question)}")
        await talk.ask(question)
        turn, request = talk.last_answer, talk.last_request
        if turn is None or request is None or turn.status in (TurnStatus.CUT, TurnStatus.FAILED):
            raise SetupFailed("there was no answer; the same command goes on from here")
        self.seen.answer = request
        self._page.tell(words.exact_words(request))

    async def _show_tour(self) -> None:
        if self._manner.is_asking:
            answer = await self._asker.line("see how it was made? [Y/n] ")
            if answer.lower() in ("n", "no"):
                self._put(flow.toured(self.progress, was_seen=False))
                return
        if self.seen.answer is None:
            await self._ask(await self._load_chosen(), words.FIRST_QUESTION)
        if self.seen.answer is not None:
            self._page.tell("\n".join(_tour_lines(self.seen.answer, is_utf8=self._manner.is_utf8)))
        self._put(flow.toured(self.progress, was_seen=True))

    # The download

    def _start_download(self, name: str) -> Fetch:
        fetch = Fetch(name, self._places.downloads)
        self._stack.callback(fetch.close)
        fetch.start()
        self._fetch = fetch
        return fetch

    async def _wait_for_model(self) -> None:
        fetch = self._fetch or self._start_download(self.progress.model)
        if self._manner.is_asking and not fetch.is_over and is_here(DEMO):
            name = showable(fetch.name)
            choices = (
                f"wait for {name} ({fetch.words})",
                "go on with the demo; the download goes on meanwhile",
                f"leave {name}, and stay with the demo",
            )
            picked = await pick(self._asker, self._page.tell, "The download", choices)
            if picked:
                self._leave_download(fetch, is_dropped=picked == 2)
                return
        await self._take_download(fetch, await fetch.wait())

    def _leave_download(self, fetch: Fetch, *, is_dropped: bool) -> None:
        if not is_dropped:
            self.is_for_later = True
            return
        fetch.stop()
        self._put(flow.drop(self.progress, DEMO))
        self._remember(DEMO)

    async def _take_download(self, fetch: Fetch, job: Job) -> None:
        if job.state is JobState.DONE:
            self._page.tell(f"{showable(job.name)} is downloaded")
            self._put(flow.fetched(self.progress))
            self._remember(job.name)
            return
        why = job.error or "the download was stopped"
        if not self._manner.is_asking:
            raise SetupFailed(f"{why}; the same command goes on from here")
        self._page.warn(why)
        choices = ["try again", *(["stay with the demo"] if is_here(DEMO) else [])]
        if await pick(self._asker, self._page.tell, "What now?", choices):
            self._leave_download(fetch, is_dropped=True)
        else:
            fetch.start()

    # Tuning, and where to go

    async def _tune(self) -> None:
        is_wanted = False
        if self._manner.is_asking:
            talk = await self._load_chosen()
            if talk.model is not None and talk.model.head is not None:
                self._page.tell(
                    "\nWhat each depth costs was measured briefly when the model was first loaded; "
                    "tuning takes eight answers to measure it closely."
                )
                answer = await self._asker.line(f"tune {showable(talk.model.name)} now? [y/N] ")
                is_wanted = answer.lower() in ("y", "yes")
            if is_wanted and talk.model is not None:
                await self._carry_out(talk)
        self._put(flow.tuned(self.progress, was_done=is_wanted))

    async def _carry_out(self, talk: Talk) -> None:
        if talk.model is None:
            return
        work = tuning.Tuning(talk.model)
        try:
            await carry_out(work, talk.engine)
        except EngineTrouble as error:
            raise SetupFailed(f"{error}; the same command goes on from here") from error
        self.seen.tuning = work.found()
        best = tuning.best_of(self.seen.tuning).depth
        lines = [*map(tuning.cost_words, self.seen.tuning), f"best: depth {best}; kept"]
        self._page.tell("\n".join(indented(lines)))

    async def _choose_place(self) -> None:
        where = Place.TERMINAL
        if self._manner.is_asking and self._manner.has_terminal:
            choices = (
                "in the app, full screen: F3 shows tokens and their fate as they come",
                "here, line by line",
            )
            picked = await pick(self._asker, self._page.tell, "Where do you want to talk?", choices)
            where = (Place.APP, Place.TERMINAL)[picked]
        self._put(flow.place(self.progress, where))


def _tour_lines(request: RequestView, *, is_utf8: bool) -> list[str]:
    cycles = words.telling_cycles(request)
    if not cycles:
        return ["", "Nothing was drafted for it: each of its cycles gave one token."]
    lines = [
        "",
        f"It took {len(request.cycles)} cycles. In each the head drafts some tokens, the model looks at "
        "all of them in one pass,",
        "accepts as many as the exact rule lets through, and adds one of its own:",
    ]
    for cycle in cycles:
        lines += ["", *indented(words.cycle_lines(cycle, is_utf8=is_utf8))]
    return [*lines, "", "The app shows this live: `mtplx-tui`, then F3."]
