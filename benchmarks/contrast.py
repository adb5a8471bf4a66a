"""Can a theme be read, and its depths told apart: contrasts and colour differences, by palette.

    uv run python -m benchmarks.contrast
    uv run python -m benchmarks.contrast --folder ~/.config/mtplx-tui/themes

Contrast is that of WCAG 2.2 (relative luminance, SC 1.4.3 for text, 1.4.11 for bars), on every
ground that a colour is drawn upon. Colour difference is CIEDE2000 (Sharma, Wu and Dalal 2005, all
weights 1, D65), after simulating full protanopia, deuteranopia and tritanopia in linear RGB
(Machado, Oliveira and Fernandes 2009, severity 1.0). What a palette has to keep stands in it, under
`[promises]`. Prints a table; the exit code is 1 where a palette breaks its promise.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

from textual.app import App
from textual.color import Color
from textual.theme import Theme

from engine.protocol import MAX_DEPTH
from mtplx_tui.theming import PARTS, Palette, load_palettes

GROUNDS = ("background", "surface", "panel", "marked")
"""What depths are drawn upon; the last is a marked cycle in the ribbon."""
STATES = ("primary", "accent", "success", "warning", "error")
QUIET = ("$text-muted", "$foreground 65%")
REJECTED = "$foreground 75%"
"""Of drafts struck through."""
BAR_CONTRAST = 3.0
"""Of bars and other signs that are no text."""
LEAST_DIFFERENCE = 15.0
"""Of neighbouring depths, to every kind of eye."""
SEEN_BY = {
    "all cones": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
"""Matrices on linear RGB: Machado et al. 2009, table 1, severity 1.0."""
_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
_WHITE = (0.95047, 1.0, 1.08883)

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Measure:
    """The worst of one kind of figure in a theme."""

    name: str
    value: float
    least: float
    where: str

    @property
    def is_kept(self) -> bool:
        """Whether it is as large as it has to be."""
        return self.value >= self.least


def linear(color: Color) -> Triple:
    """Return a colour's linear RGB, 0 to 1."""
    red, green, blue = (_linear(part / 255) for part in color.rgb)
    return red, green, blue


def _linear(share: float) -> float:
    return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4


def contrast(one: Color, other: Color) -> float:
    """Return the contrast of two opaque colours, 1 to 21."""

    def luminance(color: Color) -> float:
        red, green, blue = linear(color)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def lab(color: Color, eye: str = "all cones") -> Triple:
    """Return a colour's CIELAB coordinates as an eye of `SEEN_BY` sees it."""
    seen = _times(SEEN_BY[eye], linear(color))
    x, y, z = _times(_XYZ, _clipped(seen))
    fx, fy, fz = (_cube_root(part / white) for part, white in zip((x, y, z), _WHITE, strict=True))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def _times(matrix: tuple[Triple, Triple, Triple], vector: Triple) -> Triple:
    x, y, z = (sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix)
    return x, y, z


def _clipped(vector: Triple) -> Triple:
    x, y, z = (min(1.0, max(0.0, part)) for part in vector)
    return x, y, z


def _cube_root(share: float) -> float:
    return share ** (1 / 3) if share > 216 / 24389 else (24389 / 27 * share + 16) / 116


def difference(one: Triple, other: Triple) -> float:
    """Return CIEDE2000 between two colours in CIELAB; the formula's names are those of Sharma."""
    (l1, a1, b1), (l2, a2, b2) = one, other
    c7 = ((math.hypot(a1, b1) + math.hypot(a2, b2)) / 2) ** 7
    stretch = 1.5 - 0.5 * math.sqrt(c7 / (c7 + 25**7))
    a1, a2 = a1 * stretch, a2 * stretch
    c1, c2 = math.hypot(a1, b1), math.hypot(a2, b2)
    h1, h2 = math.degrees(math.atan2(b1, a1)) % 360, math.degrees(math.atan2(b2, a2)) % 360
    turn = 0.0 if not c1 * c2 else (h2 - h1 + 180) % 360 - 180
    hue = 2 * math.sqrt(c1 * c2) * math.sin(math.radians(turn) / 2)
    lightness, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    angle = h1 + h2 if not c1 * c2 else h1 + turn / 2
    t = (
        1
        - 0.17 * _cos(angle - 30)
        + 0.24 * _cos(2 * angle)
        + 0.32 * _cos(3 * angle + 6)
        - 0.20 * _cos(4 * angle - 63)
    )
    s_l = 1 + 0.015 * (lightness - 50) ** 2 / math.sqrt(20 + (lightness - 50) ** 2)
    s_c, s_h = 1 + 0.045 * chroma, 1 + 0.015 * chroma * t
    spread = 30 * math.exp(-((((angle % 360) - 275) / 25) ** 2))
    r_t = -2 * math.sqrt(chroma**7 / (chroma**7 + 25**7)) * math.sin(math.radians(2 * spread))
    parts = (l2 - l1) / s_l, (c2 - c1) / s_c, hue / s_h
    return math.sqrt(sum(part * part for part in parts) + r_t * parts[1] * parts[2])


def _cos(degrees: float) -> float:
    return math.cos(math.radians(degrees))


