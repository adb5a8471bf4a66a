"""Keys that come while the app is still busy with the ones before: a person who types fast."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest
from textual.events import Key, Paste
from textual.widgets import Input

from engine.protocol import Cancel
from mtplx_tui.widgets.chat_list import ChatList
from tests.fakes.hub import FakeHub
from tests.fakes.processes import PATIENCE_S
from tests.tui.chat_talk import Talk
from tests.tui.models_talk import ModelsTalk, hub_for, stock

SIZE = (120, 40)


@pytest.fixture
def talk(tmp_path: Path) -> Talk:
    return Talk(tmp_path)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator[FakeHub]:
    with hub_for(monkeypatch, tmp_path) as hub:
        stock(hub)
        yield hub


def questions(talk: Talk) -> list[str]:
    """Return what was asked."""
    return [command.messages[-1].content for command in talk.generates]


class TestAsking:
    async def test_what_follows_enter_is_the_next_question(self, talk: Talk) -> None:
        async with talk.at(*SIZE):
            await talk.type_ahead(*"one", "enter", *"two", "enter")
            assert (questions(talk), talk.prompt.text) == (["one"], "two")

    async def test_what_follows_enter_may_be_a_new_chat(self, talk: Talk) -> None:
        async with talk.at(*SIZE):
            first = talk.chat.id
            await talk.type_ahead(*"one", "enter", "ctrl+n", *"two")
            assert (questions(talk), talk.prompt.text) == (["one"], "two")
            assert (talk.chat.id != first, talk.chat.path()) == (True, ())

    async def test_escape_stops_the_answer_though_another_tab_is_wanted(self, talk: Talk) -> None:
        async with talk.at(*SIZE):
            await talk.type_ahead("f3", "f2", *"one", "enter", "escape", "f3")
            assert isinstance(talk.app.sent[-1], Cancel)

    async def test_letters_do_not_overtake_a_backspace(self, talk: Talk) -> None:
        async with talk.at(*SIZE):
            await talk.type_ahead(*"ab", "backspace", "c")
            assert talk.prompt.text == "ac"

    async def test_what_is_pasted_is_sent_by_the_enter_behind_it(self, talk: Talk) -> None:
        async with talk.at(*SIZE):
            await talk.press("f1")
            talk.app.post_message(Key("escape", None))
            talk.app.post_message(Paste("one\ntwo"))
            await talk.type_ahead("enter", "x")
            assert (questions(talk), talk.prompt.text) == (["one\ntwo"], "x")

    async def test_a_queue_that_does_not_move_on_holds_nothing_up_for_long(
        self, talk: Talk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("mtplx_tui.widgets.keys_in_turn.PATIENCE_S", 0.05)
        moves_on = asyncio.Event()
        async with talk.at(*SIZE):
            talk.app.screen.call_later(moves_on.wait)
            for key in ("left", "a"):
                talk.app.post_message(Key(key, None))
            try:
                async with asyncio.timeout(PATIENCE_S):
                    while talk.prompt.text != "a":  # noqa: ASYNC110 - a field has no event of its own
                        await asyncio.sleep(0.01)
            finally:
                moves_on.set()


class TestTabs:
    @pytest.mark.parametrize("tab", ["f3", "f4", "f5", "f6", "f7"])
    async def test_a_question_behind_a_look_at_a_tab(
        self, hub: FakeHub, talk: Talk, tab: str
    ) -> None:
        async with talk.at(*SIZE):
            await talk.type_ahead(tab, "f2", *"one", "enter", "x")
            assert (questions(talk), talk.prompt.text) == (["one"], "x")

    async def test_a_question_in_a_chat_that_was_not_shown_before(
        self, hub: FakeHub, talk: Talk
    ) -> None:
        talk.app.bookmark.now = replace(talk.app.bookmark.now, tab="models")
        async with talk.at(*SIZE):
            await talk.type_ahead("f2", *"one", "enter")
            assert questions(talk) == ["one"]

    async def test_a_key_after_a_tab_key_is_the_new_tabs(self, talk: Talk) -> None:
        async with talk.at(*SIZE):
            assert talk.chat.options.depth is None
            await talk.type_ahead("f3", "plus")
            assert talk.chat.options.depth == 1
            await talk.type_ahead("plus")
            assert talk.chat.options.depth == 2
            await talk.type_ahead("alt+a")
            assert talk.chat.options.depth is None
            await talk.type_ahead("f2", "h")
            assert talk.prompt.text == "h"

    async def test_a_question_after_the_window_was_pulled_at(self, talk: Talk) -> None:
        async with talk.at(*SIZE):
            for size in ((79, 23), (160, 50), (40, 10), SIZE):
                await talk.pilot.resize_terminal(*size)
            await talk.type_ahead("f2", *"one")
            assert talk.prompt.text == "one"

    async def test_text_typed_while_the_window_is_too_small(self, talk: Talk) -> None:
        async with talk.at(*SIZE):
            await talk.type_ahead("a")
            await talk.pilot.resize_terminal(40, 10)
            await talk.type_ahead("b")
            talk.app.post_message(Paste("cd"))
            await talk.pilot.resize_terminal(*SIZE)
            await talk.type_ahead("e")
            assert talk.prompt.text == "abcde"


class TestPanelsAndDialogs:
    async def test_a_question_behind_a_page_that_is_closed(self, talk: Talk) -> None:
        async with talk.at(*SIZE):
            await talk.press("f1")
            await talk.type_ahead("escape", "f2", *"one", "enter")
            assert questions(talk) == ["one"]

    async def test_a_question_behind_a_page_that_is_opened_and_closed(self, talk: Talk) -> None:
        async with talk.at(*SIZE):
            await talk.type_ahead("f8", "escape", *"one", "enter")
            assert questions(talk) == ["one"]

    async def test_a_chats_new_title(self, talk: Talk) -> None:
        async with talk.at(*SIZE):
            await talk.answered("why", "because")
            await talk.type_ahead("ctrl+l", "r", "end", *" not", "enter", "ctrl+n", *"two")
            assert [summary.title for summary in talk.app.desk.summaries()] == ["why not"]
            assert talk.prompt.text == "two"

    async def test_a_search_among_the_chats(self, talk: Talk) -> None:
        async with talk.at(*SIZE):
            await talk.answered("why", "because")
            await talk.type_ahead("ctrl+l", "slash", *"xy")
            assert talk.app.screen.query_one(ChatList).search_text == "xy"

    async def test_a_search_in_the_chat_and_a_question(self, talk: Talk) -> None:
        async with talk.at(*SIZE):
            await talk.answered("why", "because")
            await talk.type_ahead("ctrl+f", *"be", "escape", *"two")
            assert talk.prompt.text == "two"

    async def test_another_wording_of_a_question(self, talk: Talk) -> None:
        async with talk.at(*SIZE):
            await talk.answered("why", "because")
            await talk.type_ahead("tab", "up", "e", *" not")
            assert talk.prompt.text == "why not"

    async def test_what_is_typed_reaches_the_field_it_is_meant_for(self, talk: Talk) -> None:
        async with talk.at(*SIZE):
            keys = ["ctrl+b", *["tab"] * 5, "7", "tab", "tab", "6", "4"]
            await talk.type_ahead(*keys)
            assert (talk.chat.options.seed, talk.chat.options.max_tokens) == (7, 64)


class TestModels:
    @pytest.fixture
    def talk(self, tmp_path: Path) -> ModelsTalk:
        return ModelsTalk(tmp_path)

    async def ahead(self, talk: ModelsTalk, *keys: str) -> Input:
        """Press keys, all of them before the first is looked at; return the search's field."""
        for key in keys:
            sign = {"slash": "/", "minus": "-"}.get(key, key if len(key) == 1 else None)
            talk.app.post_message(Key(key, sign))
        return talk.screen.query_one("#models-search", Input)

    async def test_a_slash_leads_to_the_field_and_the_next_is_text(
        self, hub: FakeHub, talk: ModelsTalk
    ) -> None:
        async with talk.at(*SIZE):
            field = await self.ahead(talk, "slash", "t", "x", "slash")
            await talk.until(lambda: field.value == "tx/")
            assert len(talk.app.screen_stack) == 1

    async def test_letters_do_not_overtake_what_empties_the_field(
        self, hub: FakeHub, talk: ModelsTalk
    ) -> None:
        async with talk.at(*SIZE):
            field = await self.ahead(talk, "slash", *"zzz", "end", "ctrl+u", *"llama")
            await talk.until(lambda: field.value.endswith("llama"))
            await talk.until(lambda: talk.text("#models-note") == "1 model")
            assert field.value == "llama"

    async def test_a_key_behind_enter_is_the_lists(self, hub: FakeHub, talk: ModelsTalk) -> None:
        async with talk.at(*SIZE):
            field = await self.ahead(talk, "slash", *"llama", "enter", "d")
            await talk.until(lambda: bool(talk.app.errands.downloads.jobs))
            assert field.value == "llama"
