"""A person at the server tab, clients on a real socket, and an engine that says what a test wants."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
from textual.widgets import Static

from engine.protocol import Cancel, Command, Event, Finish, Generate, RequestDone
from mtplx_tui.screens.server import ServerScreen
from tests.fakes import streams
from tests.tui.chat_talk import Talk


class ServerTalk(Talk):
    """Drives the tab."""

    heard: list[Command]

    @property
    def screen(self) -> ServerScreen:
        """The tab."""
        screen = self.app.screen_stack[0]
        assert isinstance(screen, ServerScreen)
        return screen

    def listen(self) -> None:
        """Write down what the server gives the engine."""
        self.heard = []
        setattr(self.app, "give", self.heard.append)  # noqa: B010 - a method in place of another
        self.app.serving._send = self.heard.append

    @property
    def served(self) -> list[Generate]:
        """What clients had the engine asked for."""
        return [command for command in self.heard if isinstance(command, Generate)]

    async def serves(self) -> None:
        """Start the server at a port that is free."""
        self.listen()
        self.app.serving.port = 0
        await self.press("f7", "enter")
        await self.until(lambda: self.app.serving.is_running)

    def asks(self, **fields: Any) -> asyncio.Task[httpx2.Response]:
        """Have a client ask."""

        async def ask() -> httpx2.Response:
            body = {"model": "demo", "messages": [{"role": "user", "content": "Hi"}], **fields}
            address = f"{self.app.serving.address}/v1/chat/completions"
            async with httpx2.AsyncClient(timeout=20) as client:
                return await client.post(address, json=body, headers={"user-agent": "agent/1.0"})

        return asyncio.get_running_loop().create_task(ask())

    async def replies(self, count: int = 20, *, to_the_end: bool = True) -> None:
        """Have the engine answer the newest request."""
        events: list[Event] = streams.answer(self.served[-1].request, count)
        if not to_the_end:
            events.pop()
        self.app.feed(events)
        await self.settle()

    def cancelled(self) -> list[str]:
        """Return the requests that the engine was told to end, and have it do so."""
        names = [command.request for command in self.heard if isinstance(command, Cancel)]
        self.app.feed([RequestDone(name, Finish.CANCELLED, 0, 0.0, 0.0, 0.0) for name in names])
        return names

    def page(self) -> str:
        """Return all text of the tab."""
        return "\n".join(str(part.content) for part in self.screen.query(Static) if part.display)
