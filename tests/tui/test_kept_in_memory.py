"""What the app lets go: rows of widgets that are gone, and turns far above what is read."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from textual._styles_cache import StylesCache

from mtplx_tui.screens.chat import ChatScreen
from mtplx_tui.widgets.conversation import Conversation
from tests.fakes.streams import MODEL
from tests.tui.chat_talk import Talk

ROUNDS = 5
LONG = "line\n\n" * 60


def painters() -> int:
    """Return how many caches of painted rows there are: one a widget."""
    gc.collect()
    return sum(type(thing) is StylesCache for thing in gc.get_objects())


@pytest.mark.asyncio
async def test_closed_pages_and_left_chats_keep_no_rows(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    async with talk.at(120, 40):
        counts = []
        for number in range(ROUNDS):
            await talk.answered(f"Number {number}?", "Yes.")
            await talk.press("f1")
            await talk.press("escape")
            await talk.press("ctrl+n")
            counts.append(painters())
        assert counts[-1] <= counts[1]


@pytest.mark.asyncio
async def test_a_chat_that_is_followed_shows_no_more_turns_in_the_end(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    async with talk.at(120, 40):
        shown = []
        for number in range(8):
            await talk.answered(f"Number {number}?", LONG)
            shown.append(len(talk.shown()))
        assert shown[-1] == shown[-3] < 16


@pytest.mark.asyncio
async def test_turns_above_stay_while_a_person_reads_there(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    async with talk.at(120, 40):
        for number in range(5):
            await talk.answered(f"Number {number}?", LONG)
        conversation = talk.app.screen.query_one(Conversation)
        first = conversation.first
        assert first > 0
        await talk.press("pageup")
        talk.app.desk.ask("a long one\n" * 80, MODEL)
        screen = talk.app.screen
        assert isinstance(screen, ChatScreen)
        screen.bring_up_to_date()
        await talk.settle()
        assert conversation.first == first
