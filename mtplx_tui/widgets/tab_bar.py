"""The top line: the app's name, its tabs with their keys, and where the other keys are."""

from __future__ import annotations

from textual.content import Content
from textual.events import Mount
from textual.widgets import Static

from mtplx_tui.keys_file import STANDARD, Keys, keys_of

TABS = (
    ("chat", "Chat"),
    ("speculation", "Speculation"),
    ("models", "Models"),
    ("thermals", "Thermals"),
    ("bench", "Bench"),
    ("server", "Server"),
)
OPEN = "bold $text-primary on $primary-muted"


class TabBar(Static):
    """Shows which tab is open; a click opens another.

    Args:
        active: the tab it stands on.
    """

    DEFAULT_CSS = """
    TabBar {
        height: 1;
        background: $surface;
        color: $foreground 65%;
        link-color: $foreground 65%;
        link-background: $surface;
        link-style: none;
        link-color-hover: $text-primary;
        link-background-hover: $surface;
        link-style-hover: none;
    }
    """

    def __init__(self, active: str = "chat") -> None:
        super().__init__(markup=False)
        self._active = active

    def _on_mount(self, event: Mount) -> None:
        super()._on_mount(event)
        self.on_resize()

    def on_resize(self) -> None:
        """Fit the line to the width."""
        style = "bold reverse" if self.app.native_ansi_color else OPEN
        self.update(tab_line(self._active, self.size.width, style, keys_of(self.app)))


def tab_line(active: str, width: int, style: str = OPEN, keys: Keys = STANDARD) -> Content:
    """Return the line, the open tab in a style of its own; where it is tight, the others by their keys alone."""
    line = _tabs(active, style, keys, has_name=True)
    if line.cell_length > width:
        line = _tabs(active, style, keys, has_name=False)
    if line.cell_length > width:
        line = _tabs(active, style, keys, has_name=False, has_titles=False)
    right = Content.assemble(
        (keys.sign("app.keys"), "bold"), " keys  ", (keys.sign("app.palette"), "bold"), " commands "
    )
    space = width - line.cell_length - right.cell_length
    return Content.assemble(line, " " * space, right) if space > 0 else line


def _tabs(
    active: str, style: str, keys: Keys, *, has_name: bool, has_titles: bool = True
) -> Content:
    left = [Content.styled(" mtplx-tui  ", "bold $text-primary")] if has_name else []
    for tab, title in TABS:
        key = keys.sign(f"app.{tab}")
        if tab == active:
            left.append(Content.styled(f" {key} {title} ", style))
        else:
            text = Content(f" {key} {title} " if has_titles else f" {key} ")
            left.append(text.stylize(f"@click=app.show_tab('{tab}')"))
        left.append(Content(" "))
    return Content.assemble(*left)
