"""One row to look for a text with: what is looked for, and which place of how many is marked."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input, Static

__all__ = ["FindBar"]


class FindBar(Horizontal):
    """Hidden until it is opened, and empty until it was once."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,down", "step(1)", "next", priority=True),
        Binding("shift+enter,up", "step(-1)", "previous", priority=True),
        Binding("escape", "close", "end the search", priority=True),
    ]

    DEFAULT_CSS = """
    FindBar {
        height: 1;
        display: none;
        background: $surface;
        padding: 0 1;
        & > Input { width: 1fr; height: 1; border: none; padding: 0; background: $surface; }
        & > Input:focus { border: none; }
        & > Static { width: auto; height: 1; padding: 0 1; color: $text-muted; }
    }
    """

    class Changed(Message):
        """Another text is looked for."""

        def __init__(self, query: str) -> None:
            super().__init__()
            self.query = query

    class Stepped(Message):
        """Another place should be marked: that many further on."""

        def __init__(self, by: int) -> None:
            super().__init__()
            self.by = by

    class Closed(Message):
        """The search is over."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, disabled=True)
        self._was_opened = False

    @property
    def is_open(self) -> bool:
        """Whether something is looked for."""
        return bool(self.display)

    def compose(self) -> ComposeResult:
        """Lay out the field and the count."""
        if not self._was_opened:
            return
        yield Static("find")
        yield Input(compact=True)
        yield Static(id="find-count", markup=False)

    async def open(self) -> None:
        """Take the focus; what was looked for last is there and marked."""
        if not self._was_opened:
            self._was_opened = True
            await self.recompose()
        self.display, self.disabled = True, False
        field = self.query_one(Input)
        field.focus()
        field.select_all()
        self.post_message(self.Changed(field.value))

    def show(self, words: str) -> None:
        """Show which place is marked."""
        self.query_one("#find-count", Static).update(f"{words}  enter next · ↑ previous · esc ends")

    @on(Input.Changed)
    def _look(self, event: Input.Changed) -> None:
        event.stop()
        if self.is_open:
            self.post_message(self.Changed(event.value))

    def action_step(self, by: int) -> None:
        """Go to another place."""
        self.post_message(self.Stepped(int(by)))

    def action_close(self) -> None:
        """End the search."""
        self.display, self.disabled = False, True
        self.post_message(self.Closed())
