"""Asks which model to open: one of those on this machine, or whatever a person names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Key
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option
from textual.worker import get_current_worker

from mtplx_tui.library.disk import Location, ModelNotFound, local_models, resolve
from mtplx_tui.remedies import one_line
from mtplx_tui.screens.dialogs import Dialog
from mtplx_tui.wording import showable

KINDS = {
    "demo": "comes with the app",
    "folder": "folder",
    "hub": "hub cache",
    "other": "another program's",
}


class OpenModel(Dialog):
    """Dismissed with a name that `library.disk.resolve` takes.

    Args:
        current: the name of the model that is loaded, marked in the list.
        list_models: looks for models; runs in a thread.
        find: raises ModelNotFound for a name that is no model here.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "into_list", "models", show=False),
        Binding("up", "into_field", "name", show=False),
    ]
    title_text = "Open a model"
    keys_text = "↑ ↓ choose · enter opens · esc cancels"

    def __init__(
        self,
        current: str | None = None,
        list_models: Callable[[], Sequence[Location]] = local_models,
        find: Callable[[str], Location] = resolve,
    ) -> None:
        super().__init__()
        self._current = current
        self._list_models = list_models
        self._find = find

    def compose_body(self) -> ComposeResult:
        """Lay out the field and the list."""
        yield Input(
            placeholder="a folder, owner/name from the hub cache, or demo", select_on_focus=False
        )
        yield OptionList(Option("looking for models…", disabled=True), markup=False)

    def on_mount(self) -> None:
        """Look for models."""
        self._look()

    @work(thread=True, exclusive=True)
    def _look(self) -> None:
        models = tuple(self._list_models())
        if not get_current_worker().is_cancelled:
            self.app.call_from_thread(self._show, models)

    def _show(self, models: Sequence[Location]) -> None:
        listed = self.query_one(OptionList)
        listed.clear_options()
        if not models:
            listed.add_option(Option("no models found here; name one above", disabled=True))
            return
        listed.add_options(Option(self._line(model), id=model.name) for model in models)
        names = [model.name for model in models]
        listed.highlighted = names.index(self._current) if self._current in names else 0
        if not self.query_one(Input).value:
            listed.focus()

    def _line(self, model: Location) -> Content:
        mark = "● " if model.name == self._current else "  "
        return Content.assemble(mark, showable(model.name), "  ", KINDS[model.kind])

    @on(OptionList.OptionSelected)
    def _take_option(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if event.option.id is not None:
            self._open(event.option.id)

    @on(Input.Submitted)
    def _take_name(self, event: Input.Submitted) -> None:
        event.stop()
        self._open(event.value.strip())

    def _open(self, name: str) -> None:
        try:
            self._find(name)
        except ModelNotFound as error:
            self.show_error(one_line(error))
            return
        self.dismiss(name)

    def on_key(self, event: Key) -> None:
        """Take what is typed in the list for the name: the list may come while a person types."""
        field = self.query_one(Input)
        if event.character is not None and event.is_printable and self.focused is not field:
            event.stop()
            self.set_focus(field)
            field.insert_text_at_cursor(event.character)

    def action_into_list(self) -> None:
        """Go from the field to the list."""
        self.query_one(OptionList).focus()

    def action_into_field(self) -> None:
        """Go from the list to the field."""
        self.query_one(Input).focus()
