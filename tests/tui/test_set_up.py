"""The set-up in the app: shown at the first run, in nobody's way, cut off and gone on with."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.events import Paste
from textual.widgets import OptionList, Static

from engine.protocol import Cancel, Finish, Generate, RequestDone, SetDepth
from mtplx_tui.app import MtplxApp
from mtplx_tui.config import Settings
from mtplx_tui.files import Places
from mtplx_tui.library.progress import Progress as Fetched
from mtplx_tui.library.queue import Job, JobState
from mtplx_tui.messages import DownloadChanged
from mtplx_tui.screens.chat import ChatScreen
from mtplx_tui.screens.set_up import WAITS, SetUp
from mtplx_tui.screens.tour import Tour
from mtplx_tui.setup import kept
from mtplx_tui.setup.flow import Offered, Place, Progress, Step
from mtplx_tui.setup.words import TOUR
from tests.bench.streams import cycle
from tests.tui.chat_talk import TERMINAL, Talk
from tests.tui.set_up_talk import (
    HUB,
    first_run,
    known,
    made_up,
    names,
    no_hub,
    offer,
    page,
    progress,
)


@pytest.fixture
def set_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Talk:
    """Return a person at an app that never ran here."""
    made_up(monkeypatch)
    return first_run(tmp_path)


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The downloads that were begun; none of them runs."""
    begun: list[str] = []
    monkeypatch.setattr(
        "mtplx_tui.library.queue.Downloads.start", lambda _, name, *__: begun.append(name)
    )
    return begun


async def test_enter_is_the_demo_at_once(set_up: Talk) -> None:
    async with set_up.at(80, 24):
        assert isinstance(set_up.app.screen, SetUp)
        await set_up.press("enter")
        assert isinstance(set_up.app.screen, ChatScreen)
        assert set_up.app.focused is set_up.prompt
        assert (progress(set_up).model, progress(set_up).place) == ("demo", Place.APP)
        await set_up.ask("Hello?")
        assert [type(command) for command in set_up.app.sent] == [Generate]
        assert any("last_model" in notice for notice in set_up.notices())


