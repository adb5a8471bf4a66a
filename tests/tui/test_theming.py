"""Themes: each depth can be read and told apart, and a broken palette costs nothing but itself."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.color import Color
from textual.theme import Theme

from mtplx_tui.config import Terminal
from mtplx_tui.theming import (
    ASCII,
    UNICODE,
    Marks,
    choose_theme,
    load_themes,
    marks_for,
    variables_for,
)

THEMES = {theme.name: theme for theme in load_themes()[0]}
TERMINAL = Terminal(
    name="xterm-256color", is_dumb=False, has_color=True, colors=2**24, is_utf8=True, is_ssh=False
)
GOOD = (Path(__file__).parents[2] / "themes" / "dusk.toml").read_text("utf-8")


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours as WCAG 2 defines it."""

    def luminance(color: str) -> float:
        shares = [part / 255 for part in Color.parse(color).rgb]
        linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_measure_of_contrast_is_wcags() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


def test_the_apps_own_palettes_are_all_read() -> None:
    themes, problems = load_themes()
    assert {theme.name for theme in themes} == {"ansi", "dusk", "paper"}
    assert problems == ()


@pytest.mark.parametrize("name", ["dusk", "paper"])
@pytest.mark.parametrize("depth", range(1, 9))
def test_each_depth_can_be_read_on_the_themes_own_background(name: str, depth: int) -> None:
    theme = THEMES[name]
    assert theme.background is not None
    assert contrast(theme.variables[f"depth-{depth}"], theme.background) >= 4.5


@pytest.mark.parametrize("name", sorted(THEMES))
def test_each_depth_has_a_colour_of_its_own(name: str) -> None:
    variables = THEMES[name].variables
    assert len({variables[f"depth-{depth}"] for depth in range(1, 9)}) == 8


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("name = ", "Invalid value"),
        (GOOD.replace("[depths]", "[depth]"), "'depths' is missing"),
        (GOOD.replace('8 = "#00B37A"\n', ""), "'8' is missing"),
        (GOOD.replace("#7CACF8", "no colour"), "no colour"),
        (
            GOOD.replace('name = "dusk"', 'name = "x"\ndepths = 3').replace("[depths]", "[d]"),
            "depths is no table",
        ),
        (GOOD.replace('host = "#7D8590"', ""), "'host' is missing"),
    ],
)
def test_a_broken_palette_is_named_and_left_out(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "bad.toml").write_text(content, encoding="utf-8")
    (tmp_path / "good.toml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "notes.txt").write_text("no palette", encoding="utf-8")
    themes, problems = load_themes(tmp_path)
    assert [theme.name for theme in themes] == ["dusk"]
    assert len(problems) == 1
    assert problems[0].startswith("theme bad.toml is left out: ")
    assert reason in problems[0]
    assert "\n" not in problems[0]


@pytest.mark.parametrize("table", ["depths", "cycle"])
def test_a_depth_that_is_no_colour_is_a_broken_palette(tmp_path: Path, table: str) -> None:
    color = {"depths": "#8F7BFF", "cycle": "#5B8DEF"}[table]
    (tmp_path / "bad.toml").write_text(GOOD.replace(color, "mauvish"), encoding="utf-8")
    themes, problems = load_themes(tmp_path)
    assert themes == ()
    assert "mauvish" in problems[0]


def test_bytes_that_are_no_text_are_a_broken_palette(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    assert load_themes(tmp_path)[1][0].startswith("theme bad.toml is left out: ")


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
