"""One file on its way: its lock, its parts, the requests for them, and its running hash.

Knows nothing of threads but that `take`, `give_back`, `hash_next` and `open` are called under the
download's lock or by one thread alone, and a part belongs to whoever took it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from enum import Enum, auto

from mtplx_tui.library.hub_cache import BlobLock, RepoFile, RepoFolder
from mtplx_tui.library.parts import Part, PartFile, counted_bytes
from mtplx_tui.library.transport import Answer, Broken, Connections, Refused, Span

__all__ = ["Damaged", "FileFetch", "FileState"]

_HASH_STEP = 4 * 2**20
_MOVED = (401, 403, 404, 410)
"""What a signed address answers once it is too old."""

Pass = Callable[[int], bool]
"""Told how many bytes came; waits where that is too fast; False to stop."""


class Damaged(Exception):
    """What arrived is not what the hub promised."""


class FileState(Enum):
    """Where a file stands."""

    WAITING = auto()
    """Another download has it."""
    OPEN = auto()
    DONE = auto()


class FileFetch:
    """See the module.

    Args:
        folder: where it goes.
        file: what it is.
        url: where it comes from.
        part_bytes: bytes of a part.
    """

    def __init__(self, folder: RepoFolder, file: RepoFile, url: str, part_bytes: int) -> None:
        self.file = file
        self.state = FileState.WAITING
        self._folder = folder
        self._url = url
        self._direct = url
        """Behind the redirects, where the last answer came from."""
        self._part_bytes = part_bytes
        self._sends_all = False
        self._taken: set[int] = set()
        self._lock: BlobLock | None = None
        self._parts: PartFile | None = None
        self._hashed = 0
        self._hash = _new_hash(file)
        self._damaged = 0

    @property
    def done(self) -> int:
        """Bytes that are here, also those another process fetches."""
        match self.state:
            case FileState.DONE:
                return self.file.size
            case FileState.WAITING:
                count = counted_bytes(self._folder.journal(self.file.etag))
                return min(count, self.file.size)
            case FileState.OPEN:
                return self._open_parts.done

    @property
    def is_fetched(self) -> bool:
        """Whether every byte is here."""
        if self.state is FileState.OPEN:
            return all(part.is_whole for part in self._open_parts.parts)
        return self.state is FileState.DONE

    @property
    def _open_parts(self) -> PartFile:
        if self._parts is None:
            raise RuntimeError("the file is not open")
        return self._parts

    def open(self) -> bool:
        """Take the file's lock and go on where it stopped; False while another has it.

        Raises:
            OSError: the disk won't.
            CacheRefused: the hub's name for it is none.
        """
        if self._folder.has(self.file):
            self.state = FileState.DONE
            return True
        lock = self._folder.lock(self.file.etag)
        if lock is None:
            return False
        try:
            if self._folder.has(self.file):  # whoever had the lock is through
                self.state = FileState.DONE
                self._folder.journal(self.file.etag).unlink(missing_ok=True)
                lock.release()
                return True
            etag = self.file.etag
            self._parts = PartFile(
                self._folder.partial(etag),
                self._folder.journal(etag),
                self.file.size,
                self._part_bytes,
            )
        except BaseException:
            lock.release()
            raise
        self._lock = lock
        self.state = FileState.OPEN
        return True

    def close(self) -> None:
        """Let the file go as it is; how far its parts have come can be asked for all the same."""
        if self._lock is not None:
            self._open_parts.close()
            self._lock.release()
            self._lock = None

    # Parts

    def take(self) -> Part | None:
        """Return a part that wants fetching and nobody has; None if there is none."""
        if self.state is not FileState.OPEN or (self._sends_all and self._taken):
            return None
        for part in self._open_parts.parts:
            if not part.is_whole and part.index not in self._taken:
                self._taken.add(part.index)
                return part
        return None

    def give_back(self, part: Part) -> None:
        """Be through with a part, whole or not."""
        self._taken.discard(part.index)

    def fetch(self, part: Part, connections: Connections, go_on: Pass) -> None:
        """Fetch what is missing of a part that was taken, or as much as comes.

        Raises:
            Broken: the connection failed; what came is kept.
            Refused: the hub won't.
            Damaged: the file has another size than it had.
            OSError: the disk won't.
        """
        self._check(part)
        if part.is_whole:
            return
        if self._sends_all:
            self._fetch_all(connections, go_on)
        else:
            self._fetch_range(part, connections, go_on)

    def _fetch_range(self, part: Part, connections: Connections, go_on: Pass) -> None:
        with self._ask(connections, Span(part.at, part.end)) as answer:
            if not answer.is_partial and part.at > 0:
                self._sends_all = True
                return
            if answer.is_partial and answer.start != part.at:
                raise Broken("it sent another range than was asked for")
            while part.at < part.end:
                piece = answer.read(part.end - part.at)
                if not piece:
                    raise Broken("the connection broke")
                self._open_parts.write(part, piece)
                if not go_on(len(piece)):
                    return

    def _fetch_all(self, connections: Connections, go_on: Pass) -> None:
        """Read the file from its start, from a server that knows no ranges."""
        for part in self._open_parts.parts:
            self._check(part)
        at = 0
        with self._ask(connections, None) as answer:
            while at < self.file.size:
                piece = answer.read(self.file.size - at)
                if not piece:
                    raise Broken("the connection broke")
                self._spread(at, piece)
                at += len(piece)
                if not go_on(len(piece)):
                    return

    def _spread(self, at: int, piece: bytes) -> None:
        """Write a piece into the parts it belongs to, but for what is there already."""
        end = at + len(piece)
        for part in self._open_parts.parts[at // self._part_bytes :]:
            if part.start >= end:
                return
            if at <= part.at < min(end, part.end):
                self._open_parts.write(part, piece[part.at - at : part.end - at])

    def _ask(self, connections: Connections, span: Span | None) -> Answer:
        try:
            answer = connections.get(self._direct, span)
        except Refused as error:
            if error.size not in (None, self.file.size):
                raise Damaged("its size is another than it was") from error
            if self._direct == self._url or error.status not in _MOVED:
                raise
            self._direct = self._url
            answer = connections.get(self._url, span)
        self._direct = answer.url
        with_other_size = answer.total not in (None, self.file.size)
        if with_other_size or (answer.etags and self.file.etag not in answer.etags):
            answer.close()
            raise Damaged("its content is another than it was")
        return answer

    def _check(self, part: Part) -> None:
        if not part.is_checked:
            self._open_parts.check(part)

    # The hash

    def hash_next(self) -> bool:
        """Take a step of the whole file's hash; False where the next bytes aren't here."""
        parts = self._open_parts
        part = parts.parts[min(self._hashed // self._part_bytes, len(parts.parts) - 1)]
        if self.state is not FileState.OPEN or not part.is_checked or self._hashed >= part.at:
            return False
        piece = parts.read(self._hashed, min(_HASH_STEP, part.at - self._hashed))
        self._hash.update(piece)
        self._hashed += len(piece)
        return bool(piece)

    @property
    def is_hashed(self) -> bool:
        """Whether every byte is here and in the hash."""
        return self.is_fetched and self._hashed == self.file.size

    @property
    def is_sound(self) -> bool:
        """Whether its hash is the one the hub names."""
        return self._hash.hexdigest() == self.file.etag

    def finish(self, commit: str) -> None:
        """Put the file into its place. Raises OSError or CacheRefused."""
        self._open_parts.finish(self._folder.blob(self.file.etag))
        self._folder.publish(self.file, commit)
        self.state = FileState.DONE
        self.close()

    def begin_anew(self) -> None:
        """Take the file for empty. Raises Damaged the second time."""
        self._damaged += 1
        self._hash, self._hashed = _new_hash(self.file), 0
        for part in self._open_parts.parts:
            self._open_parts.drop(part)
        if self._damaged > 1:
            raise Damaged("its hash is another than the hub names, twice")


def _new_hash(file: RepoFile) -> hashlib._Hash:
    if len(file.etag) == 64:
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
