"""What a download tells of itself, and the pace it keeps."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from enum import StrEnum

from mtplx_tui.library.parts import PART_BYTES

__all__ = ["FileProgress", "Limiter", "Pace", "Progress", "State"]


class State(StrEnum):
    """What a download is doing."""

    ASKING = "asking the hub"
    FETCHING = "downloading"
    WAITING = "another process has it"
    CHECKING = "verifying"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class FileProgress:
    """How far a file is."""

    path: str
    size: int
    done: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a download is."""

    name: str
    revision: str
    state: State = State.ASKING
    commit: str = ""
    done_bytes: int = 0
    total_bytes: int = 0
    bytes_per_s: float = 0.0
    seconds_left: float | None = None
    """None while nobody can know."""
    note: str = ""
    """Why it waits, if it does."""
    files: tuple[FileProgress, ...] = ()


@dataclass(frozen=True, slots=True)
class Pace:
    """How a download goes about it."""

    workers: int = 4
    """Connections."""
    part_bytes: int = PART_BYTES
    tries: int = 8
    """Failures one after the other, without a byte in between, that end it."""
    first_wait_s: float = 1.0
    most_wait_s: float = 30.0


class Limiter:
    """Keeps all downloads together to a speed."""

    def __init__(self, bytes_per_s: float | None = None) -> None:
        self._lock = threading.Lock()
        self._free_at = 0.0
        self.bytes_per_s = bytes_per_s
        """None for no limit; may be changed at any time."""

    def take(self, count: int) -> float:
        """Return how many seconds to wait after so many bytes."""
        limit = self.bytes_per_s
        if limit is None:
            return 0.0
        now = time.monotonic()
        with self._lock:
            self._free_at = max(self._free_at, now) + count / limit
            return self._free_at - now
