"""A file on its way: its data, full of holes, and a journal of how far each part has come.

Whatever kills the process, what the journal counts is in the data: a piece is written before it is
counted. After a power cut, a part whose data did not reach the disk is found by its checksum and
begun anew. Knows no network.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PART_BYTES", "Part", "PartFile", "counted_bytes"]

PART_BYTES = 32 * 2**20
_HEAD = struct.Struct("<8sQQ")
_SLOT = struct.Struct("<QI")
_MAGIC = b"mtplxp1\n"
_READ = 4 * 2**20
_MAX_SLOTS = 2**20


@dataclass(slots=True)
class Part:
    """A stretch of a file, fetched from front to back."""

    index: int
    start: int
    end: int
    done: int = 0
    """Bytes that are there."""
    checksum: int = 0
    """CRC-32 of them."""
    is_checked: bool = True
    """False while bytes of an earlier run were not held against their checksum."""

    @property
    def at(self) -> int:
        """The place of the next byte."""
        return self.start + self.done

    @property
    def is_whole(self) -> bool:
        """Whether all of it is there."""
        return self.is_checked and self.at == self.end


class PartFile:
    """See the module. One thread a part; the rest is for one thread alone.

    Args:
        data: where the data is kept.
        journal: where it is kept how far it came.
        size: of the whole file, bytes.
        part_bytes: of a part; a journal with another one is not gone on with.

    Raises:
        OSError: they can't be opened; a link is not followed.
    """

    def __init__(self, data: Path, journal: Path, size: int, part_bytes: int = PART_BYTES) -> None:
        self.path = data
        self._journal_path = journal
        self.size = size
        starts = range(0, size, part_bytes) or range(1)
        self.parts = tuple(
            Part(index, start, min(start + part_bytes, size)) for index, start in enumerate(starts)
        )
        head = _HEAD.pack(_MAGIC, size, part_bytes)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._data = os.open(data, flags, 0o644)
        try:
            self._journal = os.open(journal, flags, 0o644)
            try:
                self._take_up(head)
            except BaseException:
                os.close(self._journal)
                raise
        except BaseException:
            os.close(self._data)
            raise

    @property
    def done(self) -> int:
        """Bytes that are there."""
        return sum(part.done for part in self.parts)

    def write(self, part: Part, piece: bytes) -> None:
        """Put the next bytes of a part in their place. Raises OSError if the disk won't.

        That they are there is seen last: whoever sees the last part whole may close the files.
        """
        view, at = memoryview(piece), part.at
        while view:
            written = os.pwrite(self._data, view, at)
            view, at = view[written:], at + written
        done, checksum = part.done + len(piece), zlib.crc32(piece, part.checksum)
        self._note(part, done, checksum)
        part.checksum, part.done = checksum, done

    def check(self, part: Part) -> None:
        """Hold what an earlier run left of a part against its checksum; drop what differs."""
        checksum, at, end = 0, part.start, part.at
        while at < end:
            piece = os.pread(self._data, min(_READ, end - at), at)
            if not piece:
                break
            checksum = zlib.crc32(piece, checksum)
            at += len(piece)
        if at < end or checksum != part.checksum:
            self.drop(part)
        part.is_checked = True

    def drop(self, part: Part) -> None:
        """Take a part for empty."""
        part.done = part.checksum = 0
        self._note(part, 0, 0)

    def read(self, at: int, count: int) -> bytes:
        """Return bytes of the data, at most so many."""
        return os.pread(self._data, min(_READ, count), at)

    def finish(self, place: Path) -> None:
        """Have the data on the disk, and put it into its place."""
        os.fsync(self._data)
        self.path.replace(place)
        self._journal_path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close both files; what is there stays."""
        os.close(self._data)
        os.close(self._journal)

    def _take_up(self, head: bytes) -> None:
        """Go on where an earlier run stopped, if it was about the same file; else start anew."""
        length = _HEAD.size + _SLOT.size * len(self.parts)
        old = os.pread(self._journal, length, 0)
        if old[: _HEAD.size] != head or len(old) < length:
            os.ftruncate(self._journal, 0)
            os.ftruncate(self._data, 0)
            os.pwrite(self._journal, head + bytes(length - _HEAD.size), 0)
            return
        for part, (done, checksum) in zip(
            self.parts, _SLOT.iter_unpack(old[_HEAD.size :]), strict=True
        ):
            if 0 < done <= part.end - part.start:
                part.done, part.checksum, part.is_checked = done, checksum, False

    def _note(self, part: Part, done: int, checksum: int) -> None:
        slot = _SLOT.pack(done, checksum)
        os.pwrite(self._journal, slot, _HEAD.size + _SLOT.size * part.index)


def counted_bytes(journal: Path) -> int:
    """Return how far a file on its way has come; 0 where there is none."""
    try:
        raw = journal.read_bytes()[: _HEAD.size + _SLOT.size * _MAX_SLOTS]
    except OSError:
        return 0
    slots = raw[_HEAD.size :]
    slots = slots[: len(slots) // _SLOT.size * _SLOT.size]
    return sum(done for done, _ in _SLOT.iter_unpack(slots))
