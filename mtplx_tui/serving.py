"""The server of the app: started and stopped from its tab, on the app's engine.

The server's own room is imported when it is first started. Knows no screen.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from engine.protocol import Command, ErrorInfo, Event, Mode, ModelInfo, PromptShown
from mtplx_tui.client_settings import Endpoint
from mtplx_tui.files import trouble
from mtplx_tui.remedies import one_line
from mtplx_tui.view import EngineView

if TYPE_CHECKING:
    from mtplx_tui.server.served import ServedRequest
    from mtplx_tui.server.server import Server

__all__ = ["Serving", "read_address"]

HOST, PORT = "127.0.0.1", 8080
ANY_KEY = "local"
"""What clients are told where no key is wanted: they insist on some."""


class Serving:
    """See the module.

    Args:
        send: takes commands for the engine; raises EngineGone.
        engine_view: tells what is known of the engine now.
        key_file: keeps the server's key.
        changed: called after each change.
        address: host and port where it is started first.
    """

    def __init__(
        self,
        send: Callable[[Command], None],
        engine_view: Callable[[], EngineView],
        key_file: Path,
        changed: Callable[[], None],
        address: tuple[str, int] = (HOST, PORT),
    ) -> None:
        self._send = send
        self._engine_view = engine_view
        self._key_file = key_file
        self._changed = changed
        self._server: Server | None = None
        self._is_busy = False
        self.host, self.port = address
        """Where it is started next."""
        self.wants_key = False
        """Whether callers on this machine have to show the key too, from the next start on."""
        self.problem = ""
        """Why it could not be started; empty when all is well."""

    @property
    def is_running(self) -> bool:
        """Whether it listens."""
        return self._server is not None and self._server.is_running

    @property
    def is_exposed(self) -> bool:
        """Whether other machines can reach it where it is started next."""
        if self.host == "localhost":
            return False
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return True

    @property
    def needs_key(self) -> bool:
        """Whether callers have to show the key."""
        if self._server is not None and self.is_running:
            return self._server.needs_key
        return self.wants_key or self.is_exposed

    @property
    def key(self) -> str:
        """The server's key; empty before its first start."""
        return "" if self._server is None else self._server.key

    @property
    def address(self) -> str:
        """Where it is, or is started next."""
        if self._server is not None and self.is_running:
            return self._server.address
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def started_at(self) -> float | None:
        """Seconds since 1970; None while it does not run."""
        return None if self._server is None else self._server.started_at

    @property
    def live(self) -> tuple[ServedRequest, ...]:
        """Requests that wait or run, oldest first."""
        return () if self._server is None else self._server.live

    @property
    def recent(self) -> tuple[ServedRequest, ...]:
        """Requests that ended, newest first."""
        return () if self._server is None else self._server.recent

    def endpoint(self, model: ModelInfo | None, *, is_hidden: bool = False) -> Endpoint:
        """Return what clients are told.

        Args:
            model: what is loaded.
            is_hidden: whether the key is masked, to be looked at by others.
        """
        key = self.key if self.needs_key and self.key else ANY_KEY
        if is_hidden and key != ANY_KEY:
            key = f"{key[:9]}…"
        return Endpoint(self.address, key, "demo" if model is None else _id_of(model))

    async def start(self, depth: int | None, mode: Mode) -> bool:
        """Start it; where that can't be, `problem` says why. Returns whether it runs.

        Args:
            depth: of requests that name none.
            mode: of requests that name none.
        """
        from mtplx_tui.server.server import (
            PortTaken,
            Server,
            ServerOptions,
            ServerTrouble,
            kept_key,
        )

        if self._is_busy or self.is_running:
            return self.is_running
        self._is_busy, self.problem = True, ""
        try:
            options = ServerOptions(
                host=self.host, port=self.port, needs_key=self.wants_key, depth=depth, mode=mode
            )
            key = kept_key(self._key_file)
            server = Server(options, self._send, self._engine_view, key)
            server.subscribe(self._changed)
            self._server = server
            await server.start()
        except PortTaken as error:
            self.problem = error.message
            if error.free is not None:
                self.problem += f"; port {error.free} is free and is taken next"
                self.port = error.free
        except ServerTrouble as error:
            self.problem = one_line(error)
        except (OSError, ValueError) as error:
            self.problem = f"the server can't be started: {trouble(error)}"
        finally:
            self._is_busy = False
        self._changed()
        return self.is_running

    async def stop(self) -> None:
        """Stop it; what runs gets its end."""
        if self._server is not None and not self._is_busy:
            self._is_busy = True
            try:
                await self._server.stop()
            finally:
                self._is_busy = False

    def cancel(self, request: str) -> None:
        """End a request, if it runs."""
        if self._server is not None:
            self._server.cancel(request)

    async def prompt(self, request: str) -> PromptShown:
        """Return what the model saw of a request. Raises ValueError where that is not known."""
        if self._server is None:
            raise ValueError("the server was not started yet")
        return await self._server.prompt(request)

    def take(self, events: list[Event]) -> None:
        """Take a batch of events, which the view knows already."""
        if self._server is not None:
            self._server.take(events)

    def engine_died(self, error: ErrorInfo) -> None:
        """Take it that the engine process ended."""
        if self._server is not None:
            self._server.engine_died(error)


def read_address(text: str) -> tuple[str, int]:
    """Return host and port of a text such as 127.0.0.1:8080, [::1]:8080 or 8080.

    Raises:
        ValueError: it is none.
    """
    host, colon, port = text.strip().rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if colon else HOST
    if not (port.isascii() and port.isdecimal() and 0 <= int(port) <= 65535) or not host:
        raise ValueError("give an address and a port from 0 to 65535, as 127.0.0.1:8080")
    return host, int(port)


def _id_of(model: ModelInfo) -> str:
    from mtplx_tui.server.broker import model_id

    return model_id(model)
