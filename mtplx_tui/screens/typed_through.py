"""Text typed on a page that came by itself goes to the field under it: who typed there sees it come and loses nothing."""

from __future__ import annotations

from typing import Any

from textual.events import Key, Paste
from textual.screen import Screen
from textual.widgets import Input, TextArea

__all__ = ["covered_field", "let_through"]


def covered_field(page: Screen[Any]) -> Input | TextArea | None:
    """Return the field that has the focus of the screen under a page, where there is one."""
    stack = page.app.screen_stack
    covered = stack[stack.index(page) - 1].focused
    return covered if isinstance(covered, Input | TextArea) else None


def let_through(page: Screen[Any], event: Key | Paste) -> None:
    """Give the covered field what was typed or pasted on a page."""
    field = covered_field(page)
    if field is not None:
        again = Paste(event.text) if isinstance(event, Paste) else Key(event.key, event.character)
        field._forward_event(again)
