"""A server on a real socket, and an engine in the same loop that says what a test wants."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2

from engine.protocol import (
    Cancel,
    Channel,
    Command,
    CountTokens,
    CycleDone,
    DepthSet,
    Ended,
    ErrorInfo,
    Event,
    Finish,
    Generate,
    PrefillProgress,
    PrefixReused,
    PromptShown,
    RequestDone,
    RequestFailed,
    RequestStarted,
    Reread,
    SetDepth,
    ShowPrompt,
    TextRun,
    TokenLogprob,
    TokensCounted,
)
from mtplx_tui.link import EngineGone
from mtplx_tui.server.server import Server, ServerOptions
from mtplx_tui.view import EngineView, apply, engine_died
from tests.fakes.streams import MODEL, loading

QWEN3 = "{% if tools %}<tool_call>{% endif %}<think>enable_thinking"
CODER = "{% if tools %}<function=<parameter={% endif %}"
Script = Callable[[Generate], list[Event]]


def said(*pieces: str, thought: str = "") -> Script:
    """Return a script that says these pieces, one a cycle."""

    def script(command: Generate) -> list[Event]:
        runs = [TextRun(Channel.REASONING, thought)] if thought else []
        runs += [TextRun(Channel.ANSWER, piece) for piece in pieces]
        return answer(command, runs)

    return script


def answer(
    command: Generate,
    runs: Sequence[TextRun],
    finish: Finish = Finish.STOP,
    stop: str = "",
    cached: int = 4,
) -> list[Event]:
    """Return what an engine says of a request whose cycles bring these runs."""
    name = command.request
    thoughts = sum(run.channel is Channel.REASONING for run in runs)
    return [
        RequestStarted(
            name, "demo", 12, command.sampling, command.seed, command.depth, command.mode, 100
        ),
        PrefixReused(name, cached, cached, Reread.APPENDED, "", "", ""),
        PrefillProgress(name, 12, 12),
        *(cycle(command, number, run) for number, run in enumerate(runs)),
        RequestDone(name, finish, len(runs), 0.01, 0.02, 0.5, (), stop, thoughts),
    ]


def cycle(command: Generate, number: int, run: TextRun) -> CycleDone:
    """Return a cycle of plain decoding."""
    logprobs: tuple[TokenLogprob, ...] = ()
    if command.logprobs is not None:
        tops = tuple(range(command.logprobs))
        pieces = tuple(f"t{top}" for top in tops)
        falling = tuple(-0.5 - top for top in tops)
        logprobs = (TokenLogprob(number, -0.25, tops, pieces, falling),)
    return CycleDone(
        command.request,
        number,
        0,
        (),
        (),
        0,
        (number,),
        (run.text,),
        Ended.PLAIN,
        (run,),
        0.0,
        0.01,
        0.0,
        0.01,
        logprobs,
    )


class FakeEngine:
    """Answers commands on the loop, in the order they come; one event a turn of the loop."""

    def __init__(self) -> None:
        self.view = EngineView()
        self.script: Script = said("Hello", " there", ".")
        self.heard: list[Command] = []
        self.is_there = True
        self.hold_after: int | None = None
        """Of a request's events only so many come; until it is cancelled."""
        self.server: Server | None = None
        for event in loading():
            self.view = apply(self.view, event)
        self.use_template("")

    @property
    def generated(self) -> list[Generate]:
        return [each for each in self.heard if isinstance(each, Generate)]

    def use_template(self, template: str) -> None:
        self.view = replace(self.view, model=replace(MODEL, chat_template=template))

    def send(self, command: Command) -> None:
        if not self.is_there:
            raise EngineGone("the engine is not running")
        self.heard.append(command)
        asyncio.get_running_loop().call_soon(self._say, self._answer(command))

    def die(self) -> None:
        """End as a process that was killed does."""
        self.is_there = False
        error = ErrorInfo("the engine was ended by signal 9", "restart the engine")
        self.view = engine_died(self.view, error)
        assert self.server is not None
        self.server.engine_died(error)

    def live_again(self) -> None:
        self.is_there = True
        for event in loading():
            self.say(event)

    def say(self, *events: Event) -> None:
        for event in events:
            self.view = apply(self.view, event)
        if self.server is not None:
            self.server.take(list(events))

    def _say(self, events: list[Event]) -> None:
        if not events or not self.is_there:
            return
        self.say(events[0])
        asyncio.get_running_loop().call_soon(self._say, events[1:])

    def _answer(self, command: Command) -> list[Event]:
        match command:
            case Generate():
                return self.script(command)[: self.hold_after]
            case Cancel(request=name):
                return [RequestDone(name, Finish.CANCELLED, 0, 0.0, 0.0, 0.0)]
            case CountTokens(request=name, command=counted):
                words = " ".join(message.content for message in counted.messages)
                return [TokensCounted(name, len(re.findall(r"\w+", words)))]
            case ShowPrompt(request=name):
                known = any(each.request == name for each in self.generated)
                ids = (1, 2, 3) if known else ()
                return [PromptShown(name, "<|user|>Hi", ids, ("a", "b", "c") if known else ())]
            case SetDepth(request=name, depth=depth):
                return [DepthSet(name, depth)]
        return []


def failing(message: str, exit_code: int = 1) -> Script:
    """Return a script of a request that the engine refuses."""
    return lambda command: [RequestFailed(command.request, ErrorInfo(message, "", exit_code))]


class Place:
    """A server that runs."""

    def __init__(self, engine: FakeEngine, server: Server) -> None:
        self.engine = engine
        self.server = server
        self.http = httpx2.AsyncClient(base_url=server.address, timeout=20)

    async def post(self, path: str, body: Any, **headers: str) -> httpx2.Response:
        return await self.http.post(path, json=body, headers=headers)

    async def ask(self, **fields: Any) -> httpx2.Response:
        """Post a chat request."""
        return await self.post("/v1/chat/completions", chat(**fields))


def chat(**fields: Any) -> dict[str, Any]:
    """Return the body of a chat request."""
    return {"model": "demo", "messages": [{"role": "user", "content": "Hi"}], **fields}


@asynccontextmanager
async def serving(**options: Any) -> AsyncGenerator[Place]:
    """Run a server over a fake engine."""
    engine = FakeEngine()
    server = Server(ServerOptions(port=0, **options), engine.send, lambda: engine.view)
    engine.server = server
    await server.start()
    place = Place(engine, server)
    try:
        yield place
    finally:
        await place.http.aclose()
        await server.stop()


async def wire_events(place: Place, path: str, body: dict[str, Any]) -> tuple[list[str], list[Any]]:
    """Return a stream's events as they are on the wire: their names, and their data."""
    names: list[str] = []
    data: list[Any] = []
    async with place.http.stream("POST", path, json=body) as response:
        assert response.status_code == 200
        async for line in response.aiter_lines():
            if line.startswith("event: "):
                names.append(line[7:])
            if line.startswith("data: "):
                data.append(json.loads(line[6:]))
    return names, data
