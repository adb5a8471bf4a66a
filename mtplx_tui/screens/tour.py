"""A tour of the speculation tab: a card stop by stop, the tab alive behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.css.query import NoMatches
from textual.events import Resize
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Static

from mtplx_tui.setup.words import FIRST_QUESTION, TOUR

if TYPE_CHECKING:
    from mtplx_tui.app import MtplxApp

__all__ = ["Tour"]

TOURED = "-toured"
NEXT = "right,enter,space,n"


class Tour(ModalScreen[None]):
    """Dismissed after the last stop, or when it is left."""

    CSS_PATH = "tour.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(NEXT, "step(1)", "next"),
        Binding("left,backspace,p", "step(-1)", "back"),
        Binding("a", "ask", "have something answered, live"),
        Binding("escape,q,s", "leave", "skip the rest"),
        Binding("alt+up,plus", "app.change_depth(1)", "draft one deeper"),
        Binding("alt+down,minus", "app.change_depth(-1)", "draft one less deep"),
        Binding("alt+a", "app.auto_depth", "let the engine choose the depth"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._at = 0

    def compose(self) -> ComposeResult:
        """Lay out one card."""
        with Vertical(id="tour", classes="card"):
            yield Static(id="tour-text", markup=False)
            yield Static(id="tour-keys", markup=False)

    def on_mount(self) -> None:
        """Begin; where nothing was answered yet, have something answered."""
        view = self._mtplx.view
        if not any(len(request.cycles) for request in view.requests):
            self.action_ask()
        self.call_after_refresh(self._show)

    def on_unmount(self) -> None:
        """Leave the tab as it was."""
        self._unmark()

    @property
    def _mtplx(self) -> MtplxApp:
        return cast("MtplxApp", self.app)

    @on(Resize)
    def _show(self) -> None:
        hint = TOUR[self._at]
        card = self.query_one("#tour")
        card.border_title = f"{hint.title}  {self._at + 1}/{len(TOUR)}"
        self.query_one("#tour-text", Static).update(Content(hint.text))
        is_last = self._at == len(TOUR) - 1
        keys = (("enter", "ends" if is_last else "next"), ("left", "back"), ("a", "ask, live"))
        parts = [Content.assemble((key, "bold"), f" {what}   ") for key, what in keys]
        self.query_one("#tour-keys", Static).update(
            Content.assemble(*parts, ("esc", "bold"), " skip")
        )
        self._mark(hint.part)

    def _mark(self, part: str) -> None:
        """Point at a part of the tab, and keep the card away from it."""
        self._unmark()
        try:
            marked = self.app.screen_stack[0].query_one(f"#{part}", Widget)
        except NoMatches:
            return
        marked.add_class(TOURED)
        region = marked.region
        is_low = bool(region) and region.y + region.height / 2 > self.size.height / 2
        self.set_class(is_low, "-above")

    def _unmark(self) -> None:
        for marked in self.app.screen_stack[0].query(f".{TOURED}"):
            marked.remove_class(TOURED)

    def action_step(self, by: int) -> None:
        """Go a stop on, or back; past the last one the tour ends."""
        self._at = max(0, self._at + by)
        if self._at >= len(TOUR):
            self.action_leave()
        else:
            self._show()

    def action_ask(self) -> None:
        """Have something answered in the open chat, if nothing is."""
        app = self._mtplx
        model = app.view.model
        if model is None or app.desk.running is not None:
            return
        try:
            app.send(app.desk.ask(FIRST_QUESTION, model))
        except ValueError as error:
            app.notify(str(error), severity="warning", markup=False)

    def action_leave(self) -> None:
        """End the tour."""
        self.dismiss(None)
