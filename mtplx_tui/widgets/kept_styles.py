"""Styles that are parsed once for each set of colours.

Textual parses all of them anew whenever a screen with styles of its own is first shown, three times over:
a tenth of a second before a tab appears. What was parsed with the same colours still holds.
"""

from __future__ import annotations

from textual.css.stylesheet import Stylesheet

__all__ = ["KeptStyles"]


class KeptStyles(Stylesheet):
    """Takes the place of an app's stylesheet."""

    def set_variables(self, variables: dict[str, str]) -> None:
        """Take the colours; others than before let go of all that was parsed."""
        if variables != self._variables:
            super().set_variables(variables)

    def reparse(self) -> None:
        """Read what is new; the rest is known."""
        self.parse()
