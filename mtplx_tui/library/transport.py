"""Ranges of files over HTTP: connections that are kept, redirects, and who gets the token.

Believes no server: an answer that is not the range asked for says so, and no more is read than is
asked for. Retries nothing; whoever asks knows what an answer is worth.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import select
import socket
import ssl
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import cache
from time import time
from typing import Self
from urllib.parse import SplitResult, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

__all__ = ["Answer", "Broken", "Connections", "Endpoint", "Refused", "Span"]

TIMEOUT_S = 15.0
MAX_REDIRECTS = 5
MAX_WAIT_S = 3600.0
READ = 2**20
"""Most bytes of one read."""
_PORTS = {"http": 80, "https": 443}
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A hub and who asks there."""

    url: str
    """Without a slash at the end."""
    authorization: str | None = field(default=None, repr=False)
    """The header's value; goes to this hub only."""


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes from `start` up to `end`, which is past the last."""

    start: int
    end: int


class Broken(Exception):
    """The connection failed, or the answer makes no sense; another try may go well."""


class Refused(Exception):
    """The server answered with an error."""

    def __init__(self, status: int, code: str, retry_after_s: float | None, size: int | None):
        super().__init__(f"the hub answered {status} {code}".rstrip())
        self.status = status
        self.code = code
        """The hub's own name for it, such as GatedRepo; empty where it has none."""
        self.retry_after_s = retry_after_s
        self.size = size
        """The file's size, where a range lay outside."""


