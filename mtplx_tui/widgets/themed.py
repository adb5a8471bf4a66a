"""An app in the theme that is set: owns the palettes there are, and what is styled by them.

Textual asks twice for all styles before the first frame, and parses them each time. Until something is
styled, only the theme's colours are made known here.
"""

from __future__ import annotations

from pathlib import Path

from textual.driver import Driver

from mtplx_tui.config import Terminal
from mtplx_tui.theming import choose_theme, has_few_colors, load_palettes, variables_for
from mtplx_tui.widgets.kept_styles import KeptStyles
from mtplx_tui.widgets.whole_drawings import WholeDrawings

__all__ = ["Themed"]


class Themed(WholeDrawings):
    """See the module.

    Args:
        driver: of the terminal.
        terminal: what it can show.
        folder: of the person's own palettes.
        theme: the one that is set.
    """

    def __init__(self, driver: type[Driver], terminal: Terminal, folder: Path, theme: str) -> None:
        palettes, self.theme_problems = load_palettes(None, folder)
        self.palettes = tuple(palette.theme for palette in palettes)
        super().__init__(driver, ansi_color=True if has_few_colors(terminal) else None)
        self.terminal = terminal
        self._is_styled = False
        """Whether a widget may have its styles already."""
        self._first_theme = ""
        self.stylesheet = KeptStyles(variables=self.get_css_variables())
        for own in self.palettes:
            self.register_theme(own)
        self.set_class(not terminal.is_utf8, "-ascii")
        self.wear_theme(theme)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Return the depth colours for themes that have none."""
        return variables_for(self.current_theme, self.palettes)

    def refresh_css(self, animate: bool = True) -> None:  # noqa: FBT001, FBT002 - Textual's
        """Style everything anew; before anything is styled, only let the theme's colours be known."""
        if self._is_styled:
            super().refresh_css(animate)
        elif self._first_theme != self.theme:
            self._first_theme = self.theme
            self.stylesheet.set_variables(self.get_css_variables())

    def begin_styling(self) -> None:
        """Take it that widgets have their styles from now on."""
        self._is_styled = True

    def wear_theme(self, wanted: str) -> None:
        """Show a theme, or what stands for it here."""
        self.theme = choose_theme(wanted, self.terminal, set(self.available_themes))
