"""How often what the engine says reaches a tab: as the person and the line want it, nothing lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from textual.message import Message

from engine.protocol import CycleDone
from mtplx_tui.config import Settings
from mtplx_tui.messages import EngineChanged
from tests.tui.chat_talk import TERMINAL, Talk


def listen(talk: Talk) -> list[EngineChanged]:
    """Return what the chat tab is told from now on."""
    told: list[EngineChanged] = []
    screen = talk.app.screen
    post = screen.post_message

    def posted(message: Message) -> bool:
        if isinstance(message, EngineChanged):
            told.append(message)
        return post(message)

    setattr(screen, "post_message", posted)  # noqa: B010 - a method in place of another
    return told


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("settings", "is_ssh", "is_joined"),
    [(Settings(), False, False), (Settings(feed_hz=4), False, True), (Settings(), True, True)],
)
async def test_a_slow_pace_joins_what_is_said_and_loses_nothing(
    settings: Settings, is_ssh: bool, is_joined: bool, tmp_path: Path
) -> None:
    talk = Talk(tmp_path, settings=settings, terminal=replace(TERMINAL, is_ssh=is_ssh))
    async with talk.at(80, 24):
        await talk.ask("Why?")
        talk.starts()
        await talk.until(lambda: not talk.app.telling.tab.is_waiting)
        told = listen(talk)
        said = [talk.feed_says(f"word{number} ") for number in range(6)]
        assert (len(told) < 3) is is_joined
        await talk.until(lambda: not talk.app.telling.tab.is_waiting)
        heard = [e for message in told for e in message.events if isinstance(e, CycleDone)]
        assert heard == said
        await talk.until(lambda: any("word5" in text for text in talk.shown()))


@pytest.mark.asyncio
async def test_the_pace_falls_while_drawings_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = Talk(tmp_path)
    async with talk.at(80, 24):
        assert talk.app.telling.pace.interval_s == 0
        monkeypatch.setattr(talk.app, "_waiting_drawings", lambda: 25)
        await talk.app._tick()
        slower = talk.app.telling.pace.interval_s
        assert slower > 0.1
        monkeypatch.setattr(talk.app, "_waiting_drawings", lambda: 0)
        for _ in range(3):
            await talk.app._tick()
        assert talk.app.telling.pace.interval_s == 0
