"""Lets the rows that a widget painted go with the widget.

Textual looks two colours up in a cache of 1,024 places that also knows who asked, and so keeps whoever
did, with all the rows painted: a closed help page's, those of each turn of a chat that was left. The
colours depend on what is given alone, and are looked up by that here.
"""

from __future__ import annotations

from functools import lru_cache

from textual._styles_cache import StylesCache
from textual.color import Color
from textual.style import Style

__all__ = ["let_rows_go"]

_of_colors = StylesCache.get_inner_outer.__wrapped__


@lru_cache(1024)
def _inner_outer(base_background: Color, background: Color) -> tuple[Style, Style]:
    return _of_colors(StylesCache, base_background, background)


def let_rows_go() -> None:
    """Have Textual keep a widget's rows no longer than the widget."""
    setattr(StylesCache, "get_inner_outer", staticmethod(_inner_outer))  # noqa: B010 - Textual's own
