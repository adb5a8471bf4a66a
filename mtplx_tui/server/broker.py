"""Who is served, and in what order: between the HTTP requests and the one engine.

Requests wait in a bounded line; as many as may be in flight are the engine's, which lets them
take turns cycle by cycle. Owns what is live and what was lately.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from pathlib import Path

from engine.protocol import (
    Command,
    CountTokens,
    ErrorInfo,
    Event,
    ModelInfo,
    ModelLoaded,
    PromptShown,
    SetDepth,
    ShowPrompt,
    TokensCounted,
)
from mtplx_tui.link import EngineGone
from mtplx_tui.server.ask import Ask
from mtplx_tui.server.choice import Choice
from mtplx_tui.server.commands import commands, count_command, reader_for
from mtplx_tui.server.exchange import Exchange
from mtplx_tui.server.faults import Fault, bad_request, busy, engine_fault, not_ready
from mtplx_tui.server.options import ServerOptions
from mtplx_tui.server.served import ServedRequest
from mtplx_tui.view import EngineState, EngineView

__all__ = ["PREFIX", "Broker", "model_id"]

PREFIX = "api-"
"""Of the ids of the server's own engine requests."""
RECENT = 100
QUESTION_S = 30.0
"""How long the engine may take over a question that generates nothing."""
_OTHER_MODEL = ErrorInfo("another model was loaded in the meantime", "ask for that one")


def model_id(model: ModelInfo) -> str:
    """Return what clients know a model by: its name, of a folder the last part alone."""
    return Path(model.name).name if Path(model.name).is_absolute() else model.name


