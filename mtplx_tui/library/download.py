"""Fetches a repository into the hub's cache: in parallel parts, resumed, verified, limited.

A download owns the files it has locked, and nothing else; two of the same repository, in one
process or two, share the work file by file. `Download.run` blocks; `stop` ends it from another
thread, and a later one goes on where it stopped, also after a kill.
"""

from __future__ import annotations

import errno
import random
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mtplx_tui.library.fetching import Damaged, FileFetch, FileState
from mtplx_tui.library.hub import Hub, HubError, Listing, refusal
from mtplx_tui.library.hub_cache import RepoFile, RepoFolder, is_wanted
from mtplx_tui.library.parts import Part
from mtplx_tui.library.progress import FileProgress, Limiter, Pace, Progress, State
from mtplx_tui.library.transport import Broken, Connections, Refused
from mtplx_tui.wording import in_bytes

__all__ = ["Download", "Stopped", "wanted"]

TICK_S = 0.2
SPEED_S = 5.0
"""The speed is that of so many seconds."""
RESERVE = 512 * 2**20
"""Bytes of the disk that stay free."""
MAX_OPEN = 16
"""Files under way at a time."""
_PASSING = (408, 429, 500, 502, 503, 504)


class Stopped(Exception):
    """The download was stopped; a later one goes on."""


def wanted(listing: Listing) -> tuple[RepoFile, ...]:
    """Return the files of a repository that are downloaded, small ones first.

    Raises:
        HubError: there are no weights that can be used among them.
    """
    files = [file for file in listing.files if is_wanted(file.path)]
    if not any(file.path.endswith(".safetensors") for file in files):
        raise HubError(
            f"{listing.name} has no safetensors weights", "look for an MLX version of the model"
        )
    return tuple(sorted(files, key=lambda file: (file.path.endswith(".safetensors"), file.path)))


class Download:
    """One repository's download. See the module.

    Args:
        hub: where from.
        cache: the hub's cache folder.
        name: owner/name.
        revision: branch, tag or commit.
        limiter: shared by all that keep to one limit.
        pace: how it goes about it.
    """

    def __init__(
        self,
        hub: Hub,
        cache: Path,
        name: str,
        revision: str = "main",
        limiter: Limiter | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._hub = hub
        self._folder = RepoFolder(cache, name)
        self._limiter = limiter or Limiter()
        self._pace = pace or Pace()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._failure: Exception | None = None
        self._files: list[FileFetch] = []
        self._connections: list[Connections] = []
        self._speeds: deque[tuple[float, int]] = deque()
        self._waits: dict[str, str] = {}
        self._progress = Progress(name, revision)

    def stop(self) -> None:
        """End `run` soon, from another thread."""
        self._stopping.set()
        for connections in tuple(self._connections):
            connections.cut()
        with self._changed:
            self._changed.notify_all()

    def run(self, tell: Callable[[Progress], None]) -> Path:
        """Download, and return the folder of the snapshot.

        Args:
            tell: called with the progress, from this thread, five times a second at most.

        Raises:
            HubError: it can't be had, now or at all; says what to do.
            CacheRefused: it must not be written; likewise.
            Stopped: `stop` was called.
        """
        try:
            tell(self._progress)
            listing = self._hub.listing(self._progress.name, self._progress.revision)
            self._plan(listing)
            try:
                self._fetch(tell)
            finally:
                for file in self._files:
                    file.close()
            self._folder.point(listing.revision, listing.commit)
        except OSError as error:
            raise _disk_error(error, self._folder.cache) from error
        self._progress = replace(self._look(), state=State.DONE, note="", seconds_left=0.0)
        tell(self._progress)
        return self._folder.snapshot(listing.commit)

    # Before the first byte

    def _plan(self, listing: Listing) -> None:
        files = wanted(listing)
        self._folder.snapshot(listing.commit)  # refuses what is no commit
        self._folder.prepare()
        self._progress = replace(
            self._progress,
            state=State.FETCHING,
            commit=listing.commit,
            total_bytes=sum(file.size for file in files),
        )
        missing = 0
        for file in files:
            url = self._hub.file_url(listing.name, listing.commit, file.path)
            fetch = FileFetch(self._folder, file, url, self._pace.part_bytes)
            if self._folder.has(file):
                fetch.open()
                self._folder.publish(file, listing.commit)
            missing += file.size - _on_disk(self._folder, file)
            self._files.append(fetch)
        free = shutil.disk_usage(self._folder.cache).free
        if missing and missing + RESERVE > free:
            raise HubError(
                f"{listing.name} needs {in_bytes(missing)} more, and {in_bytes(free)} are free in "
                f"{self._folder.cache}",
                "free some space, or set HF_HUB_CACHE to a folder on another disk",
            )

    # The threads

    def _fetch(self, tell: Callable[[Progress], None]) -> None:
        threads = [threading.Thread(target=self._guarded, args=(self._hash,), daemon=True)]
        for _ in range(self._pace.workers):
            connections = Connections(self._hub.endpoint)
            self._connections.append(connections)
            work = (self._work, connections)
            threads.append(threading.Thread(target=self._guarded, args=work, daemon=True))
        for thread in threads:
            thread.start()
        try:
            self._follow(tell)
        finally:
            was_stopped = self._stopping.is_set()
            self.stop()
            for thread in threads:
                thread.join()
            for connections in self._connections:
                connections.close()
        if self._failure is not None:
            raise self._failure
        if was_stopped and not self._is_done():
            raise Stopped

    def _follow(self, tell: Callable[[Progress], None]) -> None:
        """Open what can be opened and tell how far it is, until all is done."""
        told_at = -TICK_S
        while not self._is_over():
            with self._changed:
                self._open_some()
            now = time.monotonic()
            if now - told_at >= TICK_S:
                told_at, self._progress = now, self._look()
                tell(self._progress)
            with self._changed:
                if not self._is_over():
                    self._changed.wait(TICK_S)

    def _open_some(self) -> None:
        """Open files that nobody else has, and link those another download brought."""
        room = MAX_OPEN - sum(file.state is FileState.OPEN for file in self._files)
        for file in self._files:
            if room > 0 and file.state is FileState.WAITING and file.open():
                if file.state is FileState.DONE:
                    self._folder.publish(file.file, self._progress.commit)
                else:
                    room -= 1
                self._changed.notify_all()

    def _is_done(self) -> bool:
        return all(file.state is FileState.DONE for file in self._files)

    def _is_over(self) -> bool:
        return self._is_done() or self._stopping.is_set() or self._failure is not None

    def _guarded(self, work: Callable[..., None], *arguments: object) -> None:
        try:
            work(*arguments)
        except Exception as error:  # noqa: BLE001 - a thread's end; run() raises it again
            with self._changed:
                self._failure = self._failure or error
                self._changed.notify_all()

    def _work(self, connections: Connections) -> None:
        while True:
            with self._changed:
                task = self._next_task()
                while task is None:
                    if self._is_over():
                        return
                    self._changed.wait()
                    task = self._next_task()
            file, part = task
            try:
                self._persist(file, part, connections)
            finally:
                with self._changed:
                    file.give_back(part)
                    self._changed.notify_all()
            if self._is_over():
                return

    def _next_task(self) -> tuple[FileFetch, Part] | None:
        if self._is_over():
            return None
        for file in self._files:
            part = file.take()
            if part is not None:
                return file, part
        return None

    def _persist(self, file: FileFetch, part: Part, connections: Connections) -> None:
        """Fetch a part, again and again while there is hope."""
        name = threading.current_thread().name
        failures = 0
        while not self._stopping.is_set():
            before = file.done
            try:
                file.fetch(part, connections, self._let_pass)
                return
            except (Broken, Refused, Damaged) as error:
                failures = 1 if file.done > before else failures + 1
                wait_s = self._wait_after(error, file, failures)
                self._waits[name] = f"{error}; again in {wait_s:.0f} s"
            self._stopping.wait(wait_s)
            self._waits.pop(name, None)

    def _wait_after(self, error: Exception, file: FileFetch, failures: int) -> float:
        """Return how long to wait before another try; raise where there is no hope."""
        name = self._progress.name
        if isinstance(error, Damaged):
            raise _damage(error, name, file.file.path) from error
        is_last = failures >= self._pace.tries
        if isinstance(error, Refused):
            if error.status not in _PASSING or is_last:
                raise refusal(error, name, self._hub.page_url(name)) from error
            if error.retry_after_s is not None:
                return error.retry_after_s
        if is_last:
            raise HubError(
                f"the download of {name} stopped: {error}",
                "check the network and start it again; what is here is kept",
            ) from error
        wait_s = self._pace.first_wait_s * 2 ** (failures - 1)
        return min(wait_s, self._pace.most_wait_s) * random.uniform(0.8, 1.2)

    def _let_pass(self, count: int) -> bool:
        wait_s = self._limiter.take(count)
        if wait_s > 0:
            self._stopping.wait(wait_s)
        return not self._stopping.is_set()

    def _hash(self) -> None:
        """Hash what has come, file by file, and put what is whole into its place."""
        while not self._is_over():
            stepped = False
            for file in self._files:
                if file.state is not FileState.OPEN:
                    continue
                while not self._stopping.is_set() and file.hash_next():
                    stepped = True
                if file.is_hashed:
                    self._put_away(file)
                    stepped = True
            with self._changed:
                if not stepped and not self._is_over():
                    self._changed.wait(TICK_S)

    def _put_away(self, file: FileFetch) -> None:
        if file.is_sound:
            file.finish(self._progress.commit)
        with self._changed:
            if file.state is FileState.OPEN:
                try:
                    file.begin_anew()
                except Damaged as error:
                    raise _damage(error, self._progress.name, file.file.path) from error
            self._changed.notify_all()

    # Progress

    def _look(self) -> Progress:
        files = tuple(
            FileProgress(file.file.path, file.file.size, file.done) for file in self._files
        )
        done = sum(file.done for file in files)
        now = time.monotonic()
        self._speeds.append((now, done))
        while len(self._speeds) > 2 and now - self._speeds[0][0] > SPEED_S:
            self._speeds.popleft()
        then, before = self._speeds[0]
        speed = max(0.0, (done - before) / (now - then)) if now > then else 0.0
        left = self._progress.total_bytes - done
        return replace(
            self._progress,
            state=self._state(),
            done_bytes=done,
            bytes_per_s=speed,
            seconds_left=left / speed if speed > 0 else None,
            note=next(iter(tuple(self._waits.values())), ""),
            files=files,
        )

    def _state(self) -> State:
        open_files = [file for file in self._files if file.state is FileState.OPEN]
        if any(not file.is_fetched for file in open_files):
            return State.FETCHING
        if open_files:
            return State.CHECKING
        is_waiting = any(file.state is FileState.WAITING for file in self._files)
        return State.WAITING if is_waiting else State.CHECKING


def _on_disk(folder: RepoFolder, file: RepoFile) -> int:
    """Return the bytes of a file that take space already."""
    if folder.has(file):
        return file.size
    try:
        return min(folder.partial(file.etag).stat().st_blocks * 512, file.size)
    except OSError:
        return 0


def _damage(error: Damaged, name: str, path: str) -> HubError:
    return HubError(
        f"{path} of {name} arrived damaged: {error}", "start the download again in a while"
    )


def _disk_error(error: OSError, cache: Path) -> HubError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return HubError(
            f"the disk with {cache} is full",
            "free some space and start again; what is here is kept",
        )
    if error.errno == errno.ELOOP:
        return HubError(
            f"{error.filename or cache} is a link, and downloads follow none", "remove it"
        )
    reason = error.strerror or type(error).__name__
    return HubError(
        f"{error.filename or cache} can't be written: {reason}",
        "check its permissions, or set HF_HUB_CACHE to another folder",
    )
