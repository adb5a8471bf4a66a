from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from mtplx_tui.library.hub import Hub
from mtplx_tui.library.queue import Downloads, Job, JobState
from tests.fakes.hub import FakeHub, Fault
from tests.library.pulls import FILES, FIRST, NAME, contents


class Watched:
    """A queue whose changes a test can wait for."""

    def __init__(self, hub: FakeHub, folder: Path, at_once: int = 2) -> None:
        self._changed = threading.Condition()
        self.seen: list[Job] = []
        self.cache = folder / "hub"
        self.queue = Downloads(
            self.cache, folder / "downloads.json", self._tell, lambda: Hub(hub.url, ""), at_once
        )

    def _tell(self, job: Job) -> None:
        with self._changed:
            self.seen.append(job)
            self._changed.notify_all()

    def until(self, is_so: Callable[[Job], bool]) -> Job:
        with self._changed:
            assert self._changed.wait_for(lambda: any(map(is_so, self.seen)), timeout=20)
            return next(filter(is_so, self.seen))

    def until_state(self, state: JobState, name: str = NAME) -> Job:
        return self.until(lambda job: job.name == name and job.state is state)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Generator[FakeHub]:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with FakeHub() as hub:
        hub.add(NAME, FILES)
        yield hub


@pytest.fixture
def watched(hub: FakeHub, tmp_path: Path) -> Generator[Watched]:
    watched = Watched(hub, tmp_path)
    yield watched
    watched.queue.close()


def test_a_download_runs_to_its_end(watched: Watched) -> None:
    watched.queue.start(NAME)
    job = watched.until_state(JobState.DONE)
    (snapshot,) = (watched.cache / "models--org--tiny" / "snapshots").iterdir()
    assert contents(snapshot) == FILES
    assert job.progress.done_bytes == sum(map(len, FILES.values()))


def test_it_pauses_and_goes_on(hub: FakeHub, watched: Watched) -> None:
    go = threading.Event()
    hub.plan(FIRST, *[Fault(between=lambda: go.wait(30))] * 9)
    watched.queue.start(NAME)
    watched.until(lambda job: job.progress.done_bytes > 100_000)
    watched.queue.pause(NAME)
    watched.until_state(JobState.PAUSED)
    go.set()
    watched.queue.start(NAME)
    watched.until_state(JobState.DONE)


def test_one_that_fails_keeps_no_other(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/gated", FILES, is_gated=True)
    watched = Watched(hub, tmp_path, at_once=1)
    watched.queue.start("org/gated")
    watched.queue.start("org/none")
    watched.queue.start(NAME)
    watched.until_state(JobState.DONE)
    assert "hf auth login" in watched.until_state(JobState.FAILED, "org/gated").error
    assert "not on the hub" in watched.until_state(JobState.FAILED, "org/none").error
    watched.queue.close()


def test_no_more_than_so_many_run_at_once(hub: FakeHub, watched: Watched) -> None:
    go = threading.Event()
    for index in range(4):
        hub.add(f"org/m{index}", FILES)
        hub.plan(f"/org/m{index}/*", Fault(first=lambda: go.wait(30)))
        watched.queue.start(f"org/m{index}")
    states = [job.state for job in watched.queue.jobs]
    assert states.count(JobState.RUNNING) == 2
    go.set()
    for index in range(4):
        watched.until_state(JobState.DONE, f"org/m{index}")


def test_what_is_not_done_comes_back_paused(hub: FakeHub, tmp_path: Path) -> None:
    go = threading.Event()
    hub.plan(FIRST, *[Fault(between=lambda: go.wait(30))] * 9)
    before = Watched(hub, tmp_path)
    before.queue.start(NAME)
    before.until(lambda job: job.progress.done_bytes > 100_000)
    before.queue.close()
    go.set()
    after = Watched(hub, tmp_path)
    assert [(job.name, job.state) for job in after.queue.jobs] == [(NAME, JobState.PAUSED)]
    after.queue.start(NAME)
    after.until_state(JobState.DONE)
    after.queue.close()
    assert Watched(hub, tmp_path).queue.jobs == ()


@pytest.mark.parametrize("notes", ["", "{", "[[1]]", '[["../x", "main"]]', '{"a": 1}', "\x00"])
def test_spoiled_notes_cost_nothing_else(hub: FakeHub, tmp_path: Path, notes: str) -> None:
    (tmp_path / "downloads.json").write_text(notes)
    assert Watched(hub, tmp_path).queue.jobs == ()


def test_a_job_that_runs_is_not_forgotten(hub: FakeHub, watched: Watched) -> None:
    go = threading.Event()
    hub.plan(FIRST, *[Fault(between=lambda: go.wait(30))] * 9)
    watched.queue.start(NAME)
    watched.until(lambda job: job.progress.done_bytes > 0)
    watched.queue.forget(NAME)
    assert watched.queue.job(NAME) is not None
    watched.queue.pause(NAME)
    go.set()
