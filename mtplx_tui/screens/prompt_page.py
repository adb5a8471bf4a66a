"""What the model saw of a request: its prompt as the chat template gave it."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from engine.protocol import PromptShown
from mtplx_tui.wording import showable

__all__ = ["PromptPage"]

SHOWN = 20_000
"""Characters from the end; a longer prompt would take seconds to lay out."""


class PromptPage(ModalScreen[None]):
    """A page that scrolls; any of esc, q and the key that opened it closes it.

    Args:
        name: the request's.
        prompt: what the engine told.
    """

    CSS = """
    PromptPage { align: center middle; background: $background 60%; }
    PromptPage .card {
        width: 100; max-width: 95%; height: auto; max-height: 90%;
        border: round $border; background: $surface; padding: 0 2;
    }
    PromptPage VerticalScroll { height: auto; max-height: 100%; background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "close", "close"),
        Binding("w", "close", "close", id="server.prompt"),
    ]

    def __init__(self, name: str, prompt: PromptShown) -> None:
        super().__init__()
        self._name = name
        self._prompt = prompt

    def compose(self) -> ComposeResult:
        """Lay out the prompt's end, as most of it as is shown."""
        text = self._prompt.text
        left_out = len(text) - SHOWN
        before = f"… {left_out:,} characters before\n" if left_out > 0 else ""
        with Vertical(classes="card"), VerticalScroll():
            yield Static(Content.assemble((before, "dim"), showable(text[-SHOWN:])), markup=False)

    def on_mount(self) -> None:
        """Let the arrow keys scroll."""
        card = self.query_one(".card")
        count = len(self._prompt.token_ids)
        card.border_title = f"What the model saw of {self._name}: {count:,} tokens"
        card.border_subtitle = "esc closes"
        self.query_one(VerticalScroll).focus()

    def action_close(self) -> None:
        """Close."""
        self.dismiss()
