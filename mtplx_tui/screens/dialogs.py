"""Small questions asked above a screen; each is dismissed with its answer, or None."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from mtplx_tui.wording import showable


class Dialog(ModalScreen[str | None]):
    """A box with a title and a line of keys; escape answers None."""

    CSS_PATH = "dialogs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "refuse", "cancel")]

    title_text = ""
    keys_text = "enter accepts · esc cancels"

    def compose(self) -> ComposeResult:
        """Lay out the box."""
        with Vertical(classes="dialog"):
            yield Static(self.title_text, classes="dialog--title", markup=False)
            yield from self.compose_body()
            yield Static("", classes="dialog--error", markup=False)
            yield Static(self.keys_text, classes="dialog--keys", markup=False)

    def compose_body(self) -> ComposeResult:
        """Lay out what is asked."""
        yield from ()

    def show_error(self, text: str) -> None:
        """Say what is wrong with the answer given."""
        self.query_one(".dialog--error", Static).update(Content(showable(text)))

    def action_refuse(self) -> None:
        """Answer nothing."""
        self.dismiss(None)


class AskText(Dialog):
    """Asks for one line.

    Args:
        title: what is asked.
        value: what stands there at first.
        check: raises ValueError or OSError, with the reason in it, for an answer that won't do.
    """

    def __init__(self, title: str, value: str = "", check: Callable[[str], None] | None = None):
        super().__init__()
        self.title_text = title
        self._value = value
        self._check = check

    def compose_body(self) -> ComposeResult:
        """Lay out the field."""
        yield Input(self._value, select_on_focus=False)

    @on(Input.Submitted)
    def _accept(self, event: Input.Submitted) -> None:
        event.stop()
        text = event.value.strip()
        if not text:
            self.show_error("please type something")
            return
        try:
            if self._check is not None:
                self._check(text)
        except (ValueError, OSError) as reason:
            self.show_error(_reason(reason))
            return
        self.dismiss(text)


class Confirm(Dialog):
    """Asks before something that can't be undone; dismissed with `yes` or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "accept", "yes"),  # not enter, that is meant for what the box came over
        Binding("n", "refuse", "no"),
    ]
    keys_text = "y does it · n or esc does not"

    def __init__(self, title: str, detail: str = "") -> None:
        super().__init__()
        self.title_text = title
        self._detail = detail

    def compose_body(self) -> ComposeResult:
        """Lay out what it is about."""
        yield Static(Content(showable(self._detail)))

    def action_accept(self) -> None:
        """Go ahead."""
        self.dismiss("yes")


class LeaveUnkept(Confirm):
    """Asks before the app is left with chats that are in memory only.

    Args:
        why: they are not on disk.
    """

    def __init__(self, why: str) -> None:
        super().__init__(
            "Leave, and lose what is not on disk?",
            f"{why}\n\nWith room and rights there it is written by itself. Chats can be exported "
            "elsewhere: x in the list of chats.",
        )


class Choose(Dialog):
    """Asks for one of several; dismissed with its index as text.

    Args:
        title: what is asked.
        choices: one line each.
        start: index of the choice marked at first.
    """

    keys_text = "↑ ↓ choose · enter accepts · esc cancels"

    def __init__(self, title: str, choices: Sequence[str], start: int = 0) -> None:
        super().__init__()
        self.title_text = title
        self._choices = tuple(choices)
        self._start = start

    def compose_body(self) -> ComposeResult:
        """Lay out the choices."""
        options = [Option(Content(showable(text))) for text in self._choices]
        yield OptionList(*options, markup=False)

    def on_mount(self) -> None:
        """Mark the first choice."""
        self.query_one(OptionList).highlighted = self._start

    @on(OptionList.OptionSelected)
    def _accept(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.dismiss(str(event.option_index))


def _reason(error: ValueError | OSError) -> str:
    if isinstance(error, OSError) and error.strerror is not None:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error)