class Answer:
    """A file or a range of it, to be read or left. A context manager.

    Attributes:
        url: where it came from at last, behind all redirects.
        is_partial: whether it is the range alone; False where the server sends all of the file.
        start: the place in the file of its first byte.
        total: size of the whole file; None where the server doesn't say.
        etags: what the hub says names the content.
        following: where the next page of a list is; None behind the last.
    """

    def __init__(
        self,
        response: http.client.HTTPResponse,
        connection: http.client.HTTPConnection,
        url: str,
        etags: frozenset[str],
    ) -> None:
        self._response = response
        self._connection = connection
        self.url = url
        self.etags = etags
        self.is_partial = response.status == 206
        length = response.getheader("Content-Length", "")
        self._length = int(length) if length.isdecimal() and len(length) < 19 else None
        self.following = _next_page(url, response.getheader("Link", ""))
        self.start = 0
        self.total = self._length
        if self.is_partial:
            match = _CONTENT_RANGE.fullmatch(response.getheader("Content-Range", "").strip())
            if match is None:
                raise Broken("it sent a range without saying which")
            self.start, last, self.total = (int(number) for number in match.groups())
            if self._length not in (None, last - self.start + 1):
                raise Broken("it sent a range of another length than it says")
        if response.getheader("Content-Encoding", "identity").lower() != "identity":
            raise Broken("it sent the file compressed, which was not asked for")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the rest unread."""
        if not self._response.isclosed():
            self._response.close()
            self._connection.close()  # else the rest of the body would come before the next answer

    def read(self, limit: int) -> bytes:
        """Return what has come, at most so many bytes; empty at the end.

        Waits for the first byte only: on a slow line what is here is seen at once, on a fast
        one, where TLS hands over 16 kB at a time, a large piece costs less than many small ones.

        Raises:
            Broken: the connection failed.
        """
        limit = min(limit, READ)
        pieces = [self._read_some(limit)]
        count = len(pieces[0])
        while pieces[-1] and count < limit and self._has_more():
            pieces.append(self._read_some(limit - count))
            count += len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _has_more(self) -> bool:
        """Whether another read would not wait."""
        sock = self._connection.sock
        if sock is None or self._response.isclosed():
            return False
        if isinstance(sock, ssl.SSLSocket) and sock.pending():
            return True
        poll = select.poll()
        try:
            poll.register(sock, select.POLLIN)
        except (OSError, ValueError):  # another thread closed it
            return False
        return bool(poll.poll(0))

    def _read_some(self, limit: int) -> bytes:
        try:
            return self._response.read1(limit)
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            # The last two come where another thread closed the connection.
            raise Broken(_why(error)) from error

    def read_all(self, limit: int) -> bytes:
        """Return the whole body.

        Raises:
            Broken: the connection failed, or it is longer than the limit.
        """
        pieces: list[bytes] = []
        left = limit + 1
        while piece := self.read(left) if left else b"":
            pieces.append(piece)
            left -= len(piece)
        body = b"".join(pieces)
        if left == 0 or self._length not in (None, len(body)):
            raise Broken("the answer is too long, or ended early")
        return body

    def read_exactly(self, count: int) -> bytes:
        """Return so many bytes.

        Raises:
            Broken: the connection failed, or there were not so many.
        """
        pieces = []
        while count:
            piece = self.read(count)
            if not piece:
                raise Broken("the answer ended early")
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)


class Connections:
    """Connections of one thread, kept from one request to the next; another thread may cut them."""

    def __init__(self, endpoint: Endpoint, timeout_s: float = TIMEOUT_S) -> None:
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._open: dict[tuple[str, str], http.client.HTTPConnection] = {}
        self._is_cut = False

    def get(self, url: str, span: Span | None = None) -> Answer:
        """Ask for a file or a range of it.

        Args:
            url: absolute.
            span: of the file; None for all of it. The server may send all of it all the same.

        Raises:
            Broken: no connection, or an answer that makes no sense.
            Refused: the server answered with an error.
        """
        etags: set[str] = set()
        for _ in range(MAX_REDIRECTS + 1):
            connection, response = self._send(url, span)
            etags |= _etags(response)
            if response.status in (200, 206):
                return Answer(response, connection, url, frozenset(etags))
            location = response.getheader("Location")
            if response.status not in (301, 302, 303, 307, 308) or location is None:
                self._drop(url)
                raise _refusal(response)
            self._finish(url, response)
            url = _redirected(url, location)
        raise Broken("it redirects again and again")

    def cut(self) -> None:
        """End what is being read, from another thread; nothing works here afterwards."""
        self._is_cut = True
        for connection in tuple(self._open.values()):
            sock = connection.sock
            if sock is not None:
                with contextlib.suppress(OSError):  # it may be closed already
                    sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close all connections."""
        for connection in self._open.values():
            connection.close()
        self._open.clear()

    def _send(
        self, url: str, span: Span | None
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        parts = urlsplit(url)
        headers = {"User-Agent": "mtplx-tui", "Accept-Encoding": "identity"}
        if span is not None:
            headers["Range"] = f"bytes={span.start}-{span.end - 1}"
        if self._endpoint.authorization is not None and _is_same_host(url, self._endpoint.url):
            headers["Authorization"] = self._endpoint.authorization
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        is_kept = (parts.scheme, parts.netloc) in self._open
        try:
            return self._request(parts, target or "/", headers)
        except Broken:
            if not is_kept or self._is_cut:
                raise
        return self._request(parts, target or "/", headers)  # a kept connection had gone stale

    def _request(
        self, parts: SplitResult, target: str, headers: dict[str, str]
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        key = (parts.scheme, parts.netloc)
        try:
            connection = self._open.get(key)
            if connection is None:
                connection = self._open[key] = _connect(parts, self._timeout_s)
            if connection.sock is None:
                connection.connect()
            if self._is_cut:
                raise Broken("it was stopped")
            connection.request("GET", target, headers=headers)
            return connection, connection.getresponse()
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            stale = self._open.pop(key, None)
            if stale is not None:
                stale.close()
            raise Broken(_why(error)) from error

    def _finish(self, url: str, response: http.client.HTTPResponse) -> None:
        """Make a connection ready for its next request where that costs little."""
        length = response.getheader("Content-Length", "")
        if length.isdecimal() and int(length) <= READ:
            with contextlib.suppress(OSError, http.client.HTTPException):
                response.read()
        if not response.isclosed():
            self._drop(url)

    def _drop(self, url: str) -> None:
        parts = urlsplit(url)
        connection = self._open.pop((parts.scheme, parts.netloc), None)
        if connection is not None:
            connection.close()


def _next_page(url: str, link: str) -> str | None:
    match = re.search(r'<([^<>"]{1,4000})>\s*;\s*rel="?next"?', link)
    target = "" if match is None else urljoin(url, match[1])
    return target if _is_same_host(target, url) else None


def _etags(response: http.client.HTTPResponse) -> set[str]:
    value = response.getheader("X-Linked-Etag", "")
    return {value.removeprefix("W/").strip('"')} if value else set()


def _is_same_host(url: str, other: str) -> bool:
    mine, theirs = urlsplit(url), urlsplit(other)
    return (mine.scheme, mine.netloc) == (theirs.scheme, theirs.netloc)


def _redirected(url: str, location: str) -> str:
    try:
        target = urljoin(url, location)
        parts = urlsplit(target)
    except ValueError as error:
        raise Broken("it redirects to no address") from error
    is_downgrade = urlsplit(url).scheme == "https" and parts.scheme != "https"
    if parts.scheme not in _PORTS or parts.hostname is None or is_downgrade:
        raise Broken(f"it redirects to {ascii(target)[:80]}, which is not followed")
    return target


def _refusal(response: http.client.HTTPResponse) -> Refused:
    code = response.getheader("X-Error-Code", "")
    total = response.getheader("Content-Range", "").rpartition("*/")[2]
    return Refused(
        response.status,
        code if re.fullmatch(r"\w{1,40}", code) else "",
        _retry_after(response.getheader("Retry-After", "")),
        int(total) if total.isdecimal() and len(total) < 19 else None,
    )


def _retry_after(text: str) -> float | None:
    """Return how long to wait, from seconds or a date; None where neither stands there."""
    text = text.strip()
    if text.isdecimal() and len(text) < 10:
        return min(float(text), MAX_WAIT_S)
    try:
        return min(max(0.0, parsedate_to_datetime(text).timestamp() - time()), MAX_WAIT_S)
    except (ValueError, OverflowError):
        return None


def _connect(parts: SplitResult, timeout_s: float) -> http.client.HTTPConnection:
    host = parts.hostname or ""
    port = parts.port or _PORTS[parts.scheme]
    if parts.scheme == "http":  # a mirror nearby; the hub itself speaks https
        return _plain(parts.scheme, host, port, timeout_s)
    proxy = "" if proxy_bypass(host) else getproxies().get("https", "")
    if not proxy:
        return _plain(parts.scheme, host, port, timeout_s)
    through = urlsplit(proxy if "//" in proxy else f"//{proxy}", scheme="http")
    if through.scheme != "http" or through.hostname is None:
        raise Broken(f"a proxy of the kind {through.scheme} can't be used")
    connection = http.client.HTTPSConnection(
        through.hostname, through.port or 80, timeout=timeout_s, context=_tls()
    )
    connection.set_tunnel(host, port)
    return connection


def _plain(scheme: str, host: str, port: int, timeout_s: float) -> http.client.HTTPConnection:
    if scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=_tls())
    return http.client.HTTPConnection(host, port, timeout=timeout_s)


@cache
def _tls() -> ssl.SSLContext:
    """Return the system's own trust, which is what the hub's client uses."""
    import truststore

    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _why(error: Exception) -> str:
    """Return the reason as the end of a sentence."""
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "nobody answers there"
    if isinstance(error, socket.gaierror):
        return "its name can't be resolved"
    if isinstance(error, ssl.SSLError):
        return f"its certificate is not trusted ({error.reason})"
    return "the connection broke"
