"""Every theme keeps its promises: text that can be read, depths that every eye tells apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from textual.color import Color

from benchmarks import theme_sheets
from benchmarks.contrast import contrast, difference, faint_words, lab, measure
from mtplx_tui.theming import Palette, load_palettes

PALETTES = {palette.theme.name: palette for palette in load_palettes()[0]}
FOLDER = Path(__file__).parents[2] / "themes"


def broken(tmp_path: Path, name: str, old: str, new: str) -> dict[str, str]:
    """Return what is too small, and where, in a palette with something changed."""
    text = (FOLDER / f"{name}.toml").read_text("utf-8")
    assert old in text
    (tmp_path / f"{name}.toml").write_text(text.replace(old, new), encoding="utf-8")
    (palette,), problems = load_palettes(tmp_path)
    assert not problems
    return {figure.name: figure.where for figure in measure(palette) if not figure.is_kept}


@pytest.mark.parametrize("name", sorted(PALETTES))
def test_every_figure_of_a_theme_is_as_large_as_it_promises(name: str) -> None:
    assert [figure for figure in measure(PALETTES[name]) if not figure.is_kept] == []


@pytest.mark.parametrize("name", sorted(PALETTES.keys() - {"ansi"}))
def test_a_theme_is_measured_for_each_kind_of_eye_unless_marks_tell_its_depths(name: str) -> None:
    palette = PALETTES[name]
    kinds = {figure.name for figure in measure(palette)}
    assert {"text", "quiet text", "states", "depths", "cycle"} <= kinds
    eyes = {"ΔE protanopia", "ΔE deuteranopia", "ΔE tritanopia"}
    assert (eyes <= kinds) == palette.tells_depths_by_color


def test_there_is_a_theme_for_each_kind_of_need() -> None:
    def some(*, is_dark: bool, contrast: float = 4.5, by_color: bool = True) -> list[Palette]:
        return [
            palette
            for palette in PALETTES.values()
            if palette.theme.dark is is_dark
            and palette.contrast >= contrast
            and palette.tells_depths_by_color is by_color
            and not palette.theme.ansi
        ]

    for is_dark in (True, False):
        assert len(some(is_dark=is_dark)) >= 3
        assert some(is_dark=is_dark, contrast=7.0)
        assert some(is_dark=is_dark, by_color=False)


@pytest.mark.parametrize("name", ["graphite", "newsprint"])
def test_a_theme_without_colour_has_none(name: str) -> None:
    theme = PALETTES[name].theme
    colors = [theme.primary, theme.error, theme.success, *theme.variables.values()]
    assert all(Color.parse(color or "").hsl.s < 0.01 for color in colors)


def test_a_depth_too_dark_to_read_is_found(tmp_path: Path) -> None:
    found = broken(tmp_path, "dusk", PALETTES["dusk"].theme.variables["depth-3"], "#5B4BB0")
    assert found["depths"] == "$depth-3 on marked"


def test_neighbours_that_a_colour_blind_eye_takes_for_one_are_found(tmp_path: Path) -> None:
    was = PALETTES["dusk"].theme.variables
    found = broken(tmp_path, "dusk", was["depth-6"], was["depth-5"])
    assert found["ΔE protanopia"] == "$depth-5 and $depth-6"
    assert found["ΔE tritanopia"] == "$depth-5 and $depth-6"


def test_red_beside_green_is_found_by_the_eyes_without_red_cones_alone(tmp_path: Path) -> None:
    red, green = "#E58A70", "#A9A85E"
    names = PALETTES["abyss"].theme.variables
    text = (FOLDER / "abyss.toml").read_text("utf-8")
    text = text.replace(names["depth-3"], red).replace(names["depth-4"], green)
    (tmp_path / "abyss.toml").write_text(text, encoding="utf-8")
    (palette,), _ = load_palettes(tmp_path)
    steps = {f.name: f for f in measure(palette) if f.where == "$depth-3 and $depth-4"}
    assert {name for name, figure in steps.items() if not figure.is_kept} == {"ΔE protanopia"} | (
        {"ΔE deuteranopia"} & steps.keys()
    )


def test_a_state_too_pale_to_read_is_found(tmp_path: Path) -> None:
    found = broken(tmp_path, "paper", PALETTES["paper"].theme.error or "", "#FF8080")
    assert found["states"] == "$error on panel"


def test_a_promise_of_more_contrast_is_held_to(tmp_path: Path) -> None:
    found = broken(tmp_path, "dusk", "[palette]", "[promises]\ncontrast = 7\n[palette]")
    assert {"states", "depths"} <= found.keys()


def test_a_palette_that_tells_depths_by_marks_is_not_held_to_colours() -> None:
    graphite = PALETTES["graphite"]
    assert all(figure.is_kept for figure in measure(graphite))
    held = measure(replace(graphite, tells_depths_by_color=True))
    assert {figure.name for figure in held} - {f.name for f in measure(graphite)}


def test_the_measure_of_contrast_is_wcags() -> None:
    black, white = Color.parse("#000000"), Color.parse("#ffffff")
    assert contrast(black, white) == pytest.approx(21)
    assert contrast(Color.parse("#767676"), white) == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
        ((50.0, -1.3802, -84.2814), (50.0, 0.0, -82.7485), 1.0),
        ((50.0, 2.49, -0.001), (50.0, -2.49, 0.0011), 7.2195),
        ((50.0, 2.5, 0.0), (50.0, 0.0, -2.5), 4.3065),
        ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_the_difference_is_that_of_sharmas_published_pairs(
    one: tuple[float, float, float], other: tuple[float, float, float], expected: float
) -> None:
    assert difference(one, other) == pytest.approx(expected, abs=1e-4)
    assert difference(other, one) == pytest.approx(expected, abs=1e-4)


def test_white_and_grey_look_the_same_to_every_eye() -> None:
    for color in (Color.parse("#FFFFFF"), Color.parse("#808080")):
        assert difference(lab(color, "protanopia"), lab(color)) < 0.5
        assert difference(lab(color, "tritanopia"), lab(color)) < 0.5


PAGES = sorted(theme_sheets.SCENES.keys() - {"first run", "dialog"})
"""What covers another page leaves that one faint."""


@pytest.mark.parametrize("page", PAGES)
async def test_every_word_on_a_page_can_be_read(page: str, tmp_path: Path) -> None:
    async with theme_sheets.SCENES[page](tmp_path, (80, 24)) as talk:
        for theme in ("dusk", "paper", "newsprint"):
            talk.app.theme = theme
            await talk.pilot.pause()
            await talk.pilot.pause()
            assert faint_words(talk.app) == [], theme
