"""The chosen model's download, while something else goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

from mtplx_tui.cli import pass_line
from mtplx_tui.config import find_hub_cache
from mtplx_tui.library.queue import Downloads, Job, JobState
from mtplx_tui.wording import in_bytes

__all__ = ["Fetch"]

_OVER = (JobState.DONE, JobState.FAILED, JobState.PAUSED)


class Fetch:
    """See the module.

    Args:
        name: owner/name.
        notes: where the app's downloads are noted, this one among them.
    """

    def __init__(self, name: str, notes: Path) -> None:
        self.name = name
        self.job: Job | None = None
        self._moved = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._downloads = Downloads(find_hub_cache(), notes, self._tell)

    def start(self) -> None:
        """Begin, or go on, or try again."""
        self.job = None
        self._downloads.start(self.name)

    def stop(self) -> None:
        """Keep what is here, and fetch no more."""
        self._downloads.pause(self.name)

    def close(self) -> None:
        """Be left: it goes on another time."""
        self._downloads.close()

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes, for good or ill."""
        return self.job is not None and self.job.state in _OVER

    @property
    def words(self) -> str:
        """How far it is."""
        if self.job is None or not self.job.progress.total_bytes:
            return "just begun"
        now = self.job.progress
        done, total = in_bytes(now.done_bytes), in_bytes(now.total_bytes)
        return f"{now.state}, {done} of {total}, {100 * now.done_bytes // now.total_bytes} %"

    async def wait(self) -> Job:
        """Return what became of it, telling how far it is to a person who watches."""
        while self.job is None or not self.is_over:
            self._moved.clear()
            await self._moved.wait()
            pass_line(f"{self.words}  {self.name}")
        pass_line("")
        return self.job

    def _tell(self, job: Job) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._take, job)

    def _take(self, job: Job) -> None:
        if job.name == self.name:
            self.job = job
            self._moved.set()
