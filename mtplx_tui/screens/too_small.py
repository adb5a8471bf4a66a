"""Covers a screen that has no room; goes away by itself when there is."""

from __future__ import annotations

from textual import on
from textual.app import App, ComposeResult
from textual.content import Content
from textual.events import Key, Paste, Resize, ScreenResume
from textual.geometry import Size
from textual.screen import ModalScreen
from textual.widgets import Static

from mtplx_tui.keys_file import keys_of
from mtplx_tui.screens.typed_through import let_through

LEAST_COLUMNS, LEAST_ROWS = 60, 16
GOOD_COLUMNS, GOOD_ROWS = 80, 24


def is_too_small(size: Size) -> bool:
    """Whether nothing useful can be shown in a terminal of this size."""
    return size.width < LEAST_COLUMNS or size.height < LEAST_ROWS


def why_tight(size: Size) -> str:
    """Return what to tell where there is less room than the app is made for; else nothing."""
    if size.width >= GOOD_COLUMNS and size.height >= GOOD_ROWS:
        return ""
    return f"{size.width} × {size.height} is tight; {GOOD_COLUMNS} × {GOOD_ROWS} is comfortable"


def cover(app: App[int], size: Size) -> None:
    """Cover the screen, once, where a terminal has this size and nothing can be read."""
    if is_too_small(size) and not any(isinstance(s, TooSmall) for s in app.screen_stack):
        app.push_screen(TooSmall())


class TooSmall(ModalScreen[None]):
    """Says how much room is needed; everything goes on behind it."""

    CSS = """
    TooSmall { align: center middle; background: $background; }
    TooSmall Static { width: auto; max-width: 100%; height: auto; text-align: center; }
    """

    def compose(self) -> ComposeResult:
        """Lay out one sentence."""
        yield Static(markup=False)

    def on_key(self, event: Key) -> None:
        """Let text through: a window that is pulled at takes nothing away from who types."""
        if event.is_printable:
            let_through(self, event)

    def on_paste(self, event: Paste) -> None:
        """Let it through."""
        let_through(self, event)

    @on(Resize)
    @on(ScreenResume)
    def _fit(self) -> None:
        size = self.app.size
        if not is_too_small(size):
            # A second look can come before the first one's leave is through.
            if self.is_current:
                self.dismiss()
            return
        self.query_one(Static).update(
            Content(
                f"{size.width} × {size.height} is too small\n"
                f"{LEAST_COLUMNS} × {LEAST_ROWS} will do, "
                f"{GOOD_COLUMNS} × {GOOD_ROWS} is comfortable\n"
                f"everything goes on; {keys_of(self.app).sign('app.quit')} leaves"
            )
        )
