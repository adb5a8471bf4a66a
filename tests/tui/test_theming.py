"""Themes: each depth can be read and told apart, and a broken palette costs nothing but itself."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.theme import Theme

from mtplx_tui.config import Terminal
from mtplx_tui.marks import ASCII, UNICODE, Marks, marks_for
from mtplx_tui.theming import choose_theme, load_palettes, variables_for

THEMES = {palette.theme.name: palette.theme for palette in load_palettes()[0]}
TERMINAL = Terminal(
    name="xterm-256color", is_dumb=False, has_color=True, colors=2**24, is_utf8=True, is_ssh=False
)
GOOD = (Path(__file__).parents[2] / "themes" / "dusk.toml").read_text("utf-8")
END = ""
"""Stands for the end of a palette, where something is added."""


def test_the_apps_own_palettes_are_all_read() -> None:
    palettes, problems = load_palettes()
    assert len(palettes) >= 8
    assert {"ansi", "dusk", "paper"} <= {palette.theme.name for palette in palettes}
    assert problems == ()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (GOOD, "x = ", "Invalid value (at end of document)"),
        ("[depths]", "[depth]", "[depths] is missing"),
        ('8 = "#', '9 = "#', "8 in [depths] is missing"),
        (
            "[depths]",
            '[depths]\n9 = "#FFFFFF"',
            "line 17: 9 in [depths] is unknown; known are 1, 2",
        ),
        ("#7CACF8", "no colour", 'line 5: primary in [palette] must be a colour such as "#7CACF8"'),
        ('primary = "#7CACF8"', "primary = 7", "line 5: primary in [palette] must be a colour"),
        ("is_dark = true", "is_dark = true\nvariables = 3", "line 3: variables is no table"),
        ('host = "', 'hose = "', "line 26: host in [cycle] is missing"),
        ("is_dark = true\n", "", "is_dark is missing"),
        ("is_dark = true", "is_dark = 1", "line 2: is_dark must be true or false"),
        (END, '\n[variables]\nborder = "wood"\n', "border in [variables] must be a colour"),
        (END, '\n[variables]\nlink-style = "big"\n', "link-style in [variables] must be a style"),
        (END, '\n[variables]\n"a b" = "red"\n', "a b in [variables] is no name of a variable"),
        (END, "\n[promises]\ncontrast = 2\n", "contrast in [promises] must be 4.5 to 21"),
        (END, '\n[promises]\ncontrast = "x"\n', "contrast in [promises] must be a number"),
        (END, '\n[promises]\ndepths_by = "x"\n', 'depths_by in [promises] must be "colours" or'),
    ],
)
def test_a_broken_palette_is_named_with_line_and_key_and_left_out(
    tmp_path: Path, old: str, new: str, reason: str
) -> None:
    content = GOOD + new if old is END else GOOD.replace(old, new)
    assert content != GOOD
    (tmp_path / "bad.toml").write_text(content, encoding="utf-8")
    (tmp_path / "good.toml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "notes.txt").write_text("no palette", encoding="utf-8")
    palettes, problems = load_palettes(tmp_path)
    assert [palette.theme.name for palette in palettes] == ["good"]
    assert len(problems) == 1
    assert problems[0].startswith("theme bad.toml is left out: ")
    assert reason in problems[0]
    assert "\n" not in problems[0]


def test_the_terminals_own_text_is_an_error_too_where_it_is_no_utf8(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    assert load_palettes(tmp_path)[1] == ("theme bad.toml is left out: it is not UTF-8 text",)


def test_a_palette_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").mkdir()
    assert load_palettes(tmp_path)[1] == ("theme bad.toml is left out: Is a directory",)


def test_a_persons_palette_takes_the_place_of_the_apps_own(tmp_path: Path) -> None:
    (tmp_path / "dusk.toml").write_text(GOOD.replace("#7CACF8", "#ABCDEF"), encoding="utf-8")
    palettes, problems = load_palettes(None, tmp_path, tmp_path / "none there")
    own = [palette.theme for palette in palettes if palette.theme.name == "dusk"]
    assert [theme.primary for theme in own] == ["#ABCDEF"]
    assert problems == ()


def test_a_broken_palette_of_a_person_leaves_the_apps_own_of_that_name(tmp_path: Path) -> None:
    (tmp_path / "dusk.toml").write_text("[palette]", encoding="utf-8")
    palettes, problems = load_palettes(None, tmp_path)
    assert "dusk" in {palette.theme.name for palette in palettes}
    assert problems == ("theme dusk.toml is left out: line 1: primary in [palette] is missing",)


@pytest.mark.parametrize(
    ("terminal", "wanted", "chosen"),
    [
        (TERMINAL, "auto", "dusk"),
        (TERMINAL, "paper", "paper"),
        (TERMINAL, "nord", "nord"),
        (TERMINAL, "gone", "dusk"),
        (replace(TERMINAL, colors=256), "paper", "paper"),
        (replace(TERMINAL, colors=16), "paper", "ansi"),
        (replace(TERMINAL, has_color=False), "paper", "ansi"),
    ],
)
def test_few_colours_outrank_a_wish(terminal: Terminal, wanted: str, chosen: str) -> None:
    assert choose_theme(wanted, terminal, {"ansi", "dusk", "paper", "nord"}) == chosen


def test_without_any_palette_there_is_still_a_theme() -> None:
    assert choose_theme("auto", TERMINAL, {"textual-dark"}) == "textual-dark"


@pytest.mark.parametrize(
    ("theme", "like"),
    [
        (Theme("other", "#123456", dark=True), "dusk"),
        (Theme("other", "#123456", dark=False), "paper"),
        (Theme("other", "ansi_blue", ansi=True), "ansi"),
    ],
)
def test_a_foreign_theme_gets_depths_that_suit_it(theme: Theme, like: str) -> None:
    own = variables_for(theme, tuple(THEMES.values()))
    assert own["depth-8"] == THEMES[like].variables["depth-8"]
    assert own["cycle-host"] == THEMES[like].variables["cycle-host"]


def test_without_palettes_depths_have_the_terminals_own_colour() -> None:
    assert set(variables_for(THEMES["dusk"], ()).values()) == {"ansi_default"}


@pytest.mark.parametrize("marks", [UNICODE, ASCII])
def test_every_mark_is_one_cell_wide(marks: Marks) -> None:
    signs = [getattr(marks, field.name) for field in fields(Marks)]
    assert {cell_len(sign) for part in signs for sign in part} == {1}


def test_marks_without_utf8_are_ascii() -> None:
    marks = marks_for(replace(TERMINAL, is_utf8=False))
    assert "".join("".join(getattr(marks, field.name)) for field in fields(Marks)).isascii()