def measure(palette: Palette) -> tuple[Measure, ...]:
    """Return the worst figure of each kind; none for a theme of the terminal's own colours."""
    if palette.theme.ansi:
        return ()
    looks = Looks(palette.theme)
    least = palette.contrast
    depths = [f"$depth-{depth}" for depth in range(1, MAX_DEPTH + 1)]
    states = [sign for state in STATES for sign in (f"${state}", f"$text-{state}")]
    cursor = ("$block-cursor-foreground", "block-cursor-background")
    plain = ("background", "surface", "panel")
    kinds = [
        _worst("text", least, looks.contrasts(["$foreground"], GROUNDS)),
        _worst("quiet text", 4.5, looks.contrasts(QUIET, ("background", "surface"))),
        _worst("rejected", 4.5, looks.contrasts([REJECTED], ("background", "marked"))),
        _worst("states", least, looks.contrasts(states, plain)),
        _worst("open tab", 4.5, looks.contrasts(["$text-primary"], ["primary-muted"])),
        _worst("cursor", 4.5, looks.contrasts([cursor[0]], [cursor[1]])),
        _worst("depths", least, looks.contrasts(depths, GROUNDS)),
        _worst(
            "cycle", BAR_CONTRAST, looks.contrasts([f"$cycle-{p}" for p in PARTS], ["background"])
        ),
    ]
    if palette.tells_depths_by_color:
        kinds += (
            _worst(f"ΔE {eye}", LEAST_DIFFERENCE, looks.steps(depths, eye)) for eye in SEEN_BY
        )
    return tuple(kinds)


def faint_words(app: App[Any], least: float = 4.5) -> list[tuple[float, str]]:
    """Return what an app draws with less contrast than text needs: how much, and the words.

    Letters and figures count, bars and frames don't.
    """
    found: list[tuple[float, str]] = []
    for segment in chain.from_iterable(app.screen._compositor.render_strips()):
        style = segment.style
        if style is None or style.color is None or style.bgcolor is None:
            continue
        if not any(sign.isalnum() for sign in segment.text):
            continue
        colors = (Color.from_rich_color(color) for color in (style.color, style.bgcolor))
        value = contrast(*colors)
        if value < least:
            found.append((value, segment.text.strip()))
    return found


class Looks:
    """A theme's colours as they come out on the screen."""

    def __init__(self, theme: Theme) -> None:
        self._colors = theme.to_color_system().generate() | theme.variables
        background = self.solid("$background", "")
        self._grounds = {"marked": background + self._parse("$primary 20%")}

    def contrasts(
        self, signs: Iterable[str], grounds: Iterable[str]
    ) -> Iterator[tuple[float, str]]:
        """Give the contrast of each sign on each ground, and which these are."""
        signs = tuple(signs)
        for ground in grounds:
            below = self._grounds.get(ground) or self.solid(f"${ground}", "background")
            for sign in signs:
                yield contrast(below + self._parse(sign), below), f"{sign} on {ground}"

    def steps(self, signs: Iterable[str], eye: str) -> Iterator[tuple[float, str]]:
        """Give the difference of each sign from its neighbour, and which these are."""
        for one, other in pairwise(signs):
            seen = lab(self._parse(one), eye), lab(self._parse(other), eye)
            yield difference(*seen), f"{one} and {other}"

    def solid(self, sign: str, on: str) -> Color:
        """Return a ground's colour; where it lets through, laid on another."""
        color = self._parse(sign)
        return self.solid(f"${on}", "") + color if on else color

    def _parse(self, sign: str) -> Color:
        name, _, share = sign.removeprefix("$").partition(" ")
        value = self._colors[name]
        auto, _, strength = value.partition("auto ")
        color = Color.parse(value) if auto else Color.automatic(float(strength.rstrip("%")))
        return color.with_alpha(float(share.rstrip("%")) / 100) if share else color


def _worst(name: str, least: float, figures: Iterable[tuple[float, str]]) -> Measure:
    value, where = min(figures)
    return Measure(name, round(value, 2), least, where)


def table(palettes: Iterable[Palette]) -> str:
    """Return the figures of all palettes, a line a kind, those too small marked."""
    lines = []
    for palette in palettes:
        figures = measure(palette)
        told = "" if palette.tells_depths_by_color else ", depths told by marks alone"
        lines.append(f"{palette.theme.name}{told}")
        if not figures:
            lines.append("  the terminal's own colours: nothing to measure")
        lines += (
            f"  {figure.name:<16}{figure.value:6.2f} of {figure.least:4.1f}  "
            f"{'' if figure.is_kept else 'TOO SMALL: '}{figure.where}"
            for figure in figures
        )
    return "\n".join(lines)


def main() -> int:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="palettes to measure in place of the app's own")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    palettes, problems = load_palettes(arguments.folder)
    if arguments.json:
        document = {p.theme.name: [asdict(figure) for figure in measure(p)] for p in palettes}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        sys.stdout.write(table(palettes) + "\n")
    sys.stderr.write("".join(f"{problem}\n" for problem in problems))
    is_kept = all(figure.is_kept for palette in palettes for figure in measure(palette))
    return 0 if is_kept and not problems else 1


if __name__ == "__main__":
    raise SystemExit(main())