async def test_enter_works_before_anything_is_known(
    set_up: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtplx_tui.screens.set_up.SetUp._begin", lambda *_: None)
    async with set_up.at(80, 24):
        await set_up.press("enter")
        assert progress(set_up).model == "demo"


async def test_escape_is_the_demo_and_it_never_asks_again(set_up: Talk, tmp_path: Path) -> None:
    async with set_up.at(80, 24):
        await set_up.press("escape")
        assert isinstance(set_up.app.screen, ChatScreen)
        assert set_up.app.guide.step is Step.DONE
    again = Talk(tmp_path)
    async with again.at(80, 24):
        assert isinstance(again.app.screen, ChatScreen)
        await again.press("alt+s")
        assert isinstance(again.app.screen, SetUp)
        await again.press("escape")
        assert progress(again).model == "demo"


@pytest.mark.parametrize(
    ("model", "last_model", "has_begun", "is_wanted"),
    [
        (None, None, False, True),
        (None, "demo", False, False),
        (None, "demo", True, True),
        ("demo", None, False, False),
        ("demo", "demo", True, False),
    ],
)
def test_it_is_wanted_at_a_first_run_without_a_model_named(
    tmp_path: Path, model: str | None, last_model: str | None, has_begun: bool, is_wanted: bool
) -> None:
    places = Places(tmp_path / "config", tmp_path / "data", tmp_path / "cache")
    if has_begun:
        kept.keep(places.setup, Progress())
    app = MtplxApp(
        places=places,
        settings=Settings(last_model=last_model),
        terminal=TERMINAL,
        start_engine=None,
        process=None,
        model=model,
    )
    assert app._wants_set_up is is_wanted


async def test_a_question_typed_as_it_comes_is_not_lost(set_up: Talk) -> None:
    """The chat says that one may ask already; then this page comes over it by itself."""
    async with set_up.at(80, 24):
        assert isinstance(set_up.app.screen, SetUp)
        await set_up.type_ahead(*"Why  is", "backspace", "backspace", *"not?")
        set_up.app.post_message(Paste(" \x1b[31m" + "漢" * 40))
        await set_up.settle()
        shown = set_up.app.screen.query_one("#set-up-typed", Static)
        assert str(shown.content) == WAITS + "漢" * 18
        assert shown.size.width >= 33 + 36
        await set_up.press("enter")
        assert set_up.prompt.text.startswith("Why  not?")
        assert set_up.prompt.text.endswith("漢" * 40)
        assert set_up.app.focused is set_up.prompt


async def test_what_was_typed_before_it_came_is_shown(set_up: Talk) -> None:
    async with set_up.at(80, 24):
        await set_up.press("escape", *"Why?", "alt+s")
        assert set_up.text_of("#set-up-typed") == f"{WAITS}Why?"
        await set_up.press("escape")
        assert set_up.prompt.text == "Why?"


async def test_the_model_is_the_one_that_enter_was_pressed_on(
    set_up: Talk, downloads: list[str]
) -> None:
    """One that comes before the key is taken may have moved the others."""
    async with set_up.at(80, 24):
        await known(set_up)
        await set_up.press("down")
        set_up.app.screen.query_one(OptionList).action_select()
        page(set_up)._take_offers([offer("vendor/Better-9B", 9, is_here=True)])
        assert names(set_up).index(HUB[0].name) == 2
        await set_up.settle()
        assert downloads == [HUB[0].name]


async def test_what_fits_is_listed_and_what_does_not_says_why(set_up: Talk) -> None:
    async with set_up.at(120, 40):
        await known(set_up)
        assert names(set_up) == ["demo", HUB[0].name, HUB[1].name]
        row = str(page(set_up).query_one(OptionList).get_option_at_index(1).prompt)
        assert row.split()[:3] == [HUB[0].name, "15.1", "GB"]
        assert "vendor/Vast-400B: it needs 224 GB" in set_up.text_of("#set-up-note")
        assert "used by MLX" in set_up.text_of("#machine")


async def test_without_a_hub_it_says_so_and_goes_on(
    set_up: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtplx_tui.setup.offers.from_hub", no_hub)
    async with set_up.at(80, 24):
        await set_up.until(lambda: "no route" in set_up.text_of("#set-up-note"))
        assert names(set_up) == ["demo"]


async def test_a_model_is_downloaded_while_the_demo_talks(
    set_up: Talk, downloads: list[str], tmp_path: Path
) -> None:
    name = HUB[0].name
    async with set_up.at(80, 24):
        await known(set_up)
        await set_up.press("down", "enter")
        assert downloads == [name]
        assert isinstance(set_up.app.screen, ChatScreen)
        await set_up.answered("Hello?", "Hello.")
        assert any("your first answer" in notice for notice in set_up.notices())
    again = Talk(tmp_path)
    async with again.at(80, 24):
        await again.until(lambda: downloads == [name, name])
        done = Job(name, "main", JobState.DONE, Fetched(name, "main"))
        again.app.post_message(DownloadChanged(done))
        await again.settle()
        assert f"{name} is downloaded; alt+s opens it" in again.notices()
        assert again.app.settings.last_model == name
        assert progress(again).is_here


class TestTour:
    async def test_it_stops_at_each_part_and_leaves_the_tab_as_it_was(self, tmp_path: Path) -> None:
        talk = Talk(tmp_path)
        async with talk.at(120, 40):
            await talk.answered("Hello?", "Hello.")
            await talk.app.action_tour()
            seen = []
            for at, hint in enumerate(TOUR):
                await talk.settle()
                card = talk.app.screen.query_one("#tour")
                assert str(card.border_title) == f"{hint.title}  {at + 1}/{len(TOUR)}"
                marked = talk.app.screen_stack[0].query(".-toured")
                seen += [part.id for part in marked]
                await talk.press("right")
            assert seen == [hint.part for hint in TOUR]
            assert not isinstance(talk.app.screen, Tour)
            assert not talk.app.screen_stack[0].query(".-toured")
            assert progress(talk).tour is Offered.TAKEN

    async def test_back_next_and_skip(self, tmp_path: Path) -> None:
        talk = Talk(tmp_path)
        async with talk.at(80, 24):
            await talk.answered("Hello?", "Hello.")
            await talk.app.action_tour()
            await talk.press("enter", "enter", "left", "left", "left", "n")
            text = str(talk.app.screen.query_one("#tour-text", Static).content)
            assert text == TOUR[1].text
            await talk.press("escape")
            assert not isinstance(talk.app.screen, Tour)

    async def test_where_nothing_was_answered_it_has_something_answered(
        self, tmp_path: Path
    ) -> None:
        talk = Talk(tmp_path)
        async with talk.at(80, 24):
            await talk.app.action_tour()
            await talk.settle()
            (asked,) = talk.generates
            assert asked.messages[-1].content == "Why is the sky blue?"
            await talk.press("a")
            assert len(talk.generates) == 1

    async def test_the_depth_can_be_changed_meanwhile(self, tmp_path: Path) -> None:
        talk = Talk(tmp_path)
        async with talk.at(80, 24):
            await talk.ask("Hello?")
            talk.starts()
            await talk.app.action_tour()
            await talk.press("alt+up")
            assert any(isinstance(command, SetDepth) for command in talk.app.sent)


class TestTuning:
    @pytest.fixture
    async def talk(self, tmp_path: Path) -> Talk:
        """A person who saw an answer and the tour."""
        talk = first_run(tmp_path)
        seen = Progress("demo", is_here=True, has_answer=True, tour=Offered.TAKEN, place=Place.APP)
        kept.keep(talk.app.places.setup, seen)
        return Talk(tmp_path)

    async def test_it_runs_beside_the_chats_and_is_told(self, talk: Talk) -> None:
        async with talk.at(80, 24):
            await talk.press("alt+s", "y")
            for answer in range(8):
                command = talk.generates[-1]
                assert command.request == f"tune-{answer}"
                events = [cycle(command, number) for number in range(4)]
                talk.app.feed([*events])
                assert "tuning: answer" in talk.status()
                talk.app.feed([_done(command.request)])
                await talk.settle()
            assert any("tuned; the fastest is depth" in notice for notice in talk.notices())
            assert progress(talk).tuning is Offered.TAKEN
            assert talk.app.view.requests == ()
            assert talk.path() == ()

    async def test_it_can_be_stopped_and_be_refused(self, talk: Talk) -> None:
        async with talk.at(80, 24):
            await talk.press("alt+s", "y", "alt+s")
            assert talk.app.sent[-1] == Cancel("tune-0")
            assert progress(talk).tuning is Offered.OPEN
            await talk.press("alt+s", "escape")
            assert progress(talk).tuning is Offered.SKIPPED
            assert talk.app.guide.step is Step.DONE

    async def test_an_engine_that_dies_ends_it(self, talk: Talk) -> None:
        async with talk.at(80, 24):
            await talk.press("alt+s", "y")
            await talk.dies()
            assert any("tuning ended early" in notice for notice in talk.notices())
            assert talk.app.guide.words == ""


def _done(request: str) -> RequestDone:
    return RequestDone(request, Finish.LENGTH, 4, 0.1, 0.1, 1.0)
