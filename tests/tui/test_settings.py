"""The settings and the keys, as a person changes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Input, OptionList, Static

from engine.protocol import LimitPrefixes, Mode
from mtplx_tui import config
from mtplx_tui.config import Settings
from mtplx_tui.screens.key_settings import KeySettings, PressKey
from mtplx_tui.screens.settings import SettingsScreen
from mtplx_tui.settings_schema import SCHEMA
from tests.tui.chat_talk import Talk


def settings_of(folder: Path, text: str) -> Path:
    """Write a config.toml for an app in a folder."""
    file = folder / "config" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    return file


async def go_to(talk: Talk, name: str) -> None:
    """Open the settings at one of them."""
    if not isinstance(talk.app.screen, SettingsScreen):
        await talk.press("f8")
    listed = talk.app.screen.query_one(OptionList)
    listed.highlighted = listed.get_option_index(name)
    await talk.settle()


async def saved(talk: Talk) -> str:
    """Return the file once everything is written."""
    await talk.until(lambda: not talk.app.preferences.is_saving)
    await talk.settle()
    file = talk.app.places.config_file
    return file.read_text() if file.exists() else ""


async def enter(talk: Talk, text: str) -> None:
    """Type another value for the setting under the cursor."""
    await talk.press("enter")
    talk.app.screen.query_one(Input).value = text
    await talk.press("enter")


def detail(talk: Talk) -> str:
    return str(talk.app.screen.query_one("#settings-detail", Static).content)


class TestSettings:
    async def test_every_setting_is_listed_with_its_explanation(self, tmp_path: Path) -> None:
        async with (talk := Talk(tmp_path)).at(120, 40):
            for name, setting in SCHEMA.items():
                await go_to(talk, name)
                assert setting.explanation in detail(talk)
                assert str(setting.effect) in detail(talk)
                assert setting.allowed in detail(talk)

    async def test_a_change_counts_at_once_and_is_kept(self, tmp_path: Path) -> None:
        file = settings_of(tmp_path, "# mine\n")
        async with (talk := Talk(tmp_path)).at(80, 24):
            await go_to(talk, "depth")
            await enter(talk, "4")
            assert talk.app.desk.chat.options.depth == 4
            assert "depth = 4\n" in await saved(talk)
            assert file.read_text().startswith("# mine\n")
            assert "from     config.toml, line" in detail(talk)
            await talk.press("r")
            assert talk.app.desk.chat.options.depth is None
            assert "depth" not in await saved(talk)

    async def test_a_wrong_value_is_told_as_it_is_typed(self, tmp_path: Path) -> None:
        async with (talk := Talk(tmp_path)).at(80, 24):
            await go_to(talk, "server_port")
            await talk.press("enter")
            await talk.press("9", "x")
            error = talk.app.screen.query_one(".dialog--error", Static)
            assert str(error.content) == "must be a whole number between 0 and 65535"
            await talk.press("enter", "escape")
            assert talk.app.settings.server_port == 8080

    async def test_each_kind_takes_effect(self, tmp_path: Path) -> None:
        async with (talk := Talk(tmp_path)).at(120, 40):
            await go_to(talk, "temperature")
            await enter(talk, "0.25")
            assert talk.chat.options.temperature == 0.25
            await go_to(talk, "mode")
            await talk.press("enter", "down", "enter")
            assert talk.chat.options.mode is Mode.BLOCK
            await go_to(talk, "theme")
            await talk.press("enter")
            names = ["auto", *sorted(talk.app.available_themes)]
            talk.app.screen.query_one(OptionList).highlighted = names.index("paper")
            await talk.press("enter")
            assert talk.app.theme == "paper"
            await go_to(talk, "prefix_memory")
            await enter(talk, "2GB")
            assert talk.app.sent[-1] == LimitPrefixes(memory_bytes=2_000_000_000)
            await go_to(talk, "server_port")
            await enter(talk, "9000")
            assert talk.app.serving.address == "http://127.0.0.1:9000"
            await go_to(talk, "download_limit")
            await enter(talk, "3MB")
            assert talk.app.errands.downloads.limiter.bytes_per_s == 3e6
            await go_to(talk, "notify")
            await talk.press("enter")
            assert not talk.app.settings.notify
            await saved(talk)
            loaded, problems = config.load_settings(talk.app.places)
            assert problems == ()
            assert loaded == talk.app.settings

    async def test_the_file_s_mistake_is_shown_where_it_stands(self, tmp_path: Path) -> None:
        settings_of(tmp_path, "a = 1\nfeed_hz = 99\n")
        async with (talk := Talk(tmp_path)).at(80, 24):
            await go_to(talk, "feed_hz")
            assert "line 2: feed_hz must be a whole number between 1 and 10, not 99" in detail(talk)

    async def test_the_environment_goes_before_the_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MTPLX_TUI_BLAS", "stock")
        async with (talk := Talk(tmp_path)).at(80, 24):
            await go_to(talk, "blas")
            assert "MTPLX_TUI_BLAS in the environment" in detail(talk)
            await talk.press("enter")
            assert "MTPLX_TUI_BLAS is set in the environment" in talk.notices()[-1]

    async def test_what_can_t_be_written_counts_for_this_run(self, tmp_path: Path) -> None:
        (tmp_path / "config").write_text("in the way")
        async with (talk := Talk(tmp_path)).at(80, 24):
            await go_to(talk, "depth")
            await enter(talk, "2")
            await talk.until(lambda: not talk.app.preferences.is_saving)
            await talk.settle()
            assert talk.app.desk.chat.options.depth == 2
            told = [notice for notice in talk.notices() if "settings not saved" in notice]
            assert told
            assert not any("Errno" in notice for notice in told)
            assert "it is not in the file" in detail(talk)

    async def test_a_newer_program_s_file_is_written_when_it_is_allowed(
        self, tmp_path: Path
    ) -> None:
        text = 'version = 2\nlast_model = "tests/tiny"\nlast_model_of = "x"\n'
        file = settings_of(tmp_path, text)
        async with (talk := Talk(tmp_path)).at(80, 24):
            await go_to(talk, "depth")
            await enter(talk, "2")
            await talk.press("n")
            assert await saved(talk) == text
            assert talk.app.desk.chat.options.depth == 2
            await enter(talk, "3")
            await talk.press("y")
            assert "depth = 3\n" in await saved(talk)
            assert file.read_text().startswith(text)

    async def test_new_chats_begin_as_the_settings_say(self, tmp_path: Path) -> None:
        settings = Settings(temperature=0.1, max_tokens=7)
        async with (talk := Talk(tmp_path, settings=settings)).at(80, 24):
            assert (talk.chat.options.temperature, talk.chat.options.max_tokens) == (0.1, 7)
            await talk.answered("Why?", "So.")
            await go_to(talk, "temperature")
            await enter(talk, "0.9")
            await talk.press("escape")
            assert talk.chat.options.temperature == 0.1
            await talk.press("ctrl+n")
            assert talk.chat.options.temperature == 0.9

    async def test_limits_of_what_is_kept_reach_an_engine_that_starts(self, tmp_path: Path) -> None:
        settings = Settings(prefix_memory="0", prefix_disk="1GB")
        async with (talk := Talk(tmp_path, settings=settings)).at(80, 24):
            assert LimitPrefixes(memory_bytes=0, disk_bytes=10**9) in talk.app.sent


async def test_a_theme_that_is_not_there_is_told(tmp_path: Path) -> None:
    async with (talk := Talk(tmp_path, settings=Settings(theme="nope"))).at(80, 24):
        assert any("there is no theme 'nope'; dusk is used" in text for text in talk.notices())


async def key_page(talk: Talk, name: str) -> None:
    """Open the keys at an action."""
    if not isinstance(talk.app.screen, KeySettings):
        await talk.press("f8", "k")
    listed = talk.app.screen.query_one(OptionList)
    listed.highlighted = listed.get_option_index(name)
    await talk.settle()


class TestKeys:
    async def test_a_new_key_works_and_the_old_one_no_more(self, tmp_path: Path) -> None:
        async with (talk := Talk(tmp_path)).at(120, 40):
            await key_page(talk, "chat.new")
            await talk.press("enter", "ctrl+e")
            assert talk.app.places.keymap_file.read_text() == '"chat.new" = "ctrl+e"\n'
            await talk.press("escape", "escape")
            await talk.answered("Why?", "So.")
            old = talk.chat.id
            await talk.press("ctrl+n")
            assert talk.chat.id == old
            await talk.press("ctrl+e")
            assert talk.chat.id != old

    @pytest.mark.parametrize(
        ("key", "reason"),
        [
            ("ctrl+l", "it is for “chats” (Chat)"),
            ("f2", "it is for “chat” (Everywhere)"),
            ("ctrl+q", "it is for “leave” (Everywhere)"),
            ("x", "x is needed to type"),
            ("tab", "tab is needed to type"),
        ],
    )
    async def test_what_stands_against_a_key_is_told_before_it_is_kept(
        self, tmp_path: Path, key: str, reason: str
    ) -> None:
        async with (talk := Talk(tmp_path)).at(80, 24):
            await key_page(talk, "chat.new")
            await talk.press("enter", key)
            assert isinstance(talk.app.screen, PressKey)
            assert reason in str(talk.app.screen.query_one(".dialog--error", Static).content)
            await talk.press("escape")
            assert not talk.app.places.keymap_file.exists()

    async def test_one_is_reset_and_then_all(self, tmp_path: Path) -> None:
        file = tmp_path / "config" / "keymap.toml"
        settings_of(tmp_path, "")
        file.write_text(
            '# mine\n"chat.new" = "ctrl+e"\n"chat.list" = "alt+w"\n"chat.fold" = "f10"\n'
        )
        async with (talk := Talk(tmp_path)).at(80, 24):
            await key_page(talk, "chat.new")
            await talk.press("r")
            assert file.read_text() == '# mine\n"chat.list" = "alt+w"\n"chat.fold" = "f10"\n'
            await talk.press("x", "y")
            assert file.read_text() == "# mine\n"
            assert talk.app.keys.changed == {}

    async def test_texts_everywhere_show_the_real_keys(self, tmp_path: Path) -> None:
        settings_of(tmp_path, "")
        (tmp_path / "config" / "keymap.toml").write_text(
            '"app.chat" = "alt+w"\n"app.open_model" = "f10"\n"app.restart" = "alt+r"\n'
            '"app.keys" = "f11"\n"app.palette" = "alt+p"\n"chat.stop" = "alt+z"\n'
        )
        async with (talk := Talk(tmp_path)).at(120, 40):
            assert "alt+w Chat" in talk.text_of("TabBar")
            assert "F11 keys  alt+p commands" in talk.text_of("TabBar")
            assert "F10" in talk.text_of("#welcome")
            await talk.ask("Why?")
            talk.starts()
            await talk.says("So")
            assert talk.prompt.border_subtitle is not None
            assert talk.prompt.border_subtitle.startswith("alt+z stops")
            await talk.dies()
            assert "alt+r starts it" in talk.status()
            await talk.press("f11")
            page = str(talk.app.screen.query_one("KeyHelp Static", Static).content)
            assert "F9" in page
            assert "alt+r" in page
            await talk.press("f11")
            await talk.ask("And?")
            assert "alt+r starts it again" in talk.notices()[-1]

    async def test_a_broken_line_is_told_at_the_start(self, tmp_path: Path) -> None:
        settings_of(tmp_path, "")
        (tmp_path / "config" / "keymap.toml").write_text('"chat.new" = "n"\n')
        async with (talk := Talk(tmp_path)).at(80, 24):
            assert any("keymap.toml:1: chat.new: n is needed" in text for text in talk.notices())
