"""The app's downloads: the one owner of which run, wait, pause and failed.

At most so many run at a time, each in a thread of its own; one that fails keeps no other from
going on. What is not done is noted, and stands there paused when the app comes back.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from mtplx_tui.files import write_atomically
from mtplx_tui.library.download import Download, Stopped
from mtplx_tui.library.hub import Hub, HubError
from mtplx_tui.library.hub_cache import CacheRefused, check_repository, check_revision
from mtplx_tui.library.progress import Limiter, Progress
from mtplx_tui.remedies import one_line

__all__ = ["Downloads", "Job", "JobState"]

AT_ONCE = 2
CLOSE_S = 3.0
"""How long leaving waits for a download to stop; it is safe to end it at any moment."""
_MAX_JOBS = 200


class JobState(StrEnum):
    """What became of a download."""

    WAITING = "waits for its turn"
    RUNNING = "runs"
    PAUSED = "paused"
    FAILED = "failed"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Job:
    """A download as the app sees it."""

    name: str
    revision: str
    state: JobState
    progress: Progress
    error: str = ""
    """Why it failed and what to do, in one line."""

    @property
    def is_open(self) -> bool:
        """Whether there is still something to do."""
        return self.state is not JobState.DONE


class Downloads:
    """See the module. Every method may be called from any thread.

    Args:
        cache: the hub's cache folder.
        notes: the file that unfinished downloads are noted in.
        tell: called from a download's thread whenever a job changed.
        hub: how the hub is reached; called from a download's thread.
        at_once: how many run at a time.
    """

    def __init__(
        self,
        cache: Path,
        notes: Path,
        tell: Callable[[Job], None],
        hub: Callable[[], Hub] = Hub,
        at_once: int = AT_ONCE,
    ) -> None:
        self.limiter = Limiter()
        self._cache = cache
        self._notes = notes
        self._tell = tell
        self._hub = hub
        self._at_once = at_once
        self._lock = threading.RLock()
        self._jobs: dict[str, Job] = {}
        self._works: dict[str, Download | None] = {}
        """Of the jobs whose thread runs; None while the hub is not reached yet."""
        self._threads: set[threading.Thread] = set()
        for name, revision in _noted(notes):
            self._jobs[name] = Job(name, revision, JobState.PAUSED, Progress(name, revision))

    @property
    def jobs(self) -> tuple[Job, ...]:
        """All of them, the oldest first."""
        with self._lock:
            return tuple(self._jobs.values())

    def job(self, name: str) -> Job | None:
        """Return a repository's download."""
        return self._jobs.get(name)

    def start(self, name: str, revision: str | None = None) -> None:
        """Download a repository, or go on with it.

        Args:
            name: owner/name.
            revision: None for that of before, or main.
        """
        with self._lock:
            old = self._jobs.get(name)
            if old is not None and old.state in (JobState.WAITING, JobState.RUNNING):
                return
            chosen = revision or (old.revision if old is not None else "main")
            self._put(Job(name, chosen, JobState.WAITING, Progress(name, chosen)))
            self._note()
            self._begin_some()

    def pause(self, name: str) -> None:
        """Stop a download for now; what is here is kept."""
        with self._lock:
            job = self._jobs.get(name)
            if job is None or job.state not in (JobState.WAITING, JobState.RUNNING):
                return
            work = self._works.get(name)
            self._put(replace(job, state=JobState.PAUSED))
        if work is not None:
            work.stop()

    def forget(self, name: str) -> None:
        """Take a download that does not run from the list."""
        with self._lock:
            if name in self._jobs and name not in self._works:
                del self._jobs[name]
                self._note()

    def close(self) -> None:
        """Stop all, and wait a little for them."""
        with self._lock:
            self._at_once = 0
            works = tuple(self._works.values())
            threads = tuple(self._threads)
        for work in works:
            if work is not None:
                work.stop()
        for thread in threads:
            thread.join(CLOSE_S)

    def _begin_some(self) -> None:
        for job in tuple(self._jobs.values()):
            is_free = job.name not in self._works
            if job.state is JobState.WAITING and is_free and len(self._works) < self._at_once:
                self._works[job.name] = None
                self._put(replace(job, state=JobState.RUNNING))
                thread = threading.Thread(
                    target=self._run, args=(job.name, job.revision), daemon=True
                )
                self._threads.add(thread)
                thread.start()

    def _run(self, name: str, revision: str) -> None:
        state, error = JobState.DONE, ""
        try:
            work = Download(self._hub(), self._cache, name, revision, self.limiter)
            with self._lock:
                self._works[name] = work
                if self._jobs[name].state is not JobState.RUNNING or self._at_once == 0:
                    raise Stopped
            work.run(lambda progress: self._move(name, progress))
        except Stopped:
            state = JobState.PAUSED
        except (HubError, CacheRefused) as refused:
            state, error = JobState.FAILED, one_line(refused)
        except Exception as unknown:  # noqa: BLE001 - a thread's end; told to the person
            reason = " ".join(str(unknown).split())[:200] or type(unknown).__name__
            state, error = JobState.FAILED, f"the download of {name} failed: {reason}"
        with self._lock:
            del self._works[name]
            self._threads.discard(threading.current_thread())
            job = self._jobs[name]
            if job.state is not JobState.WAITING:  # else it was started again meanwhile
                self._put(replace(job, state=state, error=error))
            self._note()
            self._begin_some()

    def _move(self, name: str, progress: Progress) -> None:
        with self._lock:
            job = self._jobs[name]
            self._put(replace(job, progress=progress))

    def _put(self, job: Job) -> None:
        self._jobs[job.name] = job
        self._tell(job)

    def _note(self) -> None:
        """Note what is not done. What can't be noted is not worth a failed download."""
        unfinished = [[job.name, job.revision] for job in self._jobs.values() if job.is_open]
        if unfinished or self._notes.exists():
            try:
                write_atomically(self._notes, json.dumps(unfinished))
            except OSError:
                return


def _noted(notes: Path) -> list[tuple[str, str]]:
    """Return the downloads that were noted; none where that can't be read."""
    try:
        content = json.loads(notes.read_text("utf-8"))
        found = [(str(name), str(revision)) for name, revision in content[:_MAX_JOBS]]
        for name, revision in found:
            check_repository(name)
            check_revision(revision)
    except (OSError, ValueError, TypeError, CacheRefused):
        return []
    return found
