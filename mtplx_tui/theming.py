"""Themes: reads `themes/`, and says which theme suits a terminal.

A palette that can't be read is named and left out; the app goes on with the others.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from textual.color import Color, ColorParseError
from textual.theme import Theme

from engine.protocol import MAX_DEPTH
from mtplx_tui.config import Terminal

__all__ = [
    "PARTS",
    "Palette",
    "choose_theme",
    "has_few_colors",
    "load_palettes",
    "variables_for",
]

DARK, LIGHT, FEW_COLORS = "dusk", "paper", "ansi"
PARTS = ("draft", "verify", "accept", "host")
"""Of a cycle's time, in their order."""
LEAST_CONTRAST = 4.5
"""Of text, by WCAG 2.2, SC 1.4.3; a palette may promise more."""


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


@dataclass(frozen=True, slots=True)
class Palette:
    """A theme, and what it promises; `benchmarks/contrast.py` holds it to that."""

    theme: Theme
    contrast: float
    """Least contrast of text, states and depths on every ground they are drawn upon."""
    tells_depths_by_color: bool
    """False where the marks alone tell one depth from the next."""


def load_palettes(
    *folders: Traversable | None,
) -> tuple[tuple[Palette, ...], tuple[str, ...]]:
    """Return the palettes, by name, and what is wrong with those left out: one line each.

    Args:
        folders: where palettes are, the app's own for None; one that is not there holds none. A
            palette is named as its file is, and takes the place of one of the same name before.
    """
    palettes: dict[str, Palette] = {}
    problems: list[str] = []
    for folder in folders or (None,):
        for file in _palette_files(files("themes") if folder is None else folder, problems):
            try:
                text = file.read_text("utf-8-sig")
                palettes[_stem(file)] = _palette(_stem(file), text)
            except OSError as error:
                problems.append(f"theme {file.name} is left out: {error.strerror}")
            except UnicodeDecodeError:
                problems.append(f"theme {file.name} is left out: it is not UTF-8 text")
            except ValueError as error:
                problems.append(f"theme {file.name} is left out: {error}")
    return tuple(palettes[name] for name in sorted(palettes)), tuple(problems)


def _palette_files(folder: Traversable, problems: list[str]) -> list[Traversable]:
    try:
        found = [file for file in folder.iterdir() if file.name.endswith(".toml")]
    except FileNotFoundError:
        return []
    except OSError as error:
        problems.append(f"no themes of yours: {folder}: {error.strerror}")
        return []
    return sorted(found, key=lambda file: file.name)


def _stem(file: Traversable) -> str:
    return file.name.removesuffix(".toml")


def variables_for(theme: Theme, themes: tuple[Theme, ...]) -> dict[str, str]:
    """Return the depth and cycle colours for a theme that has none of its own.

    Args:
        theme: the one in use.
        themes: those of `load_palettes`.
    """
    wanted = FEW_COLORS if theme.ansi else DARK if theme.dark else LIGHT
    own = next((other.variables for other in themes if other.name == wanted), {})
    return {name: own.get(name, "ansi_default") for name in _VARIABLES}


_DEPTHS = tuple(str(depth) for depth in range(1, MAX_DEPTH + 1))
_VARIABLES = (
    *(f"depth-{depth}" for depth in _DEPTHS),
    *(f"cycle-{part}" for part in PARTS),
)
_COLORS = (
    "primary",
    "secondary",
    "accent",
    "warning",
    "error",
    "success",
    "foreground",
    "background",
    "surface",
    "panel",
)
_BEST_CONTRAST = 21.0
_STYLES = frozenset(
    ["none", "bold", "b", "italic", "i", "underline", "u", "reverse", "dim", "strike", "not"]
)


def _palette(name: str, text: str) -> Palette:
    """Return the palette of a file. Raises ValueError, with line and key, where it is broken."""
    content = tomllib.loads(text)
    try:
        colors = {
            table: _colors(content, table, names)
            for table, names in (("palette", _COLORS), ("depths", _DEPTHS), ("cycle", PARTS))
        }
        variables = {f"depth-{depth}": colors["depths"][depth] for depth in _DEPTHS}
        variables |= {f"cycle-{part}": colors["cycle"][part] for part in PARTS}
        is_dark, is_ansi = _truth(content, "is_dark"), _truth(content, "is_ansi", default=False)
        if not is_ansi:
            variables |= _scrollbars(colors["palette"])
        variables |= _extras(content)
        promises = _table(content, "promises") if "promises" in content else {}
        return Palette(
            _theme(name, colors["palette"], variables, is_dark=is_dark, is_ansi=is_ansi),
            _contrast(promises),
            _way(promises),
        )
    except _Wrong as wrong:
        raise ValueError(f"{_place(text, wrong.table, wrong.key)}{wrong}") from wrong


