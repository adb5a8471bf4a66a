"""Where a person types: many lines, Enter sends, nothing typed is ever lost.

A very large paste is held beside the text and shown as one short mark, so that typing stays
quick; `full_text` puts it back. Knows nothing of chats.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import ClassVar

from textual.binding import BindingType
from textual.events import Key, Paste
from textual.message import Message
from textual.widgets import TextArea

from mtplx_tui.wording import for_a_field

LARGE_PASTE = 10_000
"""Characters from which on a paste is shown as a mark."""
_SENDING = "enter"
_BREAKING = ("shift+enter", "ctrl+j", "alt+enter")


class Prompt(TextArea):
    """A TextArea that sends."""

    BINDINGS: ClassVar[list[BindingType]] = []

    DEFAULT_CSS = """
    Prompt {
        height: auto;
        min-height: 3;
        max-height: 10;
        border: round $foreground 30%;
        border-subtitle-color: $foreground 65%;
        border-title-color: $text-warning;
        padding: 0 1;
        background: $background;
        &:focus { border: round $border; }
    }
    """

    @dataclass
    class Sent(Message):
        """The person wants this asked; the prompt keeps the text until `clear` is called."""

        text: str

    class RecallWanted(Message):
        """Up was pressed in an empty prompt."""

    class LeaveWanted(Message):
        """Tab was pressed: the conversation should get the focus."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(
            id=id,
            soft_wrap=True,
            show_line_numbers=False,
            highlight_cursor_line=False,
            tab_behavior="focus",
        )
        self._pastes: dict[str, str] = {}
        self._frame = ("", "")

    def frame(self, title: str, hint: str) -> None:
        """Write on the frame; setting a border's text repaints it even if it is the same."""
        if (title, hint) != self._frame:
            self._frame = (title, hint)
            self.border_title, self.border_subtitle = title, hint

    @property
    def full_text(self) -> str:
        """What is typed, with large pastes in place of their marks."""
        text = self.text
        for mark, pasted in self._pastes.items():
            text = text.replace(mark, pasted, 1)
        return text

    def put(self, text: str) -> None:
        """Replace what is typed, and set the cursor behind it."""
        self._pastes, text = {}, for_a_field(text)
        if len(text) >= LARGE_PASTE:
            text = self._mark(text)
        self.text = text
        self.move_cursor(self.document.end)

    def _mark(self, text: str) -> str:
        mark = f"[pasted text {len(self._pastes) + 1}: {len(text):,} characters]"
        self._pastes[mark] = text
        return mark

    def on_key(self, event: Key) -> None:
        """Send, break the line or leave; everything else is the text area's."""
        if event.key == _SENDING:
            self._send()
        elif event.key in _BREAKING:
            self.insert("\n")
        elif event.key == "tab":
            self.post_message(self.LeaveWanted())
        elif (sign := event.character) is not None and unicodedata.category(sign) == "Cf":
            # Joins or parts its neighbours; Textual takes it for no text, and a pair falls apart.
            self.insert(sign)
        else:
            return
        event.stop()
        event.prevent_default()

    def on_paste(self, event: Paste) -> None:
        """Keep a large paste beside the text."""
        if len(event.text) >= LARGE_PASTE:
            event.stop()
            event.prevent_default()
            self.insert(self._mark(event.text))

    def action_cursor_up(self, select: bool = False) -> None:  # noqa: FBT001, FBT002 - Textual's
        """Move up; in an empty prompt ask for the last question."""
        if self.text or select:
            super().action_cursor_up(select)
        else:
            self.post_message(self.RecallWanted())

    def _send(self) -> None:
        text = self.full_text
        if text.strip():
            self.post_message(self.Sent(text))
