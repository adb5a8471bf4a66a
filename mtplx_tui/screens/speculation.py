"""Speculation: the fate of each token."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.screen import Screen
from textual.widgets import Static

from mtplx_tui.widgets.status_bar import StatusBar
from mtplx_tui.widgets.tab_bar import TabBar


class SpeculationScreen(Screen[None]):
    """Shows what speculation did."""

    def compose(self) -> ComposeResult:
        """Lay out the screen."""
        yield TabBar("speculation")
        yield Static("Ask something in Chat (F2); its tokens appear here")
        yield StatusBar()
