"""A hub on this machine: the endpoints that clients of the Hugging Face hub use, and their faults.

Speaks HTTP/1.1 over loopback sockets, from threads. Faults are planned for the path of a
request and used up one a request. What was asked and what was sent is kept for the test.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import cast
from urllib.parse import parse_qs, quote, unquote, urlsplit

__all__ = ["Asked", "FakeHub", "Fault", "Sent", "safetensors_bytes"]

LARGE = 10_000
"""Files from this size on, and all weights, are kept as large files with a sha256."""
SEND = 2**18


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one request. Several may go wrong at once."""

    status: int | None = None
    code: str = ""
    """X-Error-Code, where the status is an error."""
    retry_after: str | None = None
    drop_after: int | None = None
    """Cut the connection after so many bytes of the body."""
    flip_at: int | None = None
    """Send the byte at this place of the file changed."""
    size: int | None = None
    """Claim this size of the file."""
    ignores_range: bool = False
    shifts_range: int = 0
    """Answer a range that begins so much later."""
    location: str | None = None
    """Redirect there."""
    etag: str | None = None
    first: Callable[[], object] | None = None
    """Called before the answer is made: a stall, or a change of the hub."""
    between: Callable[[], object] | None = None
    """Called between two pieces of the body: a slow line."""
    is_endless: bool = False
    """The body goes on until the client hangs up, without a length."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    method: str
    path: str
    query: str
    range: str | None
    has_token: bool
    is_cdn: bool


@dataclass(slots=True)
class Sent:
    """A span of a file that was handed to the network."""

    path: str
    start: int
    end: int
    data_start: int
    """Where the weights of a safetensors file begin; its size for any other file."""

    @property
    def weight_bytes(self) -> int:
        """Bytes of tensors in it."""
        return max(0, self.end - max(self.start, self.data_start))


@dataclass(frozen=True, slots=True)
class _File:
    data: bytes
    is_large: bool
    data_start: int

    git_sha: str
    sha256: str

    @property
    def etag(self) -> str:
        return self.sha256 if self.is_large else self.git_sha


@dataclass(slots=True)
class _Repository:
    commits: dict[str, dict[str, _File]] = field(default_factory=dict)
    head: str = ""
    facts: dict[str, object] = field(default_factory=dict)
    is_gated: bool = False
    is_private: bool = False


class _Hang(Exception):
    """The connection is to be cut."""


class FakeHub:
    """See the module. A context manager; the servers run inside.

    Args:
        has_cdn: files are sent by a second server, on another host name.
        page: models on one page of a search, at most.
        between: called between two pieces of every file's body.
    """

    def __init__(
        self,
        *,
        has_cdn: bool = False,
        page: int = 100,
        between: Callable[[], object] | None = None,
    ) -> None:
        self.page = page
        self.between = between
        self.asked: list[Asked] = []
        self.sent: list[Sent] = []
        self.token = "hf_secret"
        self._repositories: dict[str, _Repository] = {}
        self._renamed: dict[str, str] = {}
        self._plan: list[tuple[str, str, Fault]] = []
        self._lock = threading.Lock()
        self._hub = _Server(self, is_cdn=False)
        self._cdn = _Server(self, is_cdn=True) if has_cdn else None

    def __enter__(self) -> FakeHub:
        for server in self._servers():
            server.begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for server in self._servers():
            server.end()

    def _servers(self) -> Iterable[_Server]:
        return (self._hub,) if self._cdn is None else (self._hub, self._cdn)

    @property
    def url(self) -> str:
        """The endpoint."""
        return f"http://127.0.0.1:{self._hub.server_port}"

    @property
    def cdn_url(self) -> str | None:
        """Where files are sent from, if elsewhere."""
        return None if self._cdn is None else f"http://localhost:{self._cdn.server_port}"

    # What it holds

    def add(
        self,
        name: str,
        files: Mapping[str, bytes],
        *,
        is_gated: bool = False,
        is_private: bool = False,
        **facts: object,
    ) -> str:
        """Add a repository, or one more commit to it; return the commit."""
        repository = self._repositories.setdefault(name, _Repository())
        made = {path: _made(path, data) for path, data in files.items()}
        listing = "\n".join(f"{path} {file.git_sha}" for path, file in sorted(made.items()))
        commit = hashlib.sha1(f"{name} {listing}".encode("utf-8", "surrogatepass")).hexdigest()
        repository.commits[commit] = made
        repository.head = commit
        repository.facts |= facts
        repository.is_gated, repository.is_private = is_gated, is_private
        return commit

    def delete(self, name: str) -> None:
        """Take a repository out."""
        del self._repositories[name]

    def rename(self, old: str, new: str) -> None:
        """Give a repository another name; the old one redirects."""
        self._repositories[new] = self._repositories.pop(old)
        self._renamed[old] = new

    # What goes wrong, and what went on

    def plan(self, pattern: str, *faults: Fault, method: str = "GET") -> None:
        """Have the next requests for a path, a pattern with `*`, go wrong, in this order."""
        with self._lock:
            self._plan += [(method, pattern, fault) for fault in faults]

    def forget(self) -> None:
        """Start counting anew; what is still sent over a connection of before is not counted.

        A client that hung up may have left a connection that a slow thread here accepts, or a
        request that it reads, only then.
        """
        for server in self._servers():
            server.catch_up()
        with self._lock:
            self.asked, self.sent = [], []

    @property
    def weight_bytes(self) -> int:
        """Bytes of tensors sent so far."""
        return sum(span.weight_bytes for span in tuple(self.sent))

    @property
    def bytes_sent(self) -> int:
        """Bytes of files sent so far."""
        return sum(span.end - span.start for span in tuple(self.sent))

    def paths(self, method: str = "GET") -> list[str]:
        """Return the paths asked for so far."""
        return [asked.path for asked in tuple(self.asked) if asked.method == method]

    # For the handler

    def note(self, asked: Asked) -> Fault:
        """Keep a request; return what is to go wrong with it."""
        with self._lock:
            self.asked.append(asked)
            for index, (method, pattern, fault) in enumerate(self._plan):
                if method == asked.method and fnmatch.fnmatchcase(asked.path, pattern):
                    del self._plan[index]
                    return fault
        return Fault()

    def renamed(self, name: str) -> str | None:
        """Return what a repository is called now, if it was renamed."""
        return self._renamed.get(name)

    def repository(self, name: str) -> _Repository | None:
        """Return a repository."""
        return self._repositories.get(name)

    def found(self, query: Mapping[str, list[str]]) -> list[dict[str, object]]:
        """Return what a search finds, without pages."""
        words = query.get("search", [""])[0].lower().split()
        author = query.get("author", [""])[0]
        wanted = {tag for text in query.get("filter", []) for tag in text.split(",")}
        models = []
        for name, repository in self._repositories.items():
            tags = cast("list[str]", repository.facts.get("tags", []))
            has_words = all(word in name.lower() for word in words)
            fits = has_words and wanted <= set(tags)
            if fits and not repository.is_private and name.startswith(f"{author}/" * bool(author)):
                models.append(_card(name, repository))
        key = {"lastModified": "lastModified", "likes": "likes"}.get(
            query.get("sort", ["downloads"])[0], "downloads"
        )
        return sorted(models, key=lambda model: str(model[key]).zfill(12), reverse=True)


def _made(path: str, data: bytes) -> _File:
    start = len(data)
    if path.endswith(".safetensors") and len(data) >= 8:
        start = min(len(data), 8 + struct.unpack("<Q", data[:8])[0])
    is_large = path.endswith(".safetensors") or len(data) >= LARGE
    git_sha = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    return _File(data, is_large, start, git_sha, hashlib.sha256(data).hexdigest())


def _card(name: str, repository: _Repository) -> dict[str, object]:
    return {
        "_id": hashlib.md5(name.encode()).hexdigest()[:24],
        "id": name,
        "modelId": name,
        "sha": repository.head,
        "private": repository.is_private,
        "gated": "manual" if repository.is_gated else False,
        "tags": [],
        "downloads": 0,
        "likes": 0,
        "lastModified": "2026-11-01T10:00:00.000Z",
        "createdAt": "2026-10-01T10:00:00.000Z",
        "usedStorage": sum(len(f.data) for f in repository.commits[repository.head].values()),
        **repository.facts,
    }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, hub: FakeHub, *, is_cdn: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub
        self.is_cdn = is_cdn
        self._open: dict[socket.socket, list[Sent]] = {}
        """Connections, each with where it is noted what is sent over it."""
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()
        for connection in tuple(self._open):
            _cut(connection)

    def catch_up(self) -> None:
        """Wait until all connections made so far are accepted, as they are one after another."""
        with socket.create_connection(("127.0.0.1", self.server_port), timeout=60) as last:
            last.shutdown(socket.SHUT_WR)
            last.recv(1)  # its end, once it is accepted and found without a request

    def get_request(self) -> tuple[socket.socket, object]:
        """Accept a connection, and settle to which count it belongs."""
        connection, address = super().get_request()
        self._open[connection] = self.hub.sent
        return connection, address

    @contextmanager
    def following(self, connection: socket.socket) -> Generator[list[Sent]]:
        """Know a connection until it is served; gives where to note what is sent over it."""
        try:
            yield self._open[connection]
        finally:
            del self._open[connection]

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are part of the game."""


