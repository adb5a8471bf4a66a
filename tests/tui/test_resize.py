"""A terminal whose size changes fast: whatever came between, what is shown at last is right."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from mtplx_tui.screens.too_small import TooSmall
from tests.fakes import streams
from tests.tui.chat_talk import Talk

pytestmark = pytest.mark.slow

SIZES = [(1, 1), (1, 24), (80, 1), (59, 16), (60, 15), (79, 23), (80, 24), (300, 100), (120, 40)]


def seen(talk: Talk) -> str:
    """Return what is on the screen, as the compositor would draw it now."""
    return "\n".join(strip.text for strip in talk.app.screen._compositor.render_strips())


@pytest.mark.asyncio
@pytest.mark.parametrize("tab", ["f2", "f3"])
@pytest.mark.parametrize("last", [(79, 23), (300, 100)])
async def test_a_storm_of_sizes_ends_in_a_whole_screen(
    tab: str, last: tuple[int, int], tmp_path: Path
) -> None:
    chance = random.Random(f"{tab}{last}")
    talk = Talk(tmp_path)
    async with talk.at(80, 24):
        await talk.ask("Why is the sky blue?")
        await talk.plays(streams.answer()[:-2])
        await talk.press(tab)
        for _ in range(3):
            for _ in range(chance.choice([1, 2, 5])):
                await talk.pilot.resize_terminal(*chance.choice(SIZES))
            await talk.pilot.resize_terminal(1, 1)
            await talk.pilot.resize_terminal(*last)
            await talk.pilot.pause()
            await talk.until(lambda: not isinstance(talk.app.screen, TooSmall))
            await talk.pilot.pause()
            text = seen(talk)
            assert "F2" in text
            assert "generating" in text.splitlines()[-1]
            assert len(text.splitlines()) == last[1]


@pytest.mark.asyncio
async def test_one_cell_has_room_for_the_card_alone(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    async with talk.at(80, 24):
        await talk.pilot.resize_terminal(1, 1)
        await talk.until(lambda: isinstance(talk.app.screen, TooSmall))
        await talk.pilot.resize_terminal(40, 10)
        await talk.settle()
        assert "too small" in seen(talk)


@pytest.mark.asyncio
async def test_a_window_that_grew_is_tight_no_more(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    async with talk.at(79, 23):
        assert "79 × 23 is tight" in talk.status()
        await talk.pilot.resize_terminal(120, 40)
        await talk.settle()
        assert "tight" not in talk.status()
        assert "ready" in talk.status()
