"""Lines that come over a pipe, or out of a file."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import Protocol

from mtplx_tui.files import MOST_BYTES

__all__ = ["Lines", "PipedLines"]

CHUNK_BYTES = 65_536


class Lines(Protocol):
    """Where questions come from."""

    async def next_line(self) -> str | None:
        """Return the next one, without its end; None where there is no more."""
        ...

    def interrupt(self) -> bool:
        """Take a ctrl+c that stops nothing; False where nobody types."""
        ...


class PipedLines:
    """Reads a descriptor line by line, and no further than it must; blocks nobody meanwhile."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._buffer = bytearray()
        self._is_over = False

    def interrupt(self) -> bool:
        """Return False."""
        return False

    async def next_line(self) -> str | None:
        """Return the next line; bytes that are no UTF-8 are replaced.

        Raises:
            OSError: standard input can't be read, or a line has more than MOST_BYTES.
        """
        seen = 0
        while (end := self._buffer.find(b"\n", seen)) < 0 and not self._is_over:
            seen = len(self._buffer)
            if seen > MOST_BYTES:
                raise OSError(errno.EFBIG, "a line is too long", "standard input")
            await self._is_readable()
            data = os.read(self._descriptor, CHUNK_BYTES)
            self._buffer += data
            self._is_over = not data
        if end < 0 and not self._buffer:
            return None
        line = bytes(self._buffer[: end if end >= 0 else None])
        del self._buffer[: len(line) + 1]
        return line.decode("utf-8", "replace").removesuffix("\r")

    async def _is_readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        try:
            loop.add_reader(self._descriptor, ready.set)
        except PermissionError:  # a file, which is always ready
            return
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self._descriptor)
