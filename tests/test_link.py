"""The owner of the engine process, against processes that do as the test says."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.protocol import (
    PROTOCOL_VERSION,
    EngineStarted,
    ErrorInfo,
    Event,
    LoadCancelled,
    LoadModel,
)
from mtplx_tui import link
from mtplx_tui.link import EngineGone, EngineLink
from tests.fakes import scripted
from tests.fakes.processes import PATIENCE_S


class Owner:
    """A link, and all that it told."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.steps: tuple[str, ...] = ("started", "obey")
        self.processes: list[subprocess.Popen[bytes]] = []
        self.batches: asyncio.Queue[list[Event]] = asyncio.Queue()
        self.gone: asyncio.Queue[ErrorInfo] = asyncio.Queue()
        self.link = EngineLink(self.batches.put_nowait, self.gone.put_nowait, self._start)

    def _start(self) -> subprocess.Popen[bytes]:
        self.processes.append(link.spawn(scripted.command(*self.steps), self.log))
        return self.processes[-1]

    def open(self, *steps: str) -> None:
        self.steps = steps
        self.link.open()

    async def talk_on(self) -> None:
        """Send commands for as long as there is an engine process."""
        while self.link.pid is not None:
            self.link.send(load("more"))
            await asyncio.sleep(0)

    async def batch(self) -> list[Event]:
        return await asyncio.wait_for(self.batches.get(), PATIENCE_S)

    async def obituary(self) -> ErrorInfo:
        """Return why the engine is gone, once; by then nothing of it is left."""
        error = await asyncio.wait_for(self.gone.get(), PATIENCE_S)
        assert self.link.pid is None
        assert self.gone.empty()
        assert not is_there(self.processes[-1])
        return error