def _theme(
    name: str,
    palette: dict[str, str],
    variables: dict[str, str],
    *,
    is_dark: bool,
    is_ansi: bool,
) -> Theme:
    return Theme(
        name=name,
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
        dark=is_dark,
        ansi=is_ansi,
        variables=variables,
    )


class _Wrong(Exception):
    """What is wrong with a palette, and where."""

    def __init__(self, reason: str, table: str, key: str = "") -> None:
        super().__init__(
            f"{key} in [{table}] {reason}" if table and key else f"{key or table} {reason}"
        )
        self.table, self.key = table, key


def _place(text: str, table: str, key: str) -> str:
    """Return the line, as `line 3: `, that holds a key, or else its table; nothing where none does."""
    found, section = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if line.startswith("["):
            section = line.strip("[] ")
            found = number if section == table and not found else found
        elif section == table and line.partition("=")[0].strip(" \"'") == key:
            return f"line {number}: "
    return f"line {found}: " if found else ""


def _colors(content: dict[str, object], table: str, names: Iterable[str]) -> dict[str, str]:
    given = _table(content, table)
    for key in names:
        if key not in given:
            raise _Wrong("is missing", table, key)
    for key, color in given.items():
        if key not in names:
            raise _Wrong(f"is unknown; known are {', '.join(names)}", table, key)
        _check_color(color, table, key)
    return {key: str(color) for key, color in given.items()}


def _check_color(color: object, table: str, key: str) -> None:
    try:
        Color.parse(color if isinstance(color, str) else "")
    except ColorParseError as error:
        raise _Wrong(
            f'must be a colour such as "#7CACF8", not {color!r:.40}', table, key
        ) from error


def _scrollbars(palette: dict[str, str]) -> dict[str, str]:
    """Return quiet scrollbars: Textual's own are dark stripes on some backgrounds."""
    ground, ink = Color.parse(palette["background"]), Color.parse(palette["foreground"])
    grounds = ("background", "background-hover", "background-active", "corner-color")
    return {
        **{f"scrollbar-{part}": ground.hex for part in grounds},
        "scrollbar": ground.blend(ink, 0.2).hex,
        "scrollbar-hover": ground.blend(ink, 0.4).hex,
        "scrollbar-active": palette["primary"],
    }


def _extras(content: dict[str, object]) -> dict[str, str]:
    """Return what a palette says of Textual's other variables: colours, and styles of text."""
    given = _table(content, "variables") if "variables" in content else {}
    for key, value in given.items():
        if not re.fullmatch(r"[a-z][a-z0-9-]*", key):
            raise _Wrong("is no name of a variable", "variables", key)
        if not key.endswith("-style"):
            _check_color(value, "variables", key)
        elif not isinstance(value, str) or not set(value.split()) <= _STYLES:
            raise _Wrong(f'must be a style such as "bold", not {value!r:.40}', "variables", key)
    return {key: str(value) for key, value in given.items()}


def _table(content: dict[str, object], table: str) -> dict[str, object]:
    if table not in content:
        raise _Wrong("is missing", f"[{table}]")
    given = content[table]
    if not isinstance(given, dict):
        raise _Wrong("is no table", "", table)
    return {str(key): value for key, value in given.items()}


def _truth(content: dict[str, object], key: str, *, default: bool | None = None) -> bool:
    value = content.get(key, default)
    if not isinstance(value, bool):
        raise _Wrong("is missing" if value is None else "must be true or false", "", key)
    return value


def _contrast(promises: dict[str, object]) -> float:
    value = promises.get("contrast", LEAST_CONTRAST)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Wrong("must be a number", "promises", "contrast")
    if not LEAST_CONTRAST <= value <= _BEST_CONTRAST:
        raise _Wrong(f"must be {LEAST_CONTRAST} to {_BEST_CONTRAST:.0f}", "promises", "contrast")
    return float(value)


def _way(promises: dict[str, object]) -> bool:
    """Return whether depths are told apart by their colours, too."""
    way = promises.get("depths_by", "colours")
    if way not in ("colours", "marks"):
        raise _Wrong('must be "colours" or "marks"', "promises", "depths_by")
    return way == "colours"
