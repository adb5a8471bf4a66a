"""Sockets and uvicorn: a port that is taken is told with the next free one; slow headers are cut."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Generator

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from mtplx_tui.files import reason
from mtplx_tui.remedies import NeedsRemedy

__all__ = ["Listener", "PortTaken", "ServerTrouble", "listen"]

HEADER_S = 10.0
"""How long a client may take over the head of a request."""
CONNECTIONS = 256
GRACE_S = 3.0
"""How long answers that run may take to end when the server stops."""
_TRIES = 100


class ServerTrouble(NeedsRemedy):
    """The server can't start; message and remedy are one line each."""


class PortTaken(ServerTrouble):
    """Someone listens at the port already.

    Args:
        port: that was wanted.
        free: the next one that nobody listens at; None where none was found.
    """

    def __init__(self, port: int, free: int | None) -> None:
        remedy = "take another port" if free is None else f"port {free} is free"
        super().__init__(f"port {port} is in use", remedy)
        self.port = port
        self.free = free


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Raises PortTaken, or ServerTrouble."""
    try:
        return _bound(host, port)
    except (OSError, ValueError, OverflowError) as error:  # a name that no resolver takes; no port
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise PortTaken(port, _next_free(host, port)) from error
        remedy = "give an address of this machine and a port it may use"
        raise ServerTrouble(
            f"{host}:{port} can't be listened at: {reason(error)}", remedy
        ) from error


def _bound(host: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(128)
        made.settimeout(0)
    except OSError:
        made.close()
        raise
    return made


def _next_free(host: str, port: int) -> int | None:
    for candidate in range(port + 1, min(port + 1 + _TRIES, 65536)):
        with contextlib.suppress(OSError):
            _bound(host, candidate).close()
            return candidate
    return None


class _PatientProtocol(H11Protocol):
    """HTTP whose clients may not take forever over the head of a request."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.abort()
            return
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if is_answering:
            self._head_came()
        elif self._deadline is None:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._deadline = self.loop.call_later(HEADER_S, self.transport.abort)

    def _head_came(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class _Quiet(uvicorn.Server):
    """Uvicorn that leaves signals to whoever runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class Listener:
    """An application that is served on the running loop until it is closed.

    Args:
        app: what answers.
        listening: a socket, taken over.
    """

    def __init__(self, app: ASGIApp, listening: socket.socket) -> None:
        self._socket = listening
        config = uvicorn.Config(
            app,
            http=_PatientProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            log_level="error",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=int(GRACE_S),
        )
        self._server = _Quiet(config)
        self._serving = asyncio.get_running_loop().create_task(
            self._server.serve(sockets=[listening])
        )

    async def close(self) -> None:
        """End it: what runs may come to its end for a moment."""
        self._server.should_exit = True
        await self._serving
        self._socket.close()