def is_there(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process runs, or was not waited for."""
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def load(request: str) -> LoadModel:
    return LoadModel(request, "name", "/path")


@pytest.fixture
async def owner(tmp_path: Path) -> AsyncIterator[Owner]:
    made = Owner(tmp_path / "logs" / "engine.log")
    yield made
    await made.link.close()
    assert not any(is_there(process) for process in made.processes)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "END_WAIT_S", 0.1)


class TestTalking:
    async def test_events_come_in_the_order_of_the_commands(self, owner: Owner) -> None:
        owner.open("started", "obey")
        (first,) = await owner.batch()
        assert isinstance(first, EngineStarted)
        assert first.pid == owner.link.pid
        for number in range(50):
            owner.link.send(load(str(number)))
        heard = [event for _ in range(50) for event in await owner.batch()]
        assert heard == [LoadCancelled(str(number)) for number in range(50)]

    async def test_a_long_command_goes_through_whole(self, owner: Owner) -> None:
        owner.open("started", "obey")
        name = "x" * 3_000_000
        owner.link.send(load(name))
        owner.link.send(load("short"))
        await owner.batch()
        assert await owner.batch() == [LoadCancelled(name)]
        assert await owner.batch() == [LoadCancelled("short")]

    @pytest.mark.usefixtures("impatient")
    async def test_an_engine_that_does_not_listen_holds_nobody_up(self, owner: Owner) -> None:
        owner.open("started", "hang")
        await owner.batch()
        owner.link.send(load("x" * 3_000_000))
        await owner.link.close()
        assert owner.processes[0].returncode == -signal.SIGKILL

    async def test_a_process_that_runs_already_is_taken_over(self, owner: Owner) -> None:
        process = owner._start()
        owner.link.open(process)
        assert owner.link.pid == process.pid
        assert isinstance((await owner.batch())[0], EngineStarted)
        assert len(owner.processes) == 1

    async def test_there_is_one_engine_at_a_time(self, owner: Owner) -> None:
        owner.open("started", "obey")
        with pytest.raises(RuntimeError, match="there already"):
            owner.link.open()

    async def test_without_an_engine_nothing_can_be_sent(self, owner: Owner) -> None:
        with pytest.raises(EngineGone, match="not running"):
            owner.link.send(load("early"))
        owner.open("leave:0")
        await owner.obituary()
        with pytest.raises(EngineGone, match="not running"):
            owner.link.send(load("late"))

    async def test_what_it_prints_goes_to_the_log(self, owner: Owner) -> None:
        owner.open("nonsense")
        assert "exit code 1" in (await owner.obituary()).message
        assert "KeyError: 'nonsense'" in owner.log.read_text()

    async def test_it_starts_also_where_no_log_can_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        owner = Owner(tmp_path / "file" / "engine.log")
        owner.open("started", "obey")
        assert isinstance((await owner.batch())[0], EngineStarted)
        await owner.link.close()


class TestEnd:
    @pytest.mark.parametrize(
        ("steps", "reason"),
        [
            (("leave:7",), "ended with exit code 7"),
            (("die:9",), "ended by signal 9"),
            (("die:11",), "ended by signal 11"),
            (("say:[{half a line", "die:9"), "ended by signal 9"),
            (("line:rubbish", "obey"), "something unreadable: not a line of JSON"),
            (("line:[{}]", "obey"), "something unreadable: unknown message"),
            (("line:[1]", "leave:0"), "something unreadable: a message must be an object"),
            (
                ("started:99", "obey"),
                f"engine and app speak different versions (99 and {PROTOCOL_VERSION})",
            ),
            (("failed:no backend", "leave:1"), "no backend"),
        ],
    )
    async def test_the_reason_is_told_once(
        self, owner: Owner, steps: tuple[str, ...], reason: str
    ) -> None:
        owner.open(*steps)
        error = await owner.obituary()
        assert reason in error.message
        assert "\n" not in error.message
        assert owner.batches.empty()

    async def test_what_came_before_is_handed_on(self, owner: Owner) -> None:
        owner.open("started", "die:9")
        assert "signal 9" in (await owner.obituary()).message
        assert isinstance((await owner.batch())[0], EngineStarted)

    async def test_a_line_without_bounds_is_given_up(
        self, owner: Owner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(link, "LINE_LIMIT", 1000)
        owner.open("long:100000", "obey")
        assert "unreadable" in (await owner.obituary()).message

    @pytest.mark.usefixtures("impatient")
    async def test_one_that_is_given_up_and_stays_is_killed(self, owner: Owner) -> None:
        owner.open("line:rubbish", "hang")
        assert "unreadable" in (await owner.obituary()).message
        assert owner.processes[0].returncode == -signal.SIGKILL

    async def test_one_that_is_given_up_leaves_by_itself_at_once(self, owner: Owner) -> None:
        owner.open("line:rubbish", "obey")
        await owner.obituary()
        assert owner.processes[0].returncode == scripted.HEARD_THE_END

    async def test_one_that_is_given_up_takes_no_command(self, owner: Owner) -> None:
        owner.open("line:rubbish", "hang")
        with pytest.raises(EngineGone):
            await owner.talk_on()
        os.kill(owner.processes[0].pid, signal.SIGKILL)
        await owner.obituary()


class TestClosing:
    async def test_it_is_asked_to_leave_and_not_mourned(self, owner: Owner) -> None:
        owner.open("started", "obey")
        await owner.batch()
        await owner.link.close()
        assert owner.processes[0].returncode == scripted.HEARD_SHUTDOWN
        assert owner.link.pid is None
        assert owner.gone.empty()

    @pytest.mark.usefixtures("impatient")
    async def test_one_that_hangs_is_killed(self, owner: Owner) -> None:
        owner.open("started", "hang")
        await owner.batch()
        await owner.link.close()
        assert owner.processes[0].returncode == -signal.SIGKILL
        assert owner.gone.empty()

    async def test_without_an_engine_there_is_nothing_to_do(self, owner: Owner) -> None:
        await owner.link.close()
        await owner.link.close()


class TestRestart:
    async def test_another_engine_comes_and_the_old_one_is_gone(self, owner: Owner) -> None:
        owner.open("started", "obey")
        await owner.batch()
        await owner.link.restart()
        first, second = owner.processes
        assert not is_there(first)
        assert owner.link.pid == second.pid
        assert owner.gone.empty()
        await owner.batch()
        owner.link.send(load("again"))
        assert await owner.batch() == [LoadCancelled("again")]

    async def test_after_a_death_too(self, owner: Owner) -> None:
        owner.open("started", "die:9")
        await owner.obituary()
        owner.steps = ("started", "die:11")
        await owner.link.restart()
        assert "signal 11" in (await owner.obituary()).message

    @pytest.mark.usefixtures("impatient")
    @pytest.mark.parametrize("turns", range(5))
    async def test_one_that_is_broken_off_can_be_repeated(self, owner: Owner, turns: int) -> None:
        owner.open("started", "hang")
        await owner.batch()
        broken_off = asyncio.create_task(owner.link.restart())
        if turns:
            await asyncio.sleep(0)
            await asyncio.to_thread(owner.processes[0].wait)
        for _ in range(turns):
            await asyncio.sleep(0)
        broken_off.cancel()
        await asyncio.wait([broken_off])
        if not broken_off.cancelled():
            return  # it was through already
        owner.steps = ("started", "obey")
        await owner.link.restart()
        first, second = owner.processes
        assert not is_there(first)
        assert owner.link.pid == second.pid
