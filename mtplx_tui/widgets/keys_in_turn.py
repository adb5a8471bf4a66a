"""Takes keys in turn: each once what the one before set off has come to rest.

Textual hands a key to what has the focus, and looks at the next one at once. What a key sets off goes
from queue to queue meanwhile: up to the app, where its action runs, on in a message, into a tab or
dialog that is still being laid out. To a person who types fast, or a terminal that hands over many
keys together, letters overtook a backspace, and what followed enter, escape or a dialog's key went to
what had the focus before, or to nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from textual.app import App
from textual.events import Key, Paste
from textual.message_pump import MessagePump
from textual.widget import Widget
from textual.widgets import Input, TextArea

__all__ = ["KeysInTurn"]

ROUNDS = 4
"""How often the queues are gone through at most: an answer that is written keeps them busy."""
PATIENCE_S = 5.0
"""What is not through a queue by then holds no key up any longer."""


class KeysInTurn:
    """See the module.

    Args:
        app: whose keys they are.
        handle: has Textual handle one.
    """

    def __init__(self, app: App[int], handle: Callable[[Key | Paste], Awaitable[None]]) -> None:
        self._app = app
        self._handle = handle
        self._pressed: asyncio.Queue[Key | Paste] = asyncio.Queue()
        self._typed_into: Widget | None = None
        """The field that the last one went into, as nothing but text."""

    def add(self, event: Key | Paste) -> None:
        """Take one when its turn comes."""
        self._pressed.put_nowait(event)

    async def take(self) -> None:
        """Go on taking them."""
        while True:
            event = await self._pressed.get()
            field = self._field(event)
            if field is None or field is not self._typed_into:
                await self._rest()
                field = self._field(event)
            self._typed_into = field
            await self._handle(event)

    def _field(self, event: Key | Paste) -> Widget | None:
        """Return the field that only gets text by this: its own queue keeps that in order."""
        is_text = isinstance(event, Paste) or event.is_printable
        field = self._app.focused
        return field if is_text and isinstance(field, Input | TextArea) else None

    async def _rest(self) -> None:
        """Wait until what was set off is through the queues from the focus up, and has led to nothing."""
        path: list[MessagePump] = []
        for _ in range(ROUNDS):
            before, path = path, self._path()
            if path == before and not any(pump.message_queue_size for pump in path):
                return
            for pump in path:
                await _through(pump)

    def _path(self) -> list[MessagePump]:
        """Return whose queues a key goes through: from the focus up to the app."""
        pump: MessagePump | None = self._app.focused or self._app.screen
        path = []
        while pump is not None:
            path.append(pump)
            pump = pump._parent
        return path


async def _through(pump: MessagePump) -> None:
    """Wait until all is handled that a queue holds, or whose it is is gone."""
    passed = asyncio.get_running_loop().create_future()
    if pump.call_later(passed.set_result, None):
        over = {passed} if pump._task is None else {passed, pump._task}
        await asyncio.wait(over, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
