"""The server that the app's tab and `mtplx-tui serve` start: one object, on the caller's loop.

It owns no engine: commands go out through `send`, events come in through `take`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from engine.protocol import Command, ErrorInfo, Event, PromptShown
from mtplx_tui.files import write_atomically
from mtplx_tui.server.broker import Broker, model_id
from mtplx_tui.server.events import EventFeed, served
from mtplx_tui.server.exchange import Exchange
from mtplx_tui.server.faults import Fault
from mtplx_tui.server.gate import Gate, new_key
from mtplx_tui.server.listening import Listener, PortTaken, ServerTrouble, listen
from mtplx_tui.server.metrics import Metrics
from mtplx_tui.server.options import ServerOptions
from mtplx_tui.server.routes import Endpoints, application
from mtplx_tui.server.served import ServedRequest
from mtplx_tui.view import EngineView

__all__ = ["PortTaken", "Server", "ServerOptions", "ServerTrouble", "kept_key"]

TOLD_S = 0.25
"""Least time between two lists of requests at /events."""
_STOPPING = ErrorInfo("the server is stopping", "")


class Server:
    """See the module.

    Args:
        options: see there.
        send: takes commands for the engine; raises EngineGone.
        engine_view: tells what is known of the engine now.
        key: that callers show, where the options name none.
    """

    def __init__(
        self,
        options: ServerOptions,
        send: Callable[[Command], None],
        engine_view: Callable[[], EngineView],
        key: str = "",
    ) -> None:
        self.options = options
        self.key = options.key or key or new_key()
        self.started_at: float | None = None
        """Seconds since 1970; None while it does not run."""
        self._port = options.port
        self._engine_view = engine_view
        self._listeners: list[Callable[[], None]] = []
        self._listener: Listener | None = None
        self._told_at = 0.0
        self._telling: asyncio.TimerHandle | None = None
        self._has_changed = False
        self._broker = Broker(options, send, engine_view, self._changed, self._count)
        self._metrics = Metrics(lambda: len(self._broker.live), lambda: self._broker.waiting)
        self._feed = EventFeed(options.heartbeat_s)

    # Beginning and end

    async def start(self) -> None:
        """Listen. Raises ServerTrouble; PortTaken where someone else does already."""
        if self._listener is not None:
            return
        listening = listen(self.options.host, self.options.port)
        self._port = listening.getsockname()[1]
        self.started_at = time.time()
        self._feed = EventFeed(self.options.heartbeat_s)
        endpoints = Endpoints(
            self.options, self._broker, self._feed, self._metrics, int(self.started_at)
        )
        app = application(endpoints)
        endpoints.gate = Gate(app, self.options, self.key, self._port)
        self._listener = Listener(endpoints.gate, listening)
        self._tell()

    async def stop(self) -> None:
        """Listen no more: what runs gets its end, and the port is free."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        self.started_at = None
        self._broker.close(_STOPPING)
        self._feed.close()
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        await listener.close()
        self._tell()

    # What it is

    @property
    def is_running(self) -> bool:
        """Whether it listens."""
        return self._listener is not None

    @property
    def address(self) -> str:
        """Where this machine finds it."""
        host = self.options.host
        if host in ("0.0.0.0", "::"):
            host = "127.0.0.1"
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}"

    @property
    def model_id(self) -> str:
        """What clients call the model; empty while none is loaded."""
        model = self._engine_view().model
        return "" if model is None else model_id(model)

    @property
    def needs_key(self) -> bool:
        """Whether callers have to show the key."""
        return self.options.asks_for_key

    @property
    def live(self) -> tuple[ServedRequest, ...]:
        """Requests that wait or run, oldest first."""
        return self._broker.live

    @property
    def recent(self) -> tuple[ServedRequest, ...]:
        """Requests that ended, newest first."""
        return self._broker.recent

    def cancel(self, name: str) -> bool:
        """End a live request; False where there is none of this id."""
        try:
            self._broker.find(name).cancel()
        except Fault:
            return False
        return True

    async def prompt(self, name: str) -> PromptShown:
        """Return what the model saw of a request, also of one that ended.

        Raises:
            ValueError: it is not known; one line.
        """
        try:
            return await self._broker.prompt(name)
        except Fault as fault:
            raise ValueError(fault.message) from fault

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Have a function called after each change; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    # What the engine says

    def take(self, events: list[Event]) -> None:
        """Take a batch of engine events, which the view knows already."""
        if self._broker.take(events):
            self._changed()
        self._feed.take(events)
        if self._has_changed:
            self._tell()

    def engine_died(self, error: ErrorInfo) -> None:
        """Take it that the engine process ended: what ran gets an error."""
        self._broker.engine_died(error)
        self._metrics.engine_died()
        self._feed.tell("gone", {"message": error.message})
        self._tell()

    def _count(self, exchange: Exchange) -> None:
        self._metrics.ended(exchange)

    def _changed(self) -> None:
        self._has_changed = True
        if self._telling is None and self._listener is not None:
            wait_s = max(0.0, self._told_at + TOLD_S - time.monotonic())
            loop = asyncio.get_running_loop()
            self._telling = loop.call_later(wait_s, self._tell_readers)

    def _tell_readers(self) -> None:
        """Tell those who read /events of the requests, and the tab of what it was not told yet."""
        self._telling = None
        self._told_at = time.monotonic()
        if self._feed.has_readers:
            self._feed.tell("served", served(self.live, self.recent))
        if self._has_changed:
            self._tell()

    def _tell(self) -> None:
        self._has_changed = False
        for listener in list(self._listeners):
            listener()


def kept_key(path: Path) -> str:
    """Return the key that is kept in a file, or a new one, which then is; for its owner alone.

    Raises:
        OSError: it can't be read or written.
    """
    try:
        key = path.read_text("ascii").strip()
    except FileNotFoundError:
        key = ""
    if len(key) < 16:
        key = new_key()
        write_atomically(path, f"{key}\n")
    path.chmod(0o600)
    return key
