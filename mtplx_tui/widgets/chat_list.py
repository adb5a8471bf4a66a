"""The chats on disk, newest first, with a field that searches them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from mtplx_tui.chats.model import Summary
from mtplx_tui.keymap import CHATS, bindings
from mtplx_tui.keys_file import keys_of
from mtplx_tui.wording import showable

SEARCH_WAIT_S = 0.2
"""A search reads files: it waits until typing pauses."""
KEYS_HINT = (
    "enter opens · {chats.rename} renames\n"
    "{chats.export} exports · {chats.delete} deletes · {chats.search} finds"
)


class _Chats(OptionList):
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings(CHATS),
        Binding("j", "cursor_down", show=False),
        Binding("k", "cursor_up", show=False),
    ]

    def action_act(self, action: str) -> None:
        """Hand a key on to the panel."""
        if isinstance(self.parent, ChatList):
            self.parent.act(action)


class ChatList(Vertical):
    """A panel of chats."""

    @dataclass
    class Chosen(Message):
        """A chat should be opened."""

        chat_id: str

    @dataclass
    class Acted(Message):
        """Something should be done with a chat: rename, delete or export."""

        chat_id: str
        action: str

    @dataclass
    class Searched(Message):
        """Only chats with this text should be shown."""

        text: str

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._waiting: Timer | None = None

    def compose(self) -> ComposeResult:
        """Lay out the field, the list and its keys."""
        yield Input(placeholder="search chats", compact=True, id="chat-search")
        yield _Chats(id="chats", markup=False)
        yield Static(keys_of(self.app).fill(KEYS_HINT), id="chat-keys", markup=False)

    @property
    def search_text(self) -> str:
        """What is searched for."""
        return self.query_one("#chat-search", Input).value

    def show(self, summaries: Sequence[Summary], open_id: str) -> None:
        """Show these chats; the open one carries a mark."""
        chats = self.query_one(_Chats)
        at = chats.highlighted_option
        kept = at.id if at is not None and chats.has_focus else open_id
        chats.clear_options()
        chats.add_options(Option(_line(s, is_open=s.id == open_id), id=s.id) for s in summaries)
        ids = [summary.id for summary in summaries]
        if kept in ids:
            chats.highlighted = ids.index(kept)
        elif ids:
            chats.highlighted = 0

    def focus_list(self) -> None:
        """Give the focus to the list."""
        self.screen.set_focus(self.query_one(_Chats))

    def act(self, action: str) -> None:
        """Do what a key of the list asks for."""
        if action == "search":
            self.screen.set_focus(self.query_one("#chat-search", Input))
            return
        at = self.query_one(_Chats).highlighted_option
        if at is not None and at.id is not None:
            self.post_message(self.Acted(at.id, action))

    @on(OptionList.OptionSelected)
    def _choose(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if event.option.id is not None:
            self.post_message(self.Chosen(event.option.id))

    @on(Input.Changed)
    def _search(self, event: Input.Changed) -> None:
        event.stop()
        if self._waiting is not None:
            self._waiting.stop()
        self._waiting = self.set_timer(SEARCH_WAIT_S, self._say_search)

    def _say_search(self) -> None:
        self.post_message(self.Searched(self.search_text))

    @on(Input.Submitted)
    def _found(self, event: Input.Submitted) -> None:
        event.stop()
        self.focus_list()


def _line(summary: Summary, *, is_open: bool) -> Content:
    mark = "● " if is_open else "  "
    title = showable(summary.title).replace("\n", " ") or "New chat"
    day = datetime.fromtimestamp(summary.changed).strftime("%d %b")
    return Content.assemble(
        mark, (title, "bold" if is_open else ""), "  ", (day, "" if is_open else "dim")
    )
