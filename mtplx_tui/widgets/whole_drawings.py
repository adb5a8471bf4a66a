"""Draws behind a batch what changed in the middle of it.

Textual takes what has changed off its list of what is to be drawn, and then draws nothing while a batch goes
on: an answer's that is laid out in another tab, say. A notice that went just then stayed on the screen.
"""

from __future__ import annotations

from rich.console import RenderableType
from textual.app import App
from textual.screen import Screen

__all__ = ["WholeDrawings"]


class WholeDrawings(App[int]):
    """See the module."""

    _is_behind = False
    """Whether something was to be drawn in the batch that goes on."""

    def _display(self, screen: Screen[object], renderable: RenderableType | None) -> None:
        if renderable is not None and self._batch_count:
            self._is_behind = True
        super()._display(screen, renderable)

    def _end_batch(self) -> None:
        super()._end_batch()
        if self._is_behind and not self._batch_count:
            self._is_behind = False
            if self.screen_stack:
                self.screen.refresh()
