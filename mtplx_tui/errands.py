"""What the app does beside answering: owns downloads, bench and certifier, each made when first asked for.

Their rooms are imported then. Knows no screen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.protocol import Command, ErrorInfo, Event
from mtplx_tui import config
from mtplx_tui.files import Places
from mtplx_tui.preferences import Preferences
from mtplx_tui.view import EngineView
from mtplx_tui.wording import read_bytes

if TYPE_CHECKING:
    from mtplx_tui.bench.runner import Runner
    from mtplx_tui.library.certifier import Certifier
    from mtplx_tui.library.queue import Downloads, Job
    from mtplx_tui.machine.station import Station

__all__ = ["Errands"]


class Errands:
    """See the module.

    Args:
        places: where their files are kept.
        preferences: keep how fast downloads may be.
        station: returns what tells the heat while a bench runs.
        send: gives the engine a command; False where there is none.
        job_changed: called from a download's thread.
        bench_changed: called when the bench moved on.
        certifier_changed: called when the certifier moved on.
    """

    def __init__(  # noqa: PLR0913 - what three kinds of work need
        self,
        places: Places,
        preferences: Preferences,
        *,
        station: Callable[[], Station],
        send: Callable[[Command], bool],
        job_changed: Callable[[Job], None],
        bench_changed: Callable[[], None],
        certifier_changed: Callable[[], None],
    ) -> None:
        self._places, self._preferences, self._find_station = places, preferences, station
        self._send, self._job_changed = send, job_changed
        self._bench_changed, self._certifier_changed = bench_changed, certifier_changed
        self._downloads: Downloads | None = None
        self._bench: Runner | None = None
        self._certifier: Certifier | None = None

    @property
    def downloads(self) -> Downloads:
        """The downloads, those of before among them."""
        if self._downloads is None:
            from mtplx_tui.library.queue import Downloads

            folder = self._places.downloads
            self._downloads = Downloads(config.find_hub_cache(), folder, self._job_changed)
            limit = self._preferences.now.download_limit
            if limit is not None:
                self._downloads.limiter.bytes_per_s = read_bytes(limit)
        return self._downloads

    @property
    def bench(self) -> Runner:
        """What measures depths."""
        if self._bench is None:
            from mtplx_tui.bench.runner import Runner

            folder, station = self._places.bench, self._find_station()
            self._bench = Runner(self._send, folder, self._bench_changed, station=station)
        return self._bench

    @property
    def certifier(self) -> Certifier:
        """What holds models to the law."""
        if self._certifier is None:
            from mtplx_tui.library.certifier import Certifier

            folder = self._places.certificates
            self._certifier = Certifier(self._send, folder, self._certifier_changed)
        return self._certifier

    @property
    def words(self) -> str:
        """How far bench or certifier are, in a few words; empty while neither is at work."""
        at_work = (worker.words for worker in (self._bench, self._certifier) if worker)
        return next((words for words in at_work if words), "")

    def limit_downloads(self, limit: str | None) -> None:
        """Keep all downloads together to a speed such as 20MB; None for none. Raises ValueError."""
        self.downloads.limiter.bytes_per_s = None if limit is None else read_bytes(limit)
        if limit != self._preferences.now.download_limit:
            self._preferences.keep(download_limit=limit)

    def sift(self, events: list[Event]) -> list[Event]:
        """Return the events that are not of the bench's own answers."""
        return events if self._bench is None else self._bench.take(events)

    def take(self, events: list[Event]) -> None:
        """Take the events that everyone sees."""
        if self._certifier is not None:
            self._certifier.take(events)

    def look(self, view: EngineView) -> None:
        """Let the bench go on, where the engine is free for it."""
        if self._bench is not None:
            self._bench.look(view)

    def engine_died(self, error: ErrorInfo) -> None:
        """Take it that the engine process ended."""
        for worker in (self._bench, self._certifier):
            if worker is not None:
                worker.engine_died(error)

    async def close(self) -> None:
        """Stop the bench, and downloads where they can be gone on with."""
        if self._bench is not None:
            self._bench.stop()
        if self._downloads is not None:
            await asyncio.to_thread(self._downloads.close)