def _cut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the client was first


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    @property
    def _own(self) -> _Server:
        return cast("_Server", self.server)

    def handle(self) -> None:
        with self._own.following(self.connection) as self._sent:
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        asked = Asked(
            self.command,
            path,
            parts.query,
            self.headers.get("Range"),
            "Authorization" in self.headers,
            self._own.is_cdn,
        )
        fault = self._own.hub.note(asked)
        try:
            if fault.first is not None:
                fault.first()
            self._answer(path, parts.query, fault)
        except _Hang:
            self.close_connection = True
            _cut(self.connection)

    def _answer(self, path: str, query: str, fault: Fault) -> None:
        if fault.status is not None:
            self._refuse(fault.status, fault.code, fault.retry_after)
        elif fault.location is not None:
            self._empty(307, {"Location": fault.location})
        elif path == "/api/models":
            self._search(query)
        elif path == "/api/whoami-v2":
            self._whoami()
        elif path.startswith("/api/models/"):
            self._about(path.removeprefix("/api/models/"), query)
        elif "/resolve/" in path:
            self._resolve(path, fault)
        else:
            self._refuse(404, "RepoNotFound")

    # The API

    def _whoami(self) -> None:
        if self.headers.get("Authorization") == f"Bearer {self._own.hub.token}":
            self._json({"type": "user", "name": "someone"})
        else:
            self._refuse(401, "")

    def _search(self, query: str) -> None:
        asked = parse_qs(query)
        hub = self._own.hub
        found = hub.found(asked)
        start = int(asked.get("cursor", ["0"])[0])
        end = start + min(int(asked.get("limit", ["1000"])[0]), hub.page)
        headers = {}
        if end < len(found):
            others = "&".join(
                f"{key}={quote(v)}" for key in asked for v in asked[key] if key != "cursor"
            )
            headers["Link"] = f'<{hub.url}/api/models?{others}&cursor={end}>; rel="next"'
        self._json(found[start:end], headers)

    def _about(self, rest: str, query: str) -> None:
        owner, name, *more = rest.split("/")
        full = f"{owner}/{name}"
        moved = self._own.hub.renamed(full)
        if moved is not None:
            path = "/".join(["/api/models", moved, *more])
            self._empty(307, {"Location": f"{path}?{query}" if query else path})
            return
        repository = self._readable(full, is_content=False)
        if repository is None:
            return
        if more[:1] == ["auth-check"]:
            self._json({})
            return
        commit = self._commit(repository, more[1] if len(more) > 1 else "main")
        if commit is None:
            return
        if more[:1] == ["tree"]:
            self._json([_entry(p, f) for p, f in repository.commits[commit].items()])
            return
        siblings = [
            _sibling(path, file, has_blobs="blobs" in query)
            for path, file in repository.commits[commit].items()
        ]
        self._json({**_card(full, repository), "sha": commit, "siblings": siblings})

    def _readable(self, name: str, *, is_content: bool) -> _Repository | None:
        """Return a repository that this client may see; else refuse."""
        hub = self._own.hub
        repository = hub.repository(name)
        has_token = self.headers.get("Authorization") == f"Bearer {hub.token}"
        if repository is None or (repository.is_private and not has_token):
            self._refuse(404 if has_token else 401, "RepoNotFound")
            return None
        if repository.is_gated and is_content and not has_token:
            self._refuse(401, "GatedRepo")
            return None
        return repository

    def _commit(self, repository: _Repository, revision: str) -> str | None:
        commit = repository.head if revision == "main" else revision
        if commit not in repository.commits:
            self._refuse(404, "RevisionNotFound")
            return None
        return commit

    # Files

    def _resolve(self, path: str, fault: Fault) -> None:
        name, _, rest = path[1:].partition("/resolve/")
        revision, _, file_path = rest.partition("/")
        moved = self._own.hub.renamed(name)
        if moved is not None:
            self._empty(307, {"Location": quote(f"/{moved}/resolve/{rest}")})
            return
        if self._own.is_cdn:
            repository = self._own.hub.repository(name)
        else:
            repository = self._readable(name, is_content=True)
        commit = None if repository is None else self._commit(repository, revision)
        if repository is None or commit is None:
            return
        file = repository.commits[commit].get(file_path)
        if file is None:
            self._refuse(404, "EntryNotFound", commit=commit)
            return
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes", "ETag": f'"{file.etag}"'}
        if file.is_large:
            headers["X-Linked-Etag"] = f'"{file.etag}"'
            headers["X-Linked-Size"] = str(fault.size or len(file.data))
        if fault.etag is not None:
            headers["ETag"] = headers["X-Linked-Etag"] = f'"{fault.etag}"'
        cdn = self._own.hub.cdn_url
        if file.is_large and cdn is not None and not self._own.is_cdn:
            self._empty(302, {**headers, "Location": cdn + quote(path)})
            return
        self._send(file_path, file, headers, fault)

    def _send(self, path: str, file: _File, headers: dict[str, str], fault: Fault) -> None:
        total = len(file.data) if fault.size is None else fault.size
        span = None if fault.ignores_range else self._range(total)
        if span is not None and span[0] >= span[1]:
            self._empty(416, {"Content-Range": f"bytes */{total}"})
            return
        start, end = span or (0, total)
        if span is not None:
            start += fault.shifts_range
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{total}"
        if fault.is_endless:
            headers["Connection"] = "close"
        else:
            headers["Content-Length"] = str(end - start)
        self._head(200 if span is None else 206, headers)
        if self.command == "GET":
            self._body(path, file, start, end, fault)

    def _range(self, total: int) -> tuple[int, int] | None:
        asked = self.headers.get("Range", "")
        if not asked.startswith("bytes="):
            return None
        first, _, last = asked.removeprefix("bytes=").partition("-")
        return int(first), min(total, int(last) + 1 if last else total)

    def _body(self, path: str, file: _File, start: int, end: int, fault: Fault) -> None:
        data = file.data
        if fault.flip_at is not None:
            data = bytearray(data)
            data[fault.flip_at] ^= 1
        stop = end if fault.drop_after is None else min(end, start + fault.drop_after)
        at = start
        sent = Sent(path, start, start, file.data_start)
        self._sent.append(sent)
        try:
            while at < stop:
                piece = memoryview(data)[at : min(stop, at + SEND)]
                if not piece:
                    break
                at += len(piece)
                sent.end = at  # before the client can know of it
                self.wfile.write(piece)
                between = fault.between or self._own.hub.between
                if between is not None:
                    between()
            while fault.is_endless:
                self.wfile.write(b"\0" * SEND)
        except OSError as error:
            raise _Hang from error
        if at < end or fault.drop_after is not None:
            raise _Hang

    # Answers

    def _json(self, content: object, headers: Mapping[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self._head(
            200,
            {
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
                **(headers or {}),
            },
        )
        if self.command == "GET":
            self.wfile.write(body)

    def _refuse(
        self, status: int, code: str, retry_after: str | None = None, commit: str = ""
    ) -> None:
        body = json.dumps({"error": code or str(status)}).encode()
        headers = {"Content-Length": str(len(body)), "X-Error-Code": code, "X-Error-Message": code}
        if retry_after is not None:
            headers["Retry-After"] = retry_after
        if commit:
            headers["X-Repo-Commit"] = commit
        self._head(status, headers)
        if self.command == "GET":
            self.wfile.write(body)

    def _empty(self, status: int, headers: Mapping[str, str]) -> None:
        self._head(status, {**headers, "Content-Length": "0"})

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        self.end_headers()


def _sibling(path: str, file: _File, *, has_blobs: bool) -> dict[str, object]:
    if not has_blobs:
        return {"rfilename": path}
    entry: dict[str, object] = {"rfilename": path, "size": len(file.data), "blobId": file.git_sha}
    if file.is_large:
        entry["lfs"] = {"sha256": file.sha256, "size": len(file.data), "pointerSize": 134}
    return entry


def _entry(path: str, file: _File) -> dict[str, object]:
    entry: dict[str, object] = {
        "type": "file",
        "oid": file.git_sha,
        "size": len(file.data),
        "path": path,
    }
    if file.is_large:
        entry["lfs"] = {"oid": file.sha256, "size": len(file.data), "pointerSize": 134}
    return entry


_WIDTHS = {"BF16": 2, "F16": 2, "F32": 4, "U32": 4, "U8": 1}


def safetensors_bytes(
    tensors: Mapping[str, tuple[str, tuple[int, ...]]],
    *,
    metadata: Mapping[str, str] | None = None,
    seed: int = 0,
) -> bytes:
    """Return a safetensors file whose tensors hold noise.

    Args:
        tensors: dtype and shape by name.
        metadata: texts for `__metadata__`.
        seed: of the noise.
    """
    header: dict[str, object] = {} if metadata is None else {"__metadata__": dict(metadata)}
    at = 0
    for name, (dtype, shape) in tensors.items():
        size = _WIDTHS[dtype]
        for dim in shape:
            size *= dim
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + noise(at, seed)


def noise(size: int, seed: int = 0) -> bytes:
    """Return bytes that look random and are the same each time."""
    return hashlib.shake_128(b"%d" % seed).digest(size)
