"""The files a verdict is made from: of a folder here, or of a repository by range requests.

What a verdict asks of a hub is bounded: so many requests, so many bytes, no weights. A server that
ignores ranges is read no further than what was asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from engine.errors import ModelFileError
from engine.verdict.headers import (
    SafetensorsHeader,
    check_safetensors,
    check_safetensors_bytes,
    safetensors_header_bytes,
)
from mtplx_tui.library.hub import Hub, HubError, Listing, refusal
from mtplx_tui.library.hub_cache import is_wanted
from mtplx_tui.library.transport import Broken, Connections, Refused, Span

__all__ = ["FolderSource", "HubSource", "Source"]

MAX_REQUESTS = 11
"""Of one verdict, after the one that lists the files."""
MAX_HEADER_BYTES = 2_000_000 - 2**18
"""Of all headers of one verdict; what is left is for config and index of an ordinary model."""
MAX_SKIPPED = 64 * 2**20
"""Bytes read for nothing where a server ignores ranges, at most."""
MUCH = 2**20
"""Bytes after which a broken connection counts as the first."""
TRIES = 3
MAX_WAIT_S = 10.0


class Source(Protocol):
    """Where a model's files are read from."""

    name: str
    """For messages."""
    files: Mapping[str, int]
    """Sizes by path, of the files that count."""

    def read(self, path: str, limit: int) -> bytes:
        """Return a small file.

        Raises:
            ModelFileError: larger than the limit, or unreadable.
            HubError: the hub doesn't give it.
        """

    def header(self, path: str) -> SafetensorsHeader | None:
        """Return a file's header; None where that would cost too much.

        Raises:
            ModelFileError: it is malformed.
            HubError: the hub doesn't give it.
        """


class FolderSource:
    """A folder on this machine, `check_folder` being content with it."""

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self._folder = folder
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        self.files: Mapping[str, int] = {
            name: path.stat().st_size
            for path in paths
            if is_wanted(name := path.relative_to(folder).as_posix())
        }

    def read(self, path: str, limit: int) -> bytes:
        """See Source."""
        try:
            with (self._folder / path).open("rb") as file:
                raw = file.read(limit + 1)
        except OSError as error:
            raise ModelFileError(
                f"{self._folder / path} can't be read: {error.strerror}"
            ) from error
        if len(raw) > limit:
            raise ModelFileError(f"{path} of {self.name} is larger than {limit} bytes")
        return raw

    def header(self, path: str) -> SafetensorsHeader | None:
        """See Source."""
        return check_safetensors(self._folder / path)


class HubSource:
    """A repository on a hub, at the commit of a listing. A context manager."""

    def __init__(
        self, hub: Hub, listing: Listing, wait: Callable[[float], None] = time.sleep
    ) -> None:
        self.name = listing.name
        self.files: Mapping[str, int] = {
            file.path: file.size for file in listing.files if is_wanted(file.path)
        }
        self._listing = listing
        self._hub = hub
        self._wait = wait
        self._connections = Connections(hub.endpoint)
        self._requests = 0
        self._header_bytes = 0

    def __enter__(self) -> HubSource:
        return self

    def __exit__(self, *_: object) -> None:
        self._connections.close()

    def read(self, path: str, limit: int) -> bytes:
        """See Source."""
        size = self.files[path]
        if size > limit:
            raise ModelFileError(f"{path} of {self.name} is larger than {limit} bytes")
        return self._range(path, 0, size)

    def header(self, path: str) -> SafetensorsHeader | None:
        """See Source."""
        if self._requests + 2 > MAX_REQUESTS:
            return None
        size = self.files[path]
        first = self._range(path, 0, min(8, size))
        length = safetensors_header_bytes(first, size, f"{path} of {self.name}")
        self._header_bytes += length
        if self._header_bytes > MAX_HEADER_BYTES:
            return None
        raw = first + self._range(path, 8, length)
        return check_safetensors_bytes(raw, size, f"{path} of {self.name}")

    def pieces(self, path: str, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes of a file from `start` up to `end`, as they come.

        A connection that breaks is taken up where it broke.

        Raises:
            HubError: the hub doesn't give them.
        """
        tried = 0
        while start < end:
            before = start
            try:
                for piece in self._ask(path, start, end):
                    start += len(piece)
                    yield piece
            except Refused as error:
                wait_s = 2.0**tried if error.retry_after_s is None else error.retry_after_s
                is_passing = error.status in (429, 500, 502, 503, 504) and wait_s <= MAX_WAIT_S
                if not is_passing or tried == TRIES - 1:
                    page = self._hub.page_url(self.name)
                    raise refusal(error, self.name, page) from error
                self._wait(wait_s)
            except Broken as error:
                if tried == TRIES - 1:
                    raise HubError(
                        f"{path} of {self.name} can't be read: {error}", "try again"
                    ) from error
            tried = 0 if start - before >= MUCH else tried + 1

    def _range(self, path: str, start: int, end: int) -> bytes:
        return b"".join(self.pieces(path, start, end))

    def _ask(self, path: str, start: int, end: int) -> Iterator[bytes]:
        self._requests += 1
        url = self._hub.file_url(self.name, self._listing.commit, path)
        with self._connections.get(url, Span(start, end)) as answer:
            if answer.total not in (None, self.files[path]):
                raise HubError(f"{path} of {self.name} changed while it was read", "look again")
            if answer.is_partial and answer.start != start:
                raise Broken("it sent another range than was asked for")
            if not answer.is_partial and start > MAX_SKIPPED:
                raise HubError(
                    f"the hub sends {path} of {self.name} as a whole only",
                    "pull the repository, then try again",
                )
            if not answer.is_partial:
                answer.read_exactly(start)
            while start < end:
                piece = answer.read(end - start)
                if not piece:
                    raise Broken("the answer ended early")
                start += len(piece)
                yield piece
