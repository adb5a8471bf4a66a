"""A page of figures about an answer, drawn to the width there is."""

from __future__ import annotations

from collections.abc import Callable

from textual.content import Content
from textual.widgets import Static

from mtplx_tui.marks import UNICODE, Marks
from mtplx_tui.view import RequestView

__all__ = ["AnswerPage"]


class AnswerPage(Static):
    """Draws what changed, and is laid out anew only where the number of rows changed.

    Args:
        page: returns the rows for an answer, or for none, a width in cells, and marks.
        marks: what the terminal can show.
        id: of the widget.
    """

    DEFAULT_CSS = "AnswerPage { height: auto; text-wrap: nowrap; text-overflow: clip; }"

    def __init__(
        self,
        page: Callable[[RequestView | None, int, Marks], Content],
        marks: Marks = UNICODE,
        *,
        id: str | None = None,
    ) -> None:
        super().__init__(id=id, markup=False)
        self._page, self._marks = page, marks
        self._request: RequestView | None = None

    def show(self, request: RequestView | None) -> None:
        """Show an answer, or none."""
        self._request = request
        self._draw()

    def on_resize(self) -> None:
        """Fit the page to the width."""
        self._draw()

    def _draw(self) -> None:
        page = self._page(self._request, self.size.width, self._marks)
        if page != self.content:
            rows = str(self.content).count("\n")
            self.update(page, layout=rows != page.plain.count("\n"))
