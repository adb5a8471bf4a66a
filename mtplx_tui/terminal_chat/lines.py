"""Lines that come over a pipe, or out of a file."""

from __future__ import annotations

import asyncio
import os
from typing import Protocol

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
        self._buffer = b""
        self._is_over = False

    def interrupt(self) -> bool:
        """Return False."""
        return False

    async def next_line(self) -> str | None:
        """Return the next line; bytes that are no UTF-8 are replaced."""
        while b"\n" not in self._buffer and not self._is_over:
            await self._is_readable()
            data = os.read(self._descriptor, CHUNK_BYTES)
            self._buffer += data
            self._is_over = not data
        line, end, self._buffer = self._buffer.partition(b"\n")
        if not line and not end:
            return None
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
