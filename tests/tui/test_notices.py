"""Who looked elsewhere is told that a long answer, or a download, is through."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from textual.events import AppBlur

from engine.protocol import Finish, RequestDone
from mtplx_tui.config import Settings
from mtplx_tui.library.progress import Progress
from mtplx_tui.library.queue import Job, JobState
from mtplx_tui.messages import DownloadChanged
from mtplx_tui.term import notice
from tests.tui.chat_talk import TERMINAL, Talk


class Heard(Talk):
    """A Talk whose terminal's calls are written down."""

    _written: list[str]

    @property
    def calls(self) -> list[str]:
        """What was written to the terminal to call its person; shapes of the pointer are not."""
        return [text for text in self._written if "\a" in text and not text.startswith("\x1b]22;")]

    async def asks(self) -> None:
        """Ask, and see the answer begin."""
        await self.ask("Why?")
        self.starts()
        await self.says("Because.")

    async def is_answered_after(self, seconds: float) -> None:
        """Have the answer be through after so long."""
        done = RequestDone(self.generates[-1].request, Finish.STOP, 412, 0.1, 0.2, seconds)
        self.app.feed([done])
        await self.settle()

    async def looks_elsewhere(self) -> None:
        """Go to another program."""
        self._written = []
        driver = self.app._driver
        assert driver is not None
        setattr(driver, "write", self._written.append)  # noqa: B010 - a method in place of another
        self.app.post_message(AppBlur())
        await self.settle()


@pytest.mark.asyncio
async def test_a_long_answer_rings_while_the_terminal_is_not_looked_at(tmp_path: Path) -> None:
    talk = Heard(tmp_path, terminal=replace(TERMINAL, osc_notice=9))
    async with talk.at(80, 24):
        await talk.asks()
        await talk.looks_elsewhere()
        await talk.is_answered_after(75.0)
        assert talk.calls == ["\x1b]9;answered: 412 tokens in 1 min 15 s\a\a"]
        assert talk.notices() == []


@pytest.mark.asyncio
async def test_nobody_is_called_who_is_looking_or_for_a_short_answer(tmp_path: Path) -> None:
    talk = Heard(tmp_path)
    async with talk.at(80, 24):
        await talk.asks()
        await talk.looks_elsewhere()
        await talk.is_answered_after(9.9)
        await talk.asks()
        assert talk.app.app_focus
        await talk.is_answered_after(75.0)
        assert talk.calls == []
        assert talk.notices() == []


@pytest.mark.asyncio
async def test_in_another_tab_the_app_says_it(tmp_path: Path) -> None:
    talk = Heard(tmp_path)
    async with talk.at(80, 24):
        await talk.ask("Why?")
        talk.starts()
        await talk.press("f5")
        request = talk.generates[-1].request
        talk.app.feed([RequestDone(request, Finish.STOP, 412, 0.1, 0.2, 12.0)])
        await talk.settle()
        assert talk.notices() == ["answered: 412 tokens in 12 s"]


@pytest.mark.asyncio
async def test_answers_of_others_call_nobody(tmp_path: Path) -> None:
    talk = Heard(tmp_path)
    async with talk.at(80, 24):
        await talk.looks_elsewhere()
        talk.app.feed([RequestDone("api-1", Finish.STOP, 412, 0.1, 0.2, 75.0)])
        await talk.settle()
        assert talk.calls == []


@pytest.mark.asyncio
async def test_a_download_that_ended_rings(tmp_path: Path) -> None:
    talk = Heard(tmp_path)
    async with talk.at(80, 24):
        await talk.looks_elsewhere()
        for state in (JobState.RUNNING, JobState.DONE):
            job = Job("someone/model", "main", state, Progress("someone/model", "main"))
            talk.app.post_message(DownloadChanged(job))
        await talk.settle()
        assert talk.calls == ["\a"]
        assert talk.notices() == ["someone/model is downloaded"]


@pytest.mark.asyncio
async def test_who_wants_no_notices_gets_none(tmp_path: Path) -> None:
    talk = Heard(tmp_path, settings=Settings(notify=False))
    async with talk.at(80, 24):
        await talk.asks()
        await talk.press("f5")
        await talk.looks_elsewhere()
        await talk.is_answered_after(75.0)
        assert talk.notices() == []
        assert talk.calls == []


@pytest.mark.parametrize(
    ("number", "written"),
    [
        (0, "\a"),
        (9, "\x1b]9;a, b  c\a\a"),
        (777, "\x1b]777;notify;mtplx-tui;a, b  c\a\a"),
    ],
)
def test_a_notice_cannot_steer_the_terminal(number: int, written: str) -> None:
    assert notice("a; b\x1b\x07c", replace(TERMINAL, osc_notice=number)) == written
