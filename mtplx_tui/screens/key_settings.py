"""The keys, to be changed: one is marked, then the new key is pressed; what stands against it is told."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Vertical
from textual.content import Content
from textual.events import Key as KeyPressed
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from mtplx_tui.files import reason
from mtplx_tui.keymap import KEYS_PAGE, SCOPES, Scope, bindings, key_name
from mtplx_tui.keymap import Key as Action
from mtplx_tui.keys_file import KEYS, Keys, trouble_with
from mtplx_tui.messages import TakesKeys
from mtplx_tui.screens.app_screen import AppScreen
from mtplx_tui.screens.dialogs import Confirm
from mtplx_tui.wording import showable

__all__ = ["KeySettings", "PressKey"]

KEYS_CELLS = 24
MOST_KEYS = 4
"""Of one action."""


class PressKey(TakesKeys, ModalScreen[str | None]):
    """Waits for a key and is dismissed with one that will do; escape dismisses it with None.

    Args:
        action: that wants a key.
        keys: as they are now.
    """

    CSS_PATH = "dialogs.tcss"

    CSS = "PressKey { align: center middle; background: $background 60%; }"

    def __init__(self, action: Action, keys: Keys) -> None:
        super().__init__()
        self._action = action
        self._keys = keys
        self._pressed = ""

    def compose(self) -> ComposeResult:
        """Lay out the box."""
        with Vertical(classes="dialog"):
            title = f"Press the key for: {self._action.description}"
            yield Static(title, classes="dialog--title", markup=False)
            yield Static(f"now {self._keys.names(self._action.id)}", id="press-now", markup=False)
            yield Static("", classes="dialog--error", markup=False)
            yield Static("escape cancels", classes="dialog--keys", markup=False)

    def on_key(self, event: KeyPressed) -> None:
        """Take a key that will do at once; say what stands against another."""
        event.stop()
        event.prevent_default()
        if event.key == "escape":
            self.dismiss(None)
            return
        trouble = trouble_with(self._action.id, event.key)
        if not trouble:
            wanted = Keys({**self._keys.changed, self._action.id: event.key})
            trouble = "; ".join(_told(other) for other in wanted.clashes(self._action.id))
        if trouble:
            text = f"{key_name(event.key)} won't do: {trouble}. Press another."
            self.query_one(".dialog--error", Static).update(Content(showable(text)))
        else:
            self.dismiss(event.key)


def _told(key_id: str) -> str:
    scope = next(scope for scope in SCOPES if KEYS[key_id] in scope.keys)
    return f"it is for “{KEYS[key_id].description}” ({scope.title})"


class KeySettings(AppScreen):
    """See the module."""

    CSS_PATH = "settings.tcss"
    BINDINGS: ClassVar[list[BindingType]] = bindings(KEYS_PAGE)

    @property
    def chosen(self) -> Action:
        """The action under the cursor."""
        at = self.query_one(OptionList).highlighted_option
        return (
            KEYS[str(at.id)] if at is not None and at.id is not None else next(iter(KEYS.values()))
        )

    def compose(self) -> ComposeResult:
        """Lay out the list beside or above what there is to say of one row."""
        yield Static(id="keys-title", markup=False)
        with Container(id="keys-body"):
            yield OptionList(markup=False, id="keys-list")
            yield Static(id="keys-detail", markup=False)
        yield Static(id="keys-hint", markup=False)

    def on_mount(self) -> None:
        """Fill the list."""
        self.show_all()
        self.query_one(OptionList).focus()

    def show_all(self) -> None:
        """Show everything as it is now."""
        listed = self.query_one(OptionList)
        at = listed.highlighted
        options: list[Option] = []
        for scope in SCOPES:
            if options:
                options.append(Option("", disabled=True))
            options.append(Option(Content.styled(scope.title, "bold $text-primary"), disabled=True))
            options += [Option(self._row(action), id=action.id) for action in scope.keys]
        listed.clear_options()
        listed.add_options(options)
        listed.highlighted = 1 if at is None else at
        dot = self.marks.dot
        title = f" Keys {dot} {self.mtplx.places.keymap_file}"
        self.query_one("#keys-title", Static).update(Content.styled(showable(title), "bold"))
        hints = [("keys.change", "change"), ("keys.add", "add"), ("keys.reset", "as it was")]
        hints += [("keys.reset_all", "all as they were"), ("keys.close", "back")]
        sign = self.mtplx.keys.sign
        parts = [Content.assemble((sign(key), "bold"), f" {what}") for key, what in hints]
        line = Content.assemble(" ", Content("   ").join(parts))
        self.query_one("#keys-hint", Static).update(line)
        self.show_detail()

    @on(OptionList.OptionHighlighted)
    def show_detail(self) -> None:
        """Say what there is to say of the marked action."""
        action, keys = self.chosen, self.mtplx.keys
        scope: Scope = next(scope for scope in SCOPES if action in scope.keys)
        lines = [
            Content.assemble((action.description, "bold $text-primary")),
            Content.assemble(("keys     ", "dim"), keys.names(action.id)),
            Content.assemble(("default  ", "dim"), Keys().names(action.id)),
            Content.assemble(("works    ", "dim"), scope.title.lower()),
            Content.assemble(
                ("in file  ", "dim"), f'"{action.id}" = "{",".join(keys.of(action.id))}"'
            ),
        ]
        if action.is_priority:
            lines.append(
                Content.styled("Works while you type too, so no key for typing will do.", "dim")
            )
        self.query_one("#keys-detail", Static).update(Content("\n").join(lines))

    def _row(self, action: Action) -> Content:
        keys = self.mtplx.keys
        names = Content(keys.names(action.id))
        if names.cell_length > KEYS_CELLS:
            names = names.truncate(KEYS_CELLS)
        style = "bold" if action.id in keys.changed else ""
        space = " " * (KEYS_CELLS + 2 - names.cell_length)
        return Content.assemble("  ", names.stylize(style), space, action.description)

    # Keys

    @on(OptionList.OptionSelected)
    def action_change(self) -> None:
        """Wait for the key that takes the place of the marked action's."""
        self._press(())

    def action_add(self) -> None:
        """Wait for one more key for the marked action."""
        before = self.mtplx.keys.of(self.chosen.id)
        if len(before) < MOST_KEYS:
            self._press(before)
        else:
            self.notify(f"it has {MOST_KEYS} keys already", severity="warning")

    def _press(self, before: tuple[str, ...]) -> None:
        action = self.chosen

        def answered(key: str | None) -> None:
            if key is not None and key not in before:
                self._keep({action.id: ",".join([*before, key])})

        self.app.push_screen(PressKey(action, self.mtplx.keys), answered)

    def action_reset(self) -> None:
        """Give the marked action its own keys back, unless another has them now."""
        own = {
            name: keys for name, keys in self.mtplx.keys.changed.items() if name != self.chosen.id
        }
        others = Keys(own).clashes(self.chosen.id)
        if others:
            told = "; ".join(_told(other) for other in others)
            self.notify(f"its key is taken: {told}", severity="warning", markup=False)
        else:
            self._keep({self.chosen.id: None})

    def action_reset_all(self) -> None:
        """Give all actions their own keys back."""
        changed = tuple(self.mtplx.keys.changed)

        def answered(answer: str | None) -> None:
            if answer is not None:
                self._keep(dict.fromkeys(changed))

        if changed:
            count = f"{len(changed)} action{'' if len(changed) == 1 else 's'}"
            self.app.push_screen(Confirm("All keys as they were?", f"{count} changed"), answered)

    def _keep(self, changes: dict[str, str | None]) -> None:
        try:
            self.mtplx.change_keys(changes)
        except OSError as error:
            self.notify(f"keys not saved: {reason(error)}", severity="error", markup=False)
        self.show_all()

    def action_close(self) -> None:
        """Go back."""
        self.dismiss()
