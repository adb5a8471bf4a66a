"""The conversation of the terminal chat: the engine asked, its answers shown and kept.

The desk keeps chats in the same files as the app's.
"""

from __future__ import annotations

from engine.protocol import (
    Cancel,
    CancelLoad,
    CycleDone,
    Generate,
    LoadCancelled,
    LoadFailed,
    LoadModel,
    LoadProgress,
    ModelInfo,
    RequestDone,
)
from mtplx_tui.chats.desk import Desk
from mtplx_tui.chats.model import Turn, TurnStatus
from mtplx_tui.cli import pass_line
from mtplx_tui.driving import Engine, EngineTrouble
from mtplx_tui.library.disk import Location
from mtplx_tui.link import EngineGone
from mtplx_tui.terminal_chat.page import Page
from mtplx_tui.view import RequestView

__all__ = ["Talk"]


class Talk:
    """See the module.

    Args:
        engine: running.
        desk: where the conversation is kept.
        page: where it is shown.
        location: the model to talk with; loaded by `load`, or by the first question.
    """

    def __init__(self, engine: Engine, desk: Desk, page: Page, location: Location) -> None:
        self.engine, self.desk, self.page = engine, desk, page
        self.location = location
        self.has_failed = False
        """Whether anything that was wanted came to nothing."""
        self._loads = 0
        self._stop: Cancel | CancelLoad | None = None
        """What stops that which is under way."""
        self._is_lost = False
        self._told = ""
        self.is_busy = False
        """Whether a load or an answer is under way, asked to stop or not."""

    @property
    def model(self) -> ModelInfo | None:
        """What is loaded."""
        return self.engine.view.model

    @property
    def last_answer(self) -> Turn | None:
        """The newest answer of the branch shown."""
        path = self.desk.chat.path()
        return path[-1] if path and path[-1].role == "assistant" else None

    @property
    def last_request(self) -> RequestView | None:
        """How the newest answer was made, while that is remembered."""
        turn = self.last_answer
        return None if turn is None else self.engine.view.request(turn.id)

    def fail(self, message: str) -> None:
        """Tell that something came to nothing."""
        self.has_failed = True
        self.page.warn(message)

    def interrupt(self) -> bool:
        """Stop what is under way; False where nothing is, or it was asked to stop before."""
        stop, self._stop = self._stop, None
        if stop is None:
            return False
        try:
            self.engine.send(stop)
        except EngineGone:
            return True  # its end is told to whoever waits for it
        return True

    async def load(self, location: Location) -> bool:
        """Load a model in place of the present one. Returns whether it is loaded."""
        self.location = location
        try:
            if self._is_lost:
                await self.engine.restart()
                self._is_lost = False
            return await self._load(location)
        except (EngineGone, EngineTrouble) as error:
            self._lose(error)
        except OSError as error:
            self.fail(f"the engine can't be started: {error}")
        return False

    async def _load(self, location: Location) -> bool:
        self._loads += 1
        request = f"load-{self._loads}"
        self.engine.send(LoadModel(request, location.name, location.path))
        self._stop = CancelLoad(request)
        self.is_busy = True
        try:
            while True:
                event = await self.engine.take_event()
                match event:
                    case LoadProgress(stage=stage, done=done, total=total):
                        pass_line(f"{stage} {100 * done // total} %" if total else stage)
                    case LoadFailed(error=error):
                        raise EngineTrouble(error)
                    case LoadCancelled():
                        self.page.warn("the load was stopped; /model loads a model")
                        return False
                if self.engine.view.model is not None and self.engine.view.load is None:
                    return True
        finally:
            self._stop, self.is_busy = None, False
            pass_line("")

    async def ask(self, text: str) -> None:
        """Ask a question, and show the answer to its end."""
        model = await self._ready()
        if model is not None:
            try:
                command = self.desk.ask(text, model)
            except ValueError as error:
                self.fail(str(error))
            else:
                await self._answer(command)

    async def retry(self) -> None:
        """Have the newest question answered again, as a branch beside the answer there is."""
        turn = self.last_answer
        if turn is None:
            self.fail("there is no answer yet")
            return
        model = await self._ready()
        if model is not None:
            await self._answer(self.desk.regenerate(turn.id, model))

    async def _ready(self) -> ModelInfo | None:
        """Return the model that is loaded; loads it where the engine was lost."""
        if self.model is None or self._is_lost:
            await self.load(self.location)
        return self.model

    async def _answer(self, command: Generate) -> None:
        with self.page.answering():
            self.is_busy = True
            try:
                self.engine.send(command)
                self._stop = Cancel(command.request)
                await self._follow(command.request)
            except (EngineGone, EngineTrouble) as error:
                self._is_lost, reason = True, str(error)
                self.desk.engine_died()
            else:
                reason = ""
            finally:
                self._stop, self.is_busy = None, False
        turn = self.desk.chat.turns[command.request]
        self.page.end(turn)
        self.has_failed |= turn.status in (TurnStatus.CUT, TurnStatus.FAILED)
        if reason:
            self.page.warn(reason)
        self.tell_problem()

    async def _follow(self, request: str) -> None:
        while self.desk.running == request:
            event = await self.engine.take_event()
            self.desk.apply(event)
            if isinstance(event, (CycleDone, RequestDone)) and event.request == request:
                self.page.write(event.runs)

    def _lose(self, error: Exception) -> None:
        # A load that failed left an engine that runs, and takes another one.
        self._is_lost = isinstance(error, EngineGone) or self.engine.view.engine is None
        self.fail(str(error))

    def tell_problem(self) -> None:
        """Tell what is wrong with the record on disk, once."""
        problem = self.desk.problem
        if problem and problem != self._told:
            self.page.warn(problem)
        self._told = problem