class Broker:
    """See the module.

    Args:
        options: the server's.
        send: takes commands for the engine; raises EngineGone.
        engine_view: tells what is known of the engine now.
        on_change: called after each change of what is live or was lately.
        on_end: called with each request that ended.
    """

    def __init__(
        self,
        options: ServerOptions,
        send: Callable[[Command], None],
        engine_view: Callable[[], EngineView],
        on_change: Callable[[], None],
        on_end: Callable[[Exchange], None],
    ) -> None:
        self._options = options
        self._send = send
        self._engine_view = engine_view
        self._on_change = on_change
        self._on_end = on_end
        self._numbers = itertools.count(1)
        self._line: deque[Exchange] = deque()
        self._running: list[Exchange] = []
        self._by_request: dict[str, Exchange] = {}
        self._questions: dict[str, asyncio.Future[TokensCounted | PromptShown]] = {}
        self._recent: deque[ServedRequest] = deque(maxlen=RECENT)
        self._path: str | None = None
        """Of the model that the requests in the line were made for."""

    @property
    def live(self) -> tuple[ServedRequest, ...]:
        """What waits or runs, oldest first."""
        return tuple(each.served() for each in (*self._running, *self._line))

    @property
    def recent(self) -> tuple[ServedRequest, ...]:
        """What ended, newest first."""
        return tuple(self._recent)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._line)

    @property
    def view(self) -> EngineView:
        """What is known of the engine."""
        return self._engine_view()

    def model(self, name: str | None = None) -> ModelInfo:
        """Return the model that is loaded.

        Args:
            name: by which it has to be known; None for whichever it is.

        Raises:
            Fault: none is loaded now, or another one.
        """
        view = self._engine_view()
        if view.model is None:
            why = " (loading a model)"
            if view.load is None:
                is_told = view.state is EngineState.EMPTY
                why = "" if is_told else f" (the engine is {view.state.value})"
            raise not_ready(f"no model is loaded{why}; try again in a moment")
        known = model_id(view.model)
        if name is not None and name != known and not self._options.is_alias(name):
            raise Fault(
                404,
                f"there is no model {name!r:.100} here; {known} is loaded",
                param="model",
                code="model_not_found",
            )
        return view.model

    # Requests

    def accept(self, ask: Ask, client: str) -> Exchange:
        """Take a request into the line. Raises Fault where it can't be served."""
        model = self.model(ask.model)
        if not self._has_room and len(self._line) >= self._options.queue:
            raise busy()
        name = f"{PREFIX}{next(self._numbers)}"
        try:
            wanted = commands(ask, name, model)
        except ValueError as error:
            raise bad_request(str(error)) from error
        only = not ask.has_parallel_calls and bool(ask.tools)
        choices = [
            Choice(index, command, reader_for(ask, model), stops_at_call=only)
            for index, command in enumerate(wanted)
        ]
        exchange = Exchange(name, ask, client, choices, self._send, self._ended)
        for request in exchange.requests:
            self._by_request[request] = exchange
        self._line.append(exchange)
        self._path = model.path
        self._advance()
        self._on_change()
        return exchange

    def find(self, name: str) -> Exchange:
        """Return a live request, by its id or that of one of its choices. Raises Fault."""
        for exchange in (*self._running, *self._line):
            if name == exchange.name or name in exchange.requests:
                return exchange
        raise Fault(404, f"there is no live request {name!r:.60}", code="not_found")

    def set_depth(self, name: str, depth: int | None) -> None:
        """Have a live request draft to another depth. Raises Fault."""
        for request in self.find(name).requests:
            self._tell(SetDepth(request, depth))

    @property
    def _has_room(self) -> bool:
        """Whether one more would run at once."""
        return not self._line and len(self._running) < self._options.parallel

    def _advance(self) -> None:
        """Hand those that wait to the engine, as far as it is there and has room."""
        if self._engine_view().model is None:
            return
        while self._line and len(self._running) < self._options.parallel:
            exchange = self._line.popleft()
            self._running.append(exchange)
            exchange.begin()

    def _ended(self, exchange: Exchange) -> None:
        if exchange in self._running:
            self._running.remove(exchange)
        elif exchange in self._line:
            self._line.remove(exchange)
        for request in exchange.requests:
            self._by_request.pop(request, None)
        self._recent.appendleft(exchange.served())
        self._on_end(exchange)
        self._advance()
        self._on_change()

    # Questions that generate nothing

    async def count(self, ask: Ask) -> int:
        """Return how many tokens a prompt has. Raises Fault."""
        name = f"{PREFIX}count-{next(self._numbers)}"
        try:
            command = count_command(ask, name, self.model(ask.model))
        except ValueError as error:
            raise bad_request(str(error)) from error
        answer = await self._ask_engine(command)
        if not isinstance(answer, TokensCounted):
            raise TypeError(f"an answer to another question: {answer}")
        if answer.error is not None:
            raise engine_fault(answer.error)
        return answer.tokens

    async def prompt(self, request: str) -> PromptShown:
        """Return what the model saw of a request, also of one that ended. Raises Fault."""
        name = request if "." in request else f"{request}.0"
        answer = await self._ask_engine(ShowPrompt(name))
        if not isinstance(answer, PromptShown):
            raise TypeError(f"an answer to another question: {answer}")
        if not answer.token_ids:
            raise Fault(404, f"the prompt of {request!r:.60} is not known", code="not_found")
        return answer

    async def _ask_engine(self, command: CountTokens | ShowPrompt) -> TokensCounted | PromptShown:
        future = self._questions.get(command.request)
        if future is None:
            future = asyncio.get_running_loop().create_future()
            self._questions[command.request] = future
            self._tell(command)
        try:
            async with asyncio.timeout(QUESTION_S):
                return await asyncio.shield(future)
        except TimeoutError:
            raise Fault(504, "the engine does not answer", retry_after=5) from None
        finally:
            self._questions.pop(command.request, None)

    def _tell(self, command: Command) -> None:
        try:
            self._send(command)
        except EngineGone as error:
            raise not_ready(str(error)) from error

    # What the engine says

    def take(self, events: list[Event]) -> bool:
        """Take a batch of events; return whether any was the server's."""
        is_own = False
        for event in events:
            request = getattr(event, "request", "")
            if isinstance(event, (TokensCounted, PromptShown)):
                self._answer(request, event)
            elif isinstance(event, ModelLoaded):
                self._model_loaded(event.model)
            elif exchange := self._by_request.get(request):
                exchange.take(event)
                is_own = True
        return is_own

    def _model_loaded(self, model: ModelInfo) -> None:
        """Let those that wait go on, if they were made for this model."""
        if self._path not in (None, model.path):
            for exchange in list(self._line):
                exchange.fail(_OTHER_MODEL)
        self._path = model.path
        self._advance()

    def _answer(self, request: str, event: TokensCounted | PromptShown) -> None:
        future = self._questions.get(request)
        if future is not None and not future.done():
            future.set_result(event)

    def engine_died(self, error: ErrorInfo) -> None:
        """Take it that nothing runs any more; those that wait stay in the line."""
        for future in self._questions.values():
            if not future.done():
                future.set_exception(not_ready(error.message))
        for exchange in list(self._running):
            exchange.engine_died(error)

    def close(self, error: ErrorInfo) -> None:
        """End all that waits or runs; the clients are told why."""
        for exchange in [*self._line, *self._running]:
            exchange.fail(error)
