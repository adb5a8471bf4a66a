"""Rows of keys and what each does, as tabs and pages show them at their foot."""

from __future__ import annotations

from collections.abc import Iterable

from textual.content import Content

from mtplx_tui.keys_file import Keys

__all__ = ["hint_parts", "in_a_row"]


def hint_parts(
    hints: Iterable[tuple[str, str]], keys: Keys, *, is_utf8: bool = True
) -> list[Content]:
    """Return each hint with the keys that count.

    Args:
        hints: keys, an action's id in braces for those it has, and what they do.
        keys: that count.
        is_utf8: whether arrows can be shown.
    """
    shown = ((keys.fill(key), what) for key, what in hints)
    return [
        Content.assemble((key if is_utf8 else key.replace("←→", "<- ->"), "bold"), f" {what}")
        for key, what in shown
    ]


def in_a_row(parts: Iterable[Content]) -> Content:
    """Return hints side by side."""
    return Content("   ").join(parts)
