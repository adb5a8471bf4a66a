"""A person and an engine around the app: keys on one side, made-up events on the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from textual.events import Key
from textual.pilot import Pilot
from textual.widgets import Static

from engine.protocol import (
    Channel,
    Command,
    CycleDone,
    DepthSet,
    Ended,
    EngineStarted,
    ErrorInfo,
    Event,
    Finish,
    Generate,
    LoadFailed,
    LoadProgress,
    ModelInfo,
    ModelLoaded,
    PrefillProgress,
    RequestDone,
    RequestFailed,
    RequestStarted,
    Role,
    TextRun,
)
from mtplx_tui.app import MtplxApp
from mtplx_tui.chats.model import Chat, Turn
from mtplx_tui.chats.store import Store
from mtplx_tui.config import Settings, Terminal
from mtplx_tui.files import Places
from mtplx_tui.setup import flow, kept
from mtplx_tui.setup.flow import Place, Progress
from mtplx_tui.widgets.answer import Answer
from mtplx_tui.widgets.conversation import Conversation
from mtplx_tui.widgets.prompt import Prompt
from mtplx_tui.widgets.status_bar import StatusBar
from tests.fakes.processes import PATIENCE_S
from tests.fakes.streams import MODEL

NOON = 1_800_014_400.0
"""15 January 2027 in every time zone west of +12 h."""
TERMINAL = Terminal(
    name="xterm-256color", is_dumb=False, has_color=True, colors=2**24, is_utf8=True, is_ssh=False
)

OF_REQUEST = (RequestStarted, PrefillProgress, DepthSet, CycleDone, RequestDone, RequestFailed)


class TalkApp(MtplxApp):
    """The app without an engine: commands are written down. Its home was set up before."""

    def __init__(self, folder: Path, terminal: Terminal, settings: Settings) -> None:
        places = Places(folder / "config", folder / "data", folder / "cache")
        if not places.setup.exists():
            kept.keep(places.setup, flow.skip_rest(Progress(), "demo", Place.APP))
        super().__init__(
            places=places,
            settings=settings,
            terminal=terminal,
            start_engine=None,
            process=None,
            model=None,
            store=Store(folder / "chats"),
        )
        self.sent: list[Command] = []
        self.can_send = True

    def send(self, command: Command) -> bool:
        if self.can_send:
            self.sent.append(command)
        return self.can_send


class Talk:
    """Drives a TalkApp."""

    pilot: Pilot[int]

    def __init__(
        self, folder: Path, *, terminal: Terminal = TERMINAL, settings: Settings | None = None
    ) -> None:
        self.app = TalkApp(folder, terminal, settings or Settings())
        self._cycle = 0

    @asynccontextmanager
    async def at(
        self, columns: int, rows: int, *, model: ModelInfo | None = MODEL
    ) -> AsyncGenerator[Talk]:
        """Run the app at a size, with an engine that has this model."""
        async with self.app.run_test(size=(columns, rows)) as pilot:
            await self.begin(pilot, model)
            yield self

    async def begin(self, pilot: Pilot[int], model: ModelInfo | None = MODEL) -> None:
        """Start the engine and have it load a model."""
        self.pilot = pilot
        await self.settle()
        for prompt in self.app.screen.query(Prompt):
            prompt.cursor_blink = False
        self.app.feed([EngineStarted(1, 1, "cpu", "0.32.4", "0.32.2", "stock", "")])
        if model is not None:
            await self.loads(model)
        await self.settle()

    # What a person does

    async def press(self, *keys: str) -> None:
        """Press keys."""
        await self.pilot.press(*keys)
        await self.settle()

    async def type_ahead(self, *keys: str) -> None:
        """Press keys faster than the app can take them."""
        for key in keys:
            self.app.post_message(Key(key, key if len(key) == 1 else None))
        await self.settle()

    async def ask(self, text: str) -> None:
        """Put a text into the prompt and press enter."""
        self.prompt.insert(text)
        await self.press("enter")

    async def answered(self, question: str, answer: str) -> None:
        """Ask and have it answered."""
        await self.ask(question)
        self.starts()
        await self.says(answer)
        await self.ends()

    # What the engine does

    async def load_is_asked_for(self) -> None:
        """Have a model wanted that is not there yet."""
        self.app.loads.open("demo")
        await self.settle()

    async def loading(self, stage: str, done: int, total: int) -> None:
        """Load on."""
        self.app.feed([LoadProgress("load", stage, done, total)])
        await self.settle()

    async def loads(self, model: ModelInfo) -> None:
        """Have a model loaded."""
        self.app.feed([ModelLoaded("load", model)])
        await self.settle()

    async def load_fails(self, error: ErrorInfo) -> None:
        """Have a load come to nothing."""
        self.app.feed([LoadFailed("load", error)])
        await self.settle()

    def starts(self) -> None:
        """Take the newest request."""
        command = self.generates[-1]
        self.app.feed(
            [
                RequestStarted(
                    command.request,
                    "demo",
                    40,
                    command.sampling,
                    command.seed,
                    command.depth,
                    command.mode,
                    command.max_tokens or 8_000,
                )
            ]
        )

    async def plays(self, events: Iterable[Event]) -> None:
        """Say what was recorded, in one batch, as the newest question's answer."""
        asked = self.generates
        name = asked[-1].request if asked else None
        self.app.feed([_renamed(event, name) for event in events])
        await self.settle()

    def feed_says(
        self, text: str, *, channel: Channel = Channel.ANSWER, tokens: int = 3
    ) -> CycleDone:
        """Emit a cycle with this text."""
        self._cycle += 1
        event = CycleDone(
            request=self.generates[-1].request,
            cycle=self._cycle,
            depth=3,
            drafted=(1, 2, 3),
            drafted_pieces=("a", "b", "c"),
            accepted=tokens - 1,
            emitted=tuple(range(tokens)),
            emitted_pieces=("x",) * tokens,
            ended=Ended.RESIDUAL,
            runs=(TextRun(channel, text),),
            draft_s=0.01,
            verify_s=0.02,
            accept_s=0.001,
            total_s=0.035,
        )
        self.app.feed([event])
        return event

    async def says(self, text: str, *, channel: Channel = Channel.ANSWER, tokens: int = 3) -> None:
        """Emit a cycle and wait until it is drawn."""
        self.feed_says(text, channel=channel, tokens=tokens)
        await self.settle()
        await self.until(self._is_drawn)

    async def ends(self, finish: Finish = Finish.STOP, tokens: int = 3) -> None:
        """End the newest request."""
        request = self.generates[-1].request
        self.app.feed([RequestDone(request, finish, tokens, 0.1, 0.2, 1.0)])
        await self.settle()

    async def fails(self, message: str) -> None:
        """Fail the newest request."""
        self.app.feed([RequestFailed(self.generates[-1].request, ErrorInfo(message, ""))])
        await self.settle()

    async def dies(self) -> None:
        """Be gone."""
        self.app.lose_engine(ErrorInfo("the engine was ended by signal 9", "restart it"))
        await self.settle()

    # What is seen

    @property
    def prompt(self) -> Prompt:
        """Where a person types."""
        return self.app.screen_stack[0].query_one(Prompt)

    @property
    def chat(self) -> Chat:
        """The open chat."""
        return self.app.desk.chat

    @property
    def generates(self) -> list[Generate]:
        """The questions that reached the engine."""
        return [command for command in self.app.sent if isinstance(command, Generate)]

    def path(self) -> tuple[Turn, ...]:
        """Return the branch shown."""
        return self.chat.path()

    def answers(self) -> list[Turn]:
        """Return the answers of the branch shown."""
        return [turn for turn in self.path() if turn.role is Role.ASSISTANT]

    def shown(self) -> list[str]:
        """Return the text of each turn on the screen, its parts one under the other."""
        conversation = self.app.screen.query_one(Conversation)
        texts = []
        for block in conversation.blocks:
            parts = [_text(part) for part in block.children if part.display]
            texts.append("\n".join(part for part in parts if part))
        return texts

    def text_of(self, selector: str) -> str:
        """Return the text of a static part of the screen."""
        return str(self.app.screen.query_one(selector, Static).content)

    def stop_the_clock(self) -> None:
        """Have it always be the same day, wherever the test runs."""
        self.app.desk._clock = lambda: NOON

    def status(self) -> str:
        """Return the bottom line, as it is once it was brought up to date."""
        self.app.telling.status.now()
        return str(self.app.screen_stack[0].query_one(StatusBar).content)

    def notices(self) -> list[str]:
        """Return the notices given so far."""
        return [notice.message for notice in self.app._notifications]

    async def settle(self) -> None:
        """Let everything that was posted be handled."""
        await self.pilot.pause()
        await self.until(lambda: getattr(self.app.screen, "_sync_timer", None) is None)
        await self.pilot.pause()

    async def rest(self) -> None:
        """Wait until what is shown at intervals is up to date too."""
        await self.settle()
        await self.until(lambda: not self.app.telling.status.is_waiting)
        await self.until(lambda: getattr(self.app.screen, "_panels_timer", None) is None)
        await self.settle()

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so; fail if it does not come about."""
        async with asyncio.timeout(PATIENCE_S):
            while not is_so():
                await self.pilot.pause()

    def _is_drawn(self) -> bool:
        return all(
            not answer._pending and answer._timer is None
            for answer in self.app.screen.query(Answer)
            if answer.display
        )


def _renamed(event: Event, name: str | None) -> Event:
    """Return an event of a request as one of another name."""
    is_of_request = isinstance(event, OF_REQUEST)
    return replace(event, request=name) if name is not None and is_of_request else event


def _text(part: object) -> str:
    if isinstance(part, Answer):
        return "\n".join(strip.text.rstrip() for strip in part._rows)
    return str(part.content).rstrip() if isinstance(part, Static) else ""
