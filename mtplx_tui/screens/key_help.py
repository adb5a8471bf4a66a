"""All keys that work at this moment, by where they work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import ActiveBinding, Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from mtplx_tui.keymap import key_name

Section = tuple[str, tuple[tuple[str, str], ...]]
"""A title, and rows of keys and what they do."""


def sections_of(active: Mapping[str, ActiveBinding]) -> tuple[Section, ...]:
    """Return the keys with a description, the nearest to the focus first.

    Args:
        active: by key; what Textual knows to work now.
    """
    found: dict[str, dict[str, list[str]]] = {"Here": {}, "In this tab": {}, "Everywhere": {}}
    for key, bound in active.items():
        binding = bound.binding
        if not binding.show or not binding.description:
            continue
        if isinstance(bound.node, App):
            title = "Everywhere"
        else:
            title = "In this tab" if isinstance(bound.node, Screen) else "Here"
        found[title].setdefault(binding.description, []).append(key_name(key))
    return tuple(
        (title, tuple((" ".join(keys), what) for what, keys in rows.items()))
        for title, rows in found.items()
        if rows
    )


class KeyHelp(ModalScreen[None]):
    """A page of keys; any of esc, enter, q and the key that opened it closes it.

    Args:
        active: the keys that worked when it was asked for.
    """

    CSS = """
    KeyHelp { align: center middle; background: $background 60%; }
    KeyHelp .card {
        width: 76; max-width: 95%; height: auto; max-height: 90%;
        border: round $border; background: $surface; padding: 0 2;
    }
    KeyHelp VerticalScroll { height: auto; max-height: 100%; background: $surface; }
    KeyHelp .keys--close { color: $text-muted; dock: bottom; height: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,q", "close", "close"),
        Binding("f1", "close", "close", id="app.keys"),
    ]

    def __init__(self, active: Mapping[str, ActiveBinding]) -> None:
        super().__init__()
        self._sections = sections_of(active)

    def compose(self) -> ComposeResult:
        """Lay out one page that scrolls where it must."""
        with Vertical(classes="card"), VerticalScroll():
            yield Static(help_page(self._sections), markup=False)

    def on_mount(self) -> None:
        """Let the arrow keys scroll."""
        card = self.query_one(".card")
        card.border_title = "Keys"
        card.border_subtitle = "esc closes"
        self.query_one(VerticalScroll).focus()

    def action_close(self) -> None:
        """Close."""
        self.dismiss()


def help_page(sections: tuple[Section, ...]) -> Content:
    """Return the page."""
    width = max((len(keys) for _, rows in sections for keys, _ in rows), default=0)
    blocks = []
    for title, rows in sections:
        lines = [Content.styled(title, "bold")]
        lines += [
            Content.assemble((f"  {keys.ljust(width)}", "$text-primary"), f"  {what}")
            for keys, what in rows
        ]
        blocks.append(Content("\n").join(lines))
    return Content("\n\n").join(blocks)
