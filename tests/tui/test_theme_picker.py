"""Choosing a theme: seen while it is looked at, kept with enter, gone with escape."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from textual.widgets import OptionList

from mtplx_tui.config import Settings
from mtplx_tui.screens.theme_picker import ThemePicker
from mtplx_tui.widgets.answer import Answer
from tests.tui.chat_talk import TERMINAL, Talk

GOOD = (Path(__file__).parents[2] / "themes" / "dusk.toml").read_text("utf-8")


async def open_picker(talk: Talk) -> list[str]:
    """Open the list of themes; return its names."""
    talk.app.action_change_theme()
    await talk.settle()
    assert isinstance(talk.app.screen, ThemePicker)
    names = [option.id for option in talk.app.screen.query_one(OptionList).options]
    return [name for name in names if name is not None]


@pytest.mark.asyncio
async def test_a_marked_theme_is_seen_and_escape_brings_the_old_one_back(tmp_path: Path) -> None:
    talk = Talk(tmp_path, settings=Settings(theme="ember"))
    async with talk.at(80, 24):
        names = await open_picker(talk)
        await talk.press("down")
        assert talk.app.theme == names[names.index("ember") + 1]
        background = talk.app.screen_stack[0].background_colors[1].hex
        assert background == talk.app.available_themes[talk.app.theme].background
        await talk.press("escape")
        assert talk.app.theme == "ember"
        assert talk.app.settings.theme == "ember"
    assert "theme" not in talk.app.places.config_file.read_text("utf-8")


@pytest.mark.asyncio
async def test_enter_keeps_the_theme_in_the_settings_file(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    async with talk.at(80, 24):
        names = await open_picker(talk)
        assert talk.app.theme == "dusk"
        await talk.press("down", "enter")
        chosen = names[names.index("dusk") + 1]
        assert talk.app.theme == chosen
    saved = tomllib.loads(talk.app.places.config_file.read_text("utf-8"))
    assert saved["theme"] == chosen


@pytest.mark.slow
@pytest.mark.asyncio
async def test_every_theme_can_be_looked_at(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    async with talk.at(120, 40):
        names = await open_picker(talk)
        assert len(names) >= 9
        for _ in names:
            await talk.press("down")
        assert talk.app.theme == "dusk"


@pytest.mark.asyncio
async def test_the_palette_of_commands_leads_to_the_themes(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    async with talk.at(120, 40):
        await talk.press("ctrl+p", *"theme")
        found = talk.app.screen.query_one(OptionList)
        await talk.until(lambda: found.option_count == 1)
        await talk.press("enter")
        await talk.until(lambda: isinstance(talk.app.screen, ThemePicker))


@pytest.mark.asyncio
async def test_what_was_said_takes_on_the_colours_at_once(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    async with talk.at(120, 40):
        await talk.answered("Why?", "# A heading")
        for theme in ("ember", "paper", "moss"):
            talk.app.theme = theme
            await talk.settle()
            heading = talk.app.screen.query(".turn--answer").last(Answer)._rows[0]
            colors = {str(segment.style) for segment in heading if segment.text.strip()}
            wanted = talk.app.theme_variables["text-primary"].lower()
            assert all(wanted in color for color in colors)


@pytest.mark.asyncio
async def test_a_persons_own_theme_is_offered_and_a_broken_one_named(tmp_path: Path) -> None:
    folder = tmp_path / "config" / "themes"
    folder.mkdir(parents=True)
    (folder / "mine.toml").write_text(GOOD.replace("#7CACF8", "#ABCDEF"), encoding="utf-8")
    (folder / "bad.toml").write_text(GOOD.replace("#7CACF8", "teal-ish"), encoding="utf-8")
    talk = Talk(tmp_path, settings=Settings(theme="mine"))
    async with talk.at(80, 24):
        assert talk.app.theme == "mine"
        assert any("bad.toml" in n and "line 5: primary" in n for n in talk.notices())
        assert "mine" in await open_picker(talk)


@pytest.mark.asyncio
async def test_a_terminal_of_few_colours_keeps_its_own(tmp_path: Path) -> None:
    talk = Talk(tmp_path, terminal=replace(TERMINAL, colors=16))
    async with talk.at(80, 24):
        talk.app.action_change_theme()
        await talk.settle()
        assert not isinstance(talk.app.screen, ThemePicker)
        assert "few colours" in talk.notices()[-1]
