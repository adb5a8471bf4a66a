"""The themes in a list beside the screen they change: what is marked is seen at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual import on
from textual.app import ComposeResult
from textual.content import Content
from textual.theme import Theme
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from mtplx_tui.screens.dialogs import Dialog
from mtplx_tui.theming import has_few_colors
from mtplx_tui.wording import showable

if TYPE_CHECKING:
    from mtplx_tui.app import MtplxApp

__all__ = ["ThemePicker", "ask_for_theme"]


def ask_for_theme(app: MtplxApp, themes: Sequence[Theme]) -> None:
    """Let the person look at the themes, and keep the one that is accepted."""

    def keep(name: str | None) -> None:
        if name is not None and name != app.settings.theme:
            app.preferences.keep(theme=name)

    if has_few_colors(app.terminal):
        app.notify("this terminal has few colours, so its own are used", markup=False)
    elif not isinstance(app.screen, ThemePicker):
        app.push_screen(ThemePicker(themes, app.theme), keep)


class ThemePicker(Dialog):
    """Dismissed with the name of a theme; with None, and the theme of before back, if refused.

    A theme of the terminal's own colours is not offered: it draws differently from the start on.

    Args:
        themes: what there is to choose from.
        present: the name of the one in use.
    """

    title_text = "Theme"
    keys_text = "enter keeps · esc goes back"

    def __init__(self, themes: Sequence[Theme], present: str) -> None:
        super().__init__()
        own = [theme for theme in themes if not theme.ansi]
        self._themes = sorted(own, key=lambda theme: not theme.dark)
        self._present = present

    def compose_body(self) -> ComposeResult:
        """Lay out the names, the dark ones first."""
        yield OptionList(*(Option(_line(theme), theme.name) for theme in self._themes))

    def on_mount(self) -> None:
        """Mark the theme in use."""
        names = [theme.name for theme in self._themes]
        if self._present in names:
            self.query_one(OptionList).highlighted = names.index(self._present)

    @on(OptionList.OptionHighlighted)
    def _preview(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        if event.option_id is not None:
            self.app.theme = event.option_id

    @on(OptionList.OptionSelected)
    def _accept(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.dismiss(event.option_id)

    def action_refuse(self) -> None:
        """Go back to the theme of before."""
        self.app.theme = self._present
        super().action_refuse()


def _line(theme: Theme) -> Content:
    """Return a theme's name, with its depths' colours on its own background beside it."""
    signs = [(str(depth), theme.variables[f"depth-{depth}"]) for depth in range(1, 9)]
    swatch = [(sign, f"{color} on {theme.background}") for sign, color in signs]
    return Content.assemble(f"{showable(theme.name):<12} ", *swatch)
