"""Rows of text in a few styles; only a row that is another one is drawn again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

__all__ = ["PaintedRows", "Row"]

Row = tuple[tuple[str, str], ...]
"""Pieces of text, each with the name of its style; an empty name is plain."""
STYLES = (
    "dim",
    "bold",
    "cool",
    "warm",
    "hot",
    "hot-bold",
    "warm-bold",
    "cool-bold",
    "speed",
    "fans",
    "track",
)


class PaintedRows(Widget):
    """Shows rows from the top; what doesn't fit is left out."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"rows--{name}" for name in (*STYLES, "power")}
    DEFAULT_CSS = """
    PaintedRows {
        height: 1fr;
        & > .rows--dim { color: $text-muted; }
        & > .rows--bold { text-style: bold; }
        & > .rows--cool { color: $text-success; }
        & > .rows--warm { color: $text-warning; }
        & > .rows--hot { color: $text-error; }
        & > .rows--cool-bold { color: $text-success; text-style: bold; }
        & > .rows--warm-bold { color: $text-warning; text-style: bold; }
        & > .rows--hot-bold { color: $text-error; text-style: bold; }
        & > .rows--speed { color: $text-accent; }
        & > .rows--fans { color: $text-primary; }
        & > .rows--track { color: $foreground 20%; }
        & > .rows--power { color: $cycle-draft; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows: Sequence[Row] = ()
        self._strips: dict[int, Strip] = {}
        self._styles: dict[str, Style] = {}
        self._painted_for: tuple[object, ...] = ()
        """Filters, background and width that the strips are right for."""

    @property
    def plain(self) -> str:
        """What is shown, without styles."""
        return "\n".join("".join(text for text, _ in row) for row in self._rows)

    def put(self, rows: Sequence[Row]) -> None:
        """Show these rows in place of the old ones."""
        old, self._rows = self._rows, rows
        changed = [
            at
            for at in range(max(len(old), len(rows)))
            if (old[at] if at < len(old) else None) != (rows[at] if at < len(rows) else None)
        ]
        for at in changed:
            self._strips.pop(at, None)
        if len(old) != len(rows) and self.styles.is_auto_height:
            self.refresh(layout=True)
        elif changed:
            width = self.size.width
            self.refresh(*(Region(0, at, width, 1) for at in changed))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Return a height for all rows, where the styles leave it to them."""
        return len(self._rows)

    def notify_style_update(self) -> None:
        """Forget colours that are other ones now."""
        super().notify_style_update()
        self._strips.clear()
        self._styles.clear()

    def render_lines(self, crop: Region) -> list[Strip]:
        """Return rows as they are painted: there is no border and no padding to put around them.

        Textual's own way there costs more than the painting.
        """
        width = self.size.width
        filters, background = self.get_line_filters(), self.background_colors[1]
        if (filters, background, width) != self._painted_for:
            self._painted_for = (filters, background, width)
            self._strips.clear()
        strips = []
        for y in crop.line_range:
            strip = self._strips.get(y)
            if strip is None:
                strip = self._paint(y, width)
                for line_filter in filters:
                    strip = strip.apply_filter(line_filter, background)
                self._strips[y] = strip
            strips.append(strip)
        first, last = crop.column_span
        return strips if (first, last) == (0, width) else [s.crop(first, last) for s in strips]

    def _paint(self, y: int, width: int) -> Strip:
        """Return a row, as wide as the widget."""
        row = self._rows[y] if y < len(self._rows) else ()
        known = self._styles
        segments = [
            Segment(text, known[name] if name in known else self._style(name)) for text, name in row
        ]
        return Strip(segments).adjust_cell_length(width, self._style(""))

    def _style(self, name: str) -> Style:
        style = self._styles.get(name)
        if style is None:
            is_plain = not name
            style = self.rich_style if is_plain else self.get_component_rich_style(f"rows--{name}")
            self._styles[name] = style
        return style
