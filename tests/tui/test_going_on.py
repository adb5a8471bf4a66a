"""Going on where one was: the tab, the chat, the place in it, and what was typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtplx_tui.bookmark import Bookmark, BookmarkFile, read
from mtplx_tui.config import Settings
from mtplx_tui.screens.chat import ChatScreen
from mtplx_tui.widgets.conversation import Conversation
from tests.tui.chat_talk import Talk

LONG = "\n\n".join(f"Line {number} of the answer." for number in range(60))


def file_of(folder: Path) -> BookmarkFile:
    """Return the file of bookmarks."""
    return BookmarkFile(folder / "data" / "state" / "bookmark.json")


def kept(folder: Path) -> Bookmark:
    """Return the place on disk."""
    file = file_of(folder)
    file.close()
    return file.now


def keep(folder: Path, place: Bookmark) -> None:
    """Put a place on disk."""
    file = file_of(folder)
    file.now = place
    file.close()


@pytest.mark.asyncio
async def test_the_draft_is_there_again(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    async with talk.at(80, 24):
        await talk.press(*"half a")
    again = Talk(tmp_path)
    async with again.at(80, 24):
        assert again.prompt.text == "half a"
        await again.press(*"n")
        assert again.prompt.text == "half an"


@pytest.mark.asyncio
async def test_a_draft_is_on_disk_after_a_tick(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    async with talk.at(80, 24):
        talk.prompt.insert("do not lose this")
        await talk.settle()
        await talk.app._tick()
        assert "do not lose this" in talk.app.places.bookmark.read_text("utf-8")


@pytest.mark.asyncio
async def test_a_draft_with_a_large_paste_comes_back_whole(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    async with talk.at(80, 24):
        talk.prompt.put("x" * 50_000)
        await talk.settle()
    again = Talk(tmp_path)
    async with again.at(80, 24):
        assert again.prompt.full_text == "x" * 50_000


@pytest.mark.asyncio
async def test_the_open_chat_and_the_tab_are_there_again(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    async with talk.at(80, 24):
        await talk.answered("Why?", "Because.")
        await talk.press("f5")
        chat = talk.chat.id
    again = Talk(tmp_path)
    async with again.at(80, 24):
        assert again.app.current_mode == "thermals"
        assert again.chat.id == chat
        await again.press("f2")
        assert any("Because." in text for text in again.shown())


@pytest.mark.asyncio
async def test_a_chat_left_before_the_first_tick_is_there_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtplx_tui.app.TICK_S", 3600)
    talk = Talk(tmp_path)
    async with talk.at(80, 24):
        await talk.answered("Why?", "Because.")
    again = Talk(tmp_path)
    async with again.at(80, 24):
        assert again.chat.id == talk.chat.id
        assert any("Because." in text for text in again.shown())


@pytest.mark.asyncio
async def test_the_open_chat_is_told_on_disk_before_more_of_its_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtplx_tui.app.TICK_S", 3600)
    told: list[str] = []
    talk = Talk(tmp_path)
    async with talk.at(80, 24):
        await talk.ask("Why?")
        talk.starts()
        await talk.says("Because")
        path = talk.app.places.bookmark
        monkeypatch.setattr(talk.app.desk, "tick", lambda: told.append(read(path)[0].chat))
        await talk.app._tick()
        assert told == [talk.chat.id]


@pytest.mark.asyncio
async def test_what_was_sent_is_no_draft_any_more(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    async with talk.at(80, 24):
        await talk.answered("Why?", "Because.")
    assert kept(tmp_path).draft == ""


@pytest.mark.asyncio
async def test_the_place_in_a_long_chat_is_there_again(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    async with talk.at(80, 24):
        await talk.answered("First?", LONG)
        await talk.answered("Second?", LONG)
        conversation = talk.app.screen.query_one(Conversation)
        conversation.release_anchor()
        conversation.scroll_to(y=40, animate=False)
        await talk.settle()
        assert round(conversation.scroll_y) == 40
    again = Talk(tmp_path)
    async with again.at(80, 24):
        there = again.app.screen.query_one(Conversation)
        await again.until(lambda: round(there.scroll_y) == 40)
        await again.settle()
        assert round(there.scroll_y) == 40


@pytest.mark.asyncio
async def test_a_place_far_above_the_first_page_is_there_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtplx_tui.widgets.conversation.FIRST_ROWS", 100)
    talk = Talk(tmp_path)
    async with talk.at(80, 24):
        for number in range(4):
            await talk.answered(f"Number {number}?", LONG)
        await talk.press("ctrl+home")
        conversation = talk.app.screen.query_one(Conversation)
        assert conversation.first == 0
        conversation.scroll_to(y=12, animate=False)
        await talk.settle()
    again = Talk(tmp_path)
    async with again.at(80, 24):
        there = again.app.screen.query_one(Conversation)
        await again.until(lambda: round(there.scroll_y) == 12)


@pytest.mark.asyncio
async def test_a_chat_left_at_its_end_is_opened_there_and_followed(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    async with talk.at(80, 24):
        await talk.answered("First?", LONG)
        assert talk.app.bookmark.now.turn == ""
    again = Talk(tmp_path)
    async with again.at(80, 24):
        there = again.app.screen.query_one(Conversation)
        await again.until(lambda: there.max_scroll_y > 0)
        assert there.is_vertical_scroll_end


@pytest.mark.asyncio
async def test_an_edit_of_an_earlier_question_goes_on(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    async with talk.at(80, 24):
        await talk.answered("Why?", "Because.")
        question = talk.path()[0].id
        await talk.press(*"later")
        screen = talk.app.screen
        assert isinstance(screen, ChatScreen)
        screen.edit(talk.path()[0])
        await talk.press(*" not")
    again = Talk(tmp_path)
    async with again.at(80, 24):
        assert again.prompt.text == "Why? not"
        await again.press("escape")
        assert again.prompt.text == "later"
        assert question in again.chat.turns


@pytest.mark.asyncio
async def test_a_chat_that_is_gone_leaves_the_draft(tmp_path: Path) -> None:
    keep(tmp_path, Bookmark("chat", "20270101-000000-gone", "t1", 4, "still here", "t1", "aside"))
    again = Talk(tmp_path)
    async with again.at(80, 24):
        assert again.prompt.text == "still here"
        assert not again.path()
        assert again.notices() == []


@pytest.mark.asyncio
async def test_a_tab_that_does_not_exist_is_the_chat(tmp_path: Path) -> None:
    keep(tmp_path, Bookmark(tab="kitchen"))
    async with Talk(tmp_path).at(80, 24) as again:
        assert again.app.current_mode == "chat"


@pytest.mark.asyncio
async def test_a_broken_bookmark_is_told_once(tmp_path: Path) -> None:
    keep(tmp_path, Bookmark(draft="x"))
    (tmp_path / "data" / "state" / "bookmark.json").write_text("{", encoding="utf-8")
    async with Talk(tmp_path).at(80, 24) as again:
        assert [n for n in again.notices() if "damaged" in n]


@pytest.mark.asyncio
async def test_who_wants_a_fresh_start_gets_one(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    async with talk.at(80, 24):
        await talk.answered("Why?", "Because.")
        await talk.press(*"half")
    async with Talk(tmp_path, settings=Settings(restore=False)).at(80, 24) as again:
        assert again.prompt.text == ""
        assert not again.path()
