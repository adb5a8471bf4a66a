"""Themes and marks: reads `themes/`, and says which theme and which marks suit a terminal.

A palette that can't be read is named and left out; the app goes on with the others. Depth is
always shown by colour and by mark, so no palette is needed to read a screen.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from textual.color import Color, ColorParseError
from textual.theme import Theme

from engine.protocol import MAX_DEPTH
from mtplx_tui.config import Terminal

__all__ = ["ASCII", "UNICODE", "Marks", "choose_theme", "load_themes", "marks_for", "variables_for"]

DARK, LIGHT, FEW_COLORS = "dusk", "paper", "ansi"
PARTS = ("draft", "verify", "accept", "host")
"""Of a cycle's time, in their order."""


@dataclass(frozen=True, slots=True)
class Marks:
    """The signs that screens are drawn with."""

    depths: tuple[str, ...]
    """By depth, 0 (plain decoding) first."""
    bonus: str
    residual: str
    stop: str
    opening: str
    """Around a rejected draft, as `closing`."""
    closing: str
    newline: str
    tab: str
    space: str
    """In place of a draft that is nothing but blanks."""
    control: str
    """In place of a character that has no width of its own to show."""
    more: str
    """Where something was cut off."""
    accepted: str
    rejected: str
    unjudged: str
    dot: str
    """Between two facts."""
    state: str
    bar: str
    track: str
    block: str
    sliver: str
    """A block too thin to fill a cell."""
    range: str
    """Between two numbers."""
    stem: str
    """Of an interval that stands upright."""
    previous: str
    next: str
    paused: str
    at_least: str
    about: str


UNICODE = Marks(
    depths=tuple("⁰¹²³⁴⁵⁶⁷⁸"),
    bonus="⁺",
    residual="⁻",
    stop="■",
    opening="‹",
    closing="›",
    newline="↵",
    tab="⇥",
    space="␣",
    control="·",
    more="…",
    accepted="✓",
    rejected="✗",
    unjudged="·",
    dot="·",
    state="●",
    bar="━",
    track="─",
    block="█",
    sliver="▏",
    range="–",
    stem="│",
    previous="‹",
    next="›",
    paused="‖",
    at_least="≥",
    about="±",
)
ASCII = Marks(
    depths=tuple("012345678"),
    bonus="+",
    residual="-",
    stop="#",
    opening="<",
    closing=">",
    newline="~",
    tab="_",
    space="_",
    control="?",
    more=".",
    accepted="y",
    rejected="n",
    unjudged=".",
    dot="-",
    state="*",
    bar="=",
    track=".",
    block="#",
    sliver="|",
    range="-",
    stem="|",
    previous="<",
    next=">",
    paused="=",
    at_least=">=",
    about="+-",
)


def marks_for(terminal: Terminal) -> Marks:
    """Return the signs that a terminal can show."""
    return UNICODE if terminal.is_utf8 else ASCII


def choose_theme(wanted: str, terminal: Terminal, available: set[str]) -> str:
    """Return the theme to begin with.

    Args:
        wanted: the setting; `auto` leaves it to the terminal.
        terminal: what it can show.
        available: the names there are.
    """
    if has_few_colors(terminal):
        wanted = FEW_COLORS
    elif wanted not in available:
        wanted = DARK
    return wanted if wanted in available else "textual-dark"


def has_few_colors(terminal: Terminal) -> bool:
    """Whether colours must be the terminal's own sixteen, or none."""
    return not terminal.has_color or terminal.colors <= 16


def load_themes(folder: Traversable | None = None) -> tuple[tuple[Theme, ...], tuple[str, ...]]:
    """Return the app's themes, and what is wrong with those left out: one line each.

    Args:
        folder: where the palettes are; the app's own if None.
    """
    themes: list[Theme] = []
    problems: list[str] = []
    for file in sorted((folder or files("themes")).iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".toml"):
            continue
        try:
            themes.append(_theme(tomllib.loads(file.read_text("utf-8"))))
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else error
            problems.append(f"theme {file.name} is left out: {reason}")
    return tuple(themes), tuple(problems)


def variables_for(theme: Theme, themes: tuple[Theme, ...]) -> dict[str, str]:
    """Return the depth and cycle colours for a theme that has none of its own.

    Args:
        theme: the one in use.
        themes: what `load_themes` gave.
    """
    wanted = FEW_COLORS if theme.ansi else DARK if theme.dark else LIGHT
    own = next((other.variables for other in themes if other.name == wanted), {})
    return {name: own.get(name, "ansi_default") for name in _VARIABLES}


_VARIABLES = (
    *(f"depth-{depth}" for depth in range(1, MAX_DEPTH + 1)),
    *(f"cycle-{part}" for part in PARTS),
)


def _theme(content: dict[str, object]) -> Theme:
    """Return the theme of a palette's content. Raises KeyError, TypeError or ValueError."""
    depths, cycle = _colors(content, "depths"), _colors(content, "cycle")
    extra = _texts(content, "variables") if "variables" in content else {}
    variables = {f"depth-{depth}": depths[str(depth)] for depth in range(1, MAX_DEPTH + 1)}
    variables |= {f"cycle-{part}": cycle[part] for part in PARTS}
    palette = _colors(content, "palette")
    return Theme(
        name=str(content["name"]),
        primary=palette["primary"],
        secondary=palette["secondary"],
        accent=palette["accent"],
        warning=palette["warning"],
        error=palette["error"],
        success=palette["success"],
        foreground=palette["foreground"],
        background=palette["background"],
        surface=palette["surface"],
        panel=palette["panel"],
        dark=bool(content["is_dark"]),
        ansi=bool(content.get("is_ansi", False)),
        variables=variables | extra,
    )


def _colors(content: dict[str, object], table: str) -> dict[str, str]:
    colors = _texts(content, table)
    for name, color in colors.items():
        try:
            Color.parse(color)
        except ColorParseError as error:
            raise ValueError(f"{name} in [{table}]: {error}") from error
    return colors


def _texts(content: dict[str, object], table: str) -> dict[str, str]:
    texts = content[table]
    if not isinstance(texts, dict):
        raise TypeError(f"{table} is no table")
    return {str(name): str(text) for name, text in texts.items()}
