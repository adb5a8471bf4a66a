from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from engine.protocol import Mode
from mtplx_tui import config, settings_file
from mtplx_tui.config import Settings
from mtplx_tui.files import Places
from mtplx_tui.setting_kinds import Choice, Flag, Number, Size, Whole
from mtplx_tui.settings_file import NewerFile, Origin, Source
from mtplx_tui.settings_schema import SCHEMA, Setting
from mtplx_tui.toml_edit import with_value

NAMES = [
    "MTPLX_TUI_HOME",
    "MTPLX_TUI_BLAS",
    "NO_COLOR",
    "TERM",
    "COLORTERM",
    "SSH_CONNECTION",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "XDG_CACHE_HOME",
]
HAND_WRITTEN = """\
# My settings.
theme = "mine"   # the dark one, "#1"
depth=5# fast
future = [
  1,  # kept
  2,
]
note = '''
depth = 7
[not a section]
'''

[server] # later
depth = 1
"""


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path, tmp_path, tmp_path / "cache")


def write(places: Places, text: str) -> None:
    places.config_file.write_text(text, "utf-8")


class TestPlaces:
    def test_home_holds_everything(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("MTPLX_TUI_HOME", str(tmp_path / "home"))
        places = config.find_places()
        assert places.config_file == tmp_path / "home" / "config.toml"
        assert places.chats == tmp_path / "home" / "chats"
        assert places.cache.is_relative_to(tmp_path / "home")

    def test_a_relative_home_is_one_from_here(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("MTPLX_TUI_HOME", "here")
        assert config.find_places().data == tmp_path / "here"

    def test_without_it_the_platform_decides(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.delenv("XDG_DATA_HOME", raising=False)
        places = config.find_places()
        assert places.data.is_relative_to(tmp_path)
        assert places.data.name == "mtplx-tui"

    @pytest.mark.parametrize(
        ("name", "value", "folder"),
        [
            ("HF_HUB_CACHE", "/big/hub", "/big/hub"),
            ("HF_HOME", "/big/hf", "/big/hf/hub"),
            ("XDG_CACHE_HOME", "/big", "/big/huggingface/hub"),
            ("LANG", "C", "/home/me/.cache/huggingface/hub"),
        ],
    )
    def test_the_hub_cache(
        self, monkeypatch: pytest.MonkeyPatch, name: str, value: str, folder: str
    ) -> None:
        monkeypatch.setenv("HOME", "/home/me")
        monkeypatch.setenv(name, value)
        assert config.find_hub_cache() == Path(folder)


class TestLoad:
    def test_without_a_file_there_are_the_defaults(self, places: Places) -> None:
        assert config.load_settings(places) == (Settings(), ())

    def test_values_are_read(self, places: Places) -> None:
        write(places, 'blas = "stock"\ndepth = 0\nmode = "seeded"\nlast_model = "a/b"\n')
        settings, problems = config.load_settings(places)
        assert problems == ()
        assert settings == Settings(blas="stock", depth=0, mode=Mode.SEEDED, last_model="a/b")
        assert isinstance(settings.mode, Mode)

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            ("depth = 9", "depth must be a whole number between 0 and 8, or auto, not 9"),
            ("depth = true", "depth must be a whole number between 0 and 8, or auto, not True"),
            ('depth = "3"', "depth must be a whole number between 0 and 8, or auto, not '3'"),
            ('blas = "mkl"', "blas must be auto or stock, not 'mkl'"),
            ('mode = "blocks"', "mode must be token or block or seeded, not 'blocks'"),
            ("mode = [1]", "mode must be token or block or seeded, not [1]"),
            ("theme = 1", "theme must be a text in quotes, not 1"),
            ("feed_hz = 0", "feed_hz must be a whole number between 1 and 10, not 0"),
            ("notify = 1", "notify must be true or false, not 1"),
            ('restore = "no"', "restore must be true or false, not 'no'"),
        ],
    )
    def test_a_wrong_value_is_named_with_file_line_and_key(
        self, places: Places, line: str, reason: str
    ) -> None:
        write(places, f'# one\nlast_model = "x"\n{line}\n')
        settings, problems = config.load_settings(places)
        assert problems == (f"{places.config_file}:3: {reason}",)
        assert settings == Settings(last_model="x")

    def test_a_slip_of_the_pen_is_told_a_foreign_key_is_not(self, places: Places) -> None:
        write(places, "dept = 3\nfuture_thing = 1\n[server]\nport = 1\n")
        _, problems = config.load_settings(places)
        assert problems == (f"{places.config_file}:1: dept is no setting; depth is",)

    @pytest.mark.parametrize("content", [b"depth = \n", b"\xff\xfe", b"a = 1\na = 2\n"])
    def test_a_file_that_is_no_toml_is_named(self, places: Places, content: bytes) -> None:
        places.config_file.write_bytes(content)
        settings, problems = config.load_settings(places)
        assert settings == Settings()
        assert len(problems) == 1
        assert problems[0].startswith(str(places.config_file))
        assert "the defaults are used" in problems[0]

    def test_a_syntax_error_has_its_line(self, places: Places) -> None:
        write(places, "depth = 3\ntheme = \n")
        assert "line 2" in config.load_settings(places)[1][0]

    def test_a_folder_in_its_place_is_named(self, places: Places) -> None:
        places.config_file.mkdir()
        settings, problems = config.load_settings(places)
        assert settings == Settings()
        assert str(places.config_file) in problems[0]

    def test_a_byte_order_mark_does_no_harm(self, places: Places) -> None:
        write(places, "\ufeffdepth = 4\n")
        assert config.load_settings(places) == (Settings(depth=4), ())

    def test_the_environment_goes_before_the_file(
        self, places: Places, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(places, 'blas = "auto"\n')
        monkeypatch.setenv("MTPLX_TUI_BLAS", "stock")
        assert config.load_settings(places)[0].blas == "stock"

    def test_a_wrong_environment_is_named(
        self, places: Places, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MTPLX_TUI_BLAS", "mkl")
        settings, problems = config.load_settings(places)
        assert settings.blas == "auto"
        assert problems == ("environment: MTPLX_TUI_BLAS must be auto or stock, not 'mkl'",)


class TestSave:
    def test_it_comes_back(self, places: Places) -> None:
        config.save_settings(places, depth=0, mode=Mode.SEEDED, last_model='C:\\a "b"\x7f\nü')
        settings, problems = config.load_settings(places)
        assert problems == ()
        assert settings == Settings(depth=0, mode=Mode.SEEDED, last_model='C:\\a "b"\x7f\nü')

    def test_comments_and_unknown_keys_survive(self, places: Places) -> None:
        write(places, HAND_WRITTEN)
        config.save_settings(places, depth=2, theme="light", feed_hz=5)
        expected = (
            HAND_WRITTEN.replace('theme = "mine" ', 'theme = "light" ')
            .replace("depth=5#", "depth = 2#")
            .replace("\n[server]", "\nfeed_hz = 5\n[server]")
        )
        assert places.config_file.read_text("utf-8") == expected

    def test_none_takes_a_setting_out(self, places: Places) -> None:
        write(places, HAND_WRITTEN)
        config.save_settings(places, depth=None, last_model=None)
        assert places.config_file.read_text("utf-8") == HAND_WRITTEN.replace("depth=5# fast\n", "")

    def test_a_file_that_is_no_toml_is_left_alone(self, places: Places) -> None:
        write(places, "depth = \n")
        with pytest.raises(OSError, match=r"can't be changed: Invalid value .at line 1"):
            config.save_settings(places, depth=2)
        assert places.config_file.read_text() == "depth = \n"

    @pytest.mark.parametrize("changes", [{"depth": 9}, {"nonsense": 1}, {"blas": "mkl"}])
    def test_what_could_not_be_read_back_is_refused(
        self, places: Places, changes: dict[str, object]
    ) -> None:
        with pytest.raises(ValueError, match=r"must be|no setting"):
            config.save_settings(places, **changes)
        assert not places.config_file.exists()

    def test_a_name_no_file_can_hold_is_the_callers_to_show(self, places: Places) -> None:
        with pytest.raises(OSError, match="broken character"):
            config.save_settings(places, last_model="/models/\udcff")

    def test_a_home_that_refuses_is_the_callers_to_show(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        home = tmp_path / "file"
        with pytest.raises(OSError, match="Not a directory"):
            config.save_settings(Places(home, home, home), depth=2)


class TestSchema:
    @pytest.mark.parametrize("name", SCHEMA)
    def test_every_default_may_be_written_in_the_file(self, places: Places, name: str) -> None:
        setting = SCHEMA[name]
        shown = setting.shown(setting.default)
        if setting.default is None and not setting.kind.word:
            return
        assert setting.read(shown) == setting.default
        config.save_settings(places, **{name: setting.default})
        assert config.load_settings(places) == (Settings(), ())

    @pytest.mark.parametrize("name", SCHEMA)
    @pytest.mark.parametrize("seed", range(8))
    def test_any_value_goes_through_the_file_and_leaves_all_else(
        self, places: Places, name: str, seed: int
    ) -> None:
        value = any_value(SCHEMA[name], random.Random(f"{name}{seed}"))
        foreign = HAND_WRITTEN.replace("depth=5# fast\n", "").replace('theme = "mine"', "odd = 1")
        write(places, foreign)
        config.save_settings(places, **{name: value})
        settings, problems = config.load_settings(places)
        assert getattr(settings, name) == value
        assert type(getattr(settings, name)) is type(value)
        assert [p for p in problems if "in [server]" not in p] == []
        text = places.config_file.read_text("utf-8")
        content, before = tomllib.loads(text), tomllib.loads(foreign)
        content.pop(name, None)
        assert content == before
        assert all(line in text.splitlines() for line in foreign.splitlines())
        assert SCHEMA[name].read(SCHEMA[name].shown(value)) == value

    @pytest.mark.parametrize("name", SCHEMA)
    @pytest.mark.parametrize("value", [[], {}, "", " ", -1, 10**400, 1e308, float("nan")])
    def test_nonsense_is_refused_and_what_would_do_is_told(self, name: str, value: object) -> None:
        with pytest.raises(ValueError, match=re.escape(f"must be {SCHEMA[name].allowed}")):
            SCHEMA[name].check(value)

    @pytest.mark.parametrize("setting", SCHEMA.values(), ids=SCHEMA)
    def test_it_is_told_in_whole_sentences(self, setting: Setting) -> None:
        assert setting.explanation[0].isupper()
        assert setting.explanation.endswith(".")
        assert setting.default is None or setting.check(setting.default) == setting.default


def any_value(setting: Setting, chance: random.Random) -> object:
    """Return a value that a setting may have."""
    kind = setting.kind
    if kind.word and chance.random() < 0.2:
        return None
    match kind:
        case Whole(least=least, most=most):
            return chance.randint(least, most)
        case Number(least=least, most=most):
            return round(chance.uniform(least, most), 4) or most
        case Size():
            return chance.choice(["20MB", "1.5GB", "7", "3k/s"])
        case Flag():
            return chance.random() < 0.5
        case Choice(options=options):
            return chance.choice(options)
    return "x" + "".join(chance.choices("ab/ \"'#=[]\\\n\tüß語", k=12)) + "x"


class TestSources:
    def test_each_value_tells_where_it_comes_from(
        self, places: Places, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(places, 'note = """\ndepth = 4\n"""\ndepth = 5\nblas = "auto"\nmode = "fast"\n')
        monkeypatch.setenv("MTPLX_TUI_BLAS", "stock")
        sources = config.read_settings(places).sources
        assert sources.keys() == SCHEMA.keys()
        assert sources["depth"] == Source(Origin.FILE, 4)
        assert sources["blas"] == Source(Origin.ENVIRONMENT)
        assert sources["top_p"] == Source(Origin.MODEL)
        assert sources["theme"] == Source(Origin.DEFAULT)
        assert sources["mode"].origin is Origin.DEFAULT
        assert sources["mode"].line == 6
        assert "must be token or block or seeded" in sources["mode"].problem


class TestMistakes:
    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("Depth = 3\n", "1: Depth is no setting; depth is"),
            ('[ui]\n\ntheme = "dusk"\n', "3: theme in [ui] is no setting; settings stand above"),
            ("[depth]\nvalue = 3\n", "1: depth must be a whole number"),
            ("depth.value = 3\n", "1: depth must be a whole number"),
            ("version = 0\n", "1: version must be 1, not 0"),
            ('version = "2"\n', "1: version must be 1, not '2'"),
            ('a = 1\ndepth = """\n3"""\n', "2: depth must be"),
        ],
    )
    def test_it_is_told_with_its_line(self, places: Places, text: str, problem: str) -> None:
        write(places, text)
        settings, problems = config.load_settings(places)
        assert settings == Settings()
        assert len(problems) == 1
        assert problems[0].startswith(f"{places.config_file}:{problem}")

    @pytest.mark.parametrize(
        "text", ["a = " + "9" * 5_000, "a = " + "[" * 50_000, "a = 1\x00", "'", "=\n", "[a\n"]
    )
    def test_no_text_at_all_ends_the_app(self, places: Places, text: str) -> None:
        write(places, text)
        settings, problems = config.load_settings(places)
        assert settings == Settings()
        assert len(problems) == 1
        with pytest.raises(OSError, match="can't be changed"):
            config.save_settings(places, depth=1)
        assert places.config_file.read_text("utf-8") == text

    def test_a_pipe_in_its_place_is_not_waited_for(self, places: Places) -> None:
        os.mkfifo(places.config_file)
        assert config.load_settings(places)[1] == (
            f"{places.config_file}: it is not a file; the defaults are used",
        )


class TestNewerFile:
    TEXT = 'version = 3\ndepth = { first = 2 } # by day\ntheme = "paper"\nshape = "round"\n'

    def test_what_is_known_of_it_is_read_and_told_in_one_line(self, places: Places) -> None:
        write(places, self.TEXT)
        loaded = config.read_settings(places)
        assert loaded.newer == 3
        assert loaded.settings == Settings(theme="paper")
        assert len(loaded.problems) == 1
        assert "version 3, this program knows 1" in loaded.problems[0]
        assert "but for depth" in loaded.problems[0]

    def test_it_is_not_written_unasked(self, places: Places) -> None:
        write(places, self.TEXT)
        with pytest.raises(NewerFile, match="version 3"):
            config.save_settings(places, depth=2)
        assert places.config_file.read_text("utf-8") == self.TEXT

    def test_when_it_is_all_but_the_value_stays(self, places: Places) -> None:
        write(places, self.TEXT)
        settings_file.write(places.config_file, {"depth": 2}, writes_newer=True)
        assert places.config_file.read_text("utf-8") == self.TEXT.replace("{ first = 2 }", "2")


class TestTomlEdit:
    @pytest.mark.parametrize("value", ["x", "#", '"', 3, -1.5, 1e300, True])
    def test_any_value_in_any_place(self, value: object) -> None:
        for key, section in (("theme", ""), ("depth", "server"), ("fresh", ""), ("port", "new")):
            text = with_value(HAND_WRITTEN, key, value, section)
            content, old = tomllib.loads(text), tomllib.loads(HAND_WRITTEN)
            (content[section] if section else content)[key] = None
            (old.setdefault(section, {}) if section else old)[key] = None
            assert content == old
            assert text.count("#") - HAND_WRITTEN.count("#") == str(value).count("#")

    def test_a_value_over_several_lines_is_replaced_whole(self) -> None:
        assert with_value("a = [\n 1,\n 2,\n]\nb = 2\n", "a", 5) == "a = 5\nb = 2\n"

    def test_the_last_line_needs_no_end(self) -> None:
        assert with_value("a = 1", "b", 2) == "a = 1\nb = 2\n"

    def test_a_value_that_is_there_changes_nothing(self) -> None:
        assert with_value("a  =  1 # x", "a", 1) == "a  =  1 # x"

    def test_what_stands_otherwise_is_refused(self) -> None:
        with pytest.raises(ValueError, match="can't be edited"):
            with_value("server = { port = 1 }\n", "port", 2, "server")


class TestTerminal:
    def test_a_good_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.setenv("COLORTERM", "truecolor")
        monkeypatch.setenv("LANG", "de_DE.UTF-8")
        terminal = config.read_terminal()
        assert (terminal.colors, terminal.has_color, terminal.is_dumb) == (2**24, True, False)
        assert (terminal.is_utf8, terminal.is_ssh) == (True, False)

    @pytest.mark.parametrize(
        ("name", "colors"), [("xterm", 16), ("screen-256color", 256), ("xterm-kitty", 2**24)]
    )
    def test_its_name_tells_the_colors(
        self, monkeypatch: pytest.MonkeyPatch, name: str, colors: int
    ) -> None:
        monkeypatch.setenv("TERM", name)
        assert config.read_terminal().colors == colors

    @pytest.mark.parametrize("name", ["", "dumb"])
    def test_a_dumb_one(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        monkeypatch.setenv("TERM", name)
        monkeypatch.setenv("COLORTERM", "truecolor")
        terminal = config.read_terminal()
        assert (terminal.is_dumb, terminal.has_color, terminal.colors) == (True, False, 0)

    def test_no_color_counts_when_it_says_something(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("NO_COLOR", "")
        assert config.read_terminal().has_color
        monkeypatch.setenv("NO_COLOR", "0")
        assert not config.read_terminal().has_color

    def test_the_first_locale_that_says_something_counts(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert config.read_terminal().is_utf8
        monkeypatch.setenv("LANG", "en_US.UTF-8")
        monkeypatch.setenv("LC_ALL", "")
        assert config.read_terminal().is_utf8
        monkeypatch.setenv("LC_CTYPE", "C")
        assert not config.read_terminal().is_utf8

    def test_ssh(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 50000 10.0.0.2 22")
        assert config.read_terminal().is_ssh


def test_the_import_brings_nothing_heavy() -> None:
    """Counted in modules, not in milliseconds: the machine may be busy."""
    heavy = ("asyncio", "platformdirs", "huggingface_hub", "tomllib", "tempfile", "textual", "mlx")
    script = f"import sys, mtplx_tui.config; print(*(m for m in {heavy} if m in sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == []
