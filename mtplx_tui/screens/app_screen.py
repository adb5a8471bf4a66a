"""A screen of this app, which it knows by its own type."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual.screen import Screen

from mtplx_tui.marks import Marks, marks_for

if TYPE_CHECKING:
    from mtplx_tui.app import MtplxApp

__all__ = ["AppScreen"]


class AppScreen(Screen[None]):
    """See the module."""

    @property
    def mtplx(self) -> MtplxApp:
        """The app."""
        return cast("MtplxApp", self.app)

    @property
    def marks(self) -> Marks:
        """The signs that its terminal can show."""
        return marks_for(self.mtplx.terminal)
