"""A streaming Markdown text as one widget: finished sections are painted once and kept.

However long the text, a tick costs the painting of its tail and the repaint of what is in
sight. Fed as often as one likes, it draws at most ten times a second. Knows no engine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.style import Style
from textual.events import Click
from textual.geometry import Region, Size
from textual.reactive import Reactive
from textual.selection import Selection
from textual.strip import Strip
from textual.timer import Timer
from textual.widget import Widget

from mtplx_tui.finding import Hit
from mtplx_tui.widgets.found_rows import FoundRows
from mtplx_tui.widgets.markdown_sections import SectionSplitter
from mtplx_tui.widgets.segments import restyled
from mtplx_tui.wording import showable

if TYPE_CHECKING:
    from mtplx_tui.widgets.markdown_paint import MarkdownPainter

FEED_S = 0.1
"""Least time between two drawings."""
SLACK_S = 0.009
"""So much earlier is no other drawing: who feeds ten times a second is never put off."""
FAST_CHARACTERS_PER_S = 1_200
"""About 300 tokens a second: from here on the tail is shown as plain text until it settles."""
SETTLE_S = 1.0
"""Time between two cuttings of a fast tail."""


PAINTS = (
    "heading",
    "code",
    "code-block",
    "link",
    "quote",
    "rule",
    "bullet",
    "comment",
    "keyword",
    "string",
    "number",
    "name",
)
FOUND, MARKED = "answer--found", "answer--marked"


class Answer(Widget):
    """Markdown that grows.

    Args:
        text: what is there at the start.
        clock: seconds that only ever increase; measures how fast text arrives.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"answer--{name}" for name in PAINTS} | {FOUND, MARKED}

    DEFAULT_CSS = """
    Answer {
        height: auto;
        width: 1fr;
        & > .answer--heading { text-style: bold; color: $text-primary; }
        & > .answer--code { color: $text-accent; }
        & > .answer--code-block { background: $surface; color: $foreground; }
        & > .answer--link { text-style: underline; color: $text-primary; }
        & > .answer--quote { text-style: italic; }
        & > .answer--rule { text-style: dim; }
        & > .answer--bullet { text-style: dim; }
        & > .answer--comment { text-style: italic dim; }
        & > .answer--keyword { color: $text-primary; }
        & > .answer--string { color: $text-success; }
        & > .answer--number { color: $text-warning; }
        & > .answer--name { color: $text-accent; }
        & > .answer--found { background: $panel; text-style: underline; }
        & > .answer--marked { color: $background; background: $warning; text-style: bold; }
        &:ansi > .answer--marked { color: ansi_default; background: ansi_default; text-style: bold reverse; }
    }
    """

    virtual_size: Reactive[Size] = Reactive(Size(0, 0), layout=False, repaint=False)
    """Follows the height that `draw` asked for; asking for the layout again would double it."""

    def __init__(
        self,
        text: str = "",
        *,
        clock: Callable[[], float] = time.monotonic,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self._clock = clock
        self._text = text
        self._splitter = SectionSplitter()
        self._pending = showable(text)
        self._is_finished = False
        self._painter: MarkdownPainter | None = None
        self._palette: dict[str, Style] = {}
        self._rows: list[Strip] = []
        self._ends: list[int] = []
        """Number of rows up to the end of each finished section."""
        self._painted_width = 0
        self._found: FoundRows | None = None
        self._timer: Timer | None = None
        self._drawn_at = -FEED_S
        self._settled_at = -SETTLE_S
        self._speed = 0.0

    @property
    def text(self) -> str:
        """All that was given so far, as it was given."""
        return self._text

    @property
    def is_painted(self) -> bool:
        """Whether it was laid out, so that what is shown can be searched."""
        return self._painted_width > 0

    @property
    def is_fast(self) -> bool:
        """Whether text arrives too fast for its tail to be read as Markdown each time."""
        return self._speed > FAST_CHARACTERS_PER_S and not self._is_finished

    def searched(self) -> str:
        """Return what is shown now, row by row, for a search whose places are marked here."""
        self._found = FoundRows(row.text.rstrip() for row in self._rows)
        return self._found.text

    def mark(self, hits: Sequence[Hit], marked: Hit | None) -> None:
        """Mark places in what `searched` returned; none to end it."""
        if self._found is not None:
            self._found.mark(hits, marked)
            self.refresh()

    def row_of(self, character: int) -> int:
        """Return the row that a character of what `searched` returned stands in."""
        return 0 if self._found is None else self._found.row_of(character)

    def show(self, text: str, *, is_finished: bool) -> None:
        """Bring the widget to a text; what only adds to the present one costs its rest alone."""
        if not text.startswith(self._text) or (self._is_finished and text != self._text):
            self._start_over(text)
        elif text != self._text:
            self._pending += showable(text[len(self._text) :])
            self._text = text
        elif is_finished == self._is_finished:
            return
        if is_finished:
            self._is_finished = True
            self.draw()
        else:
            self._draw_soon()

    def draw(self) -> None:
        """Draw what has come since the last time."""
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        now = self._clock()
        self._measure_speed(len(self._pending), now - self._drawn_at)
        self._drawn_at = now
        had_rows = len(self._rows)
        first_new = self._take_pending(now)
        if not self.is_mounted:
            return
        if not self._painted_width or len(self._rows) != had_rows:
            self.refresh(layout=True)
        else:
            self.refresh(Region(0, first_new, self._painted_width, had_rows - first_new))

    def _draw_soon(self) -> None:
        wait = self._drawn_at + FEED_S - self._clock()
        if wait <= SLACK_S:
            self.draw()
        elif self._timer is None and self.is_attached:
            self._timer = self.set_timer(wait, self.draw)

    def _start_over(self, text: str) -> None:
        self._splitter = SectionSplitter()
        self._text, self._pending = text, showable(text)
        self._rows, self._ends = [], []
        self._is_finished = False
        self._settled_at = -SETTLE_S

    def _measure_speed(self, characters: int, elapsed: float) -> None:
        """Update the smoothed rate at which text arrives, characters a second."""
        if elapsed <= 0:
            return
        weight = min(1.0, elapsed)
        self._speed += weight * (characters / elapsed - self._speed)

    def _take_pending(self, now: float) -> int:
        """Feed the splitter and repaint the tail; return the first row that is new."""
        pending, self._pending = self._pending, ""
        self._splitter.feed(pending)
        width = self._painted_width
        if self._is_finished:
            change = self._splitter.finish()
        elif self.is_fast and now - self._settled_at < SETTLE_S:
            change = None
        else:
            self._settled_at = now
            change = self._splitter.settle()
        if not width:
            return 0
        if change is not None and change.dropped:
            del self._ends[-change.dropped :]
        first_new = self._ends[-1] if self._ends else 0
        del self._rows[first_new:]
        for section in self._splitter.sections[len(self._ends) :]:
            self._lay(self._paint().paint(section, width), is_joined=section.is_joined)
            self._ends.append(len(self._rows))
        self._lay_tail(width)
        return first_new

    def _lay(self, rows: list[Strip], *, is_joined: bool) -> None:
        if rows and self._rows and not is_joined:
            self._rows.append(Strip.blank(self._painted_width, self.rich_style))
        self._rows += rows

    def _lay_tail(self, width: int) -> None:
        tail = self._splitter.tail
        if tail is None:
            return
        painter = self._paint()
        if self.is_fast:
            rows = painter.paint_plain(tail.source.strip("\n"), width)
        else:
            rows = painter.paint(tail, width)
        self._lay(rows, is_joined=tail.is_joined)

    def _paint(self) -> MarkdownPainter:
        if self._painter is None:
            from mtplx_tui.widgets.markdown_paint import MarkdownPainter

            self._palette = self._styles_now()
            self._painter = MarkdownPainter(self._palette[""], self._palette)
        return self._painter

    def _styles_now(self) -> dict[str, Style]:
        """Return what to paint with: by name, the base by the empty one."""
        styles = {
            name: self.get_component_rich_style(f"answer--{name}", partial=True) for name in PAINTS
        }
        return {"": self.rich_style, **styles}

    def _repaint_all(self, width: int) -> None:
        self._painted_width = width
        self._rows, self._ends = [], []
        self._take_pending(self._clock())

    def notify_style_update(self) -> None:
        """Look at the colours once they are all there: those of component classes come last."""
        super().notify_style_update()
        if self._painter is not None:
            self.call_next(self._restyle)

    def _restyle(self) -> None:
        """Paint all anew, if it was in other colours; a focus alone changes none."""
        if self._painter is not None and self._styles_now() != self._palette:
            self._painter = None
            self._repaint_all(self._painted_width)
            self.refresh()

    def on_mount(self) -> None:
        """Begin with what was given before there was a screen."""
        self._draw_soon()

    def get_content_width(self, container: Size, viewport: Size) -> int:
        """Fill the row."""
        return container.width

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Return the number of rows at a width, painting them if they are not there yet."""
        if width != self._painted_width and width > 0:
            self._repaint_all(width)
        return len(self._rows)

    def render_line(self, y: int) -> Strip:
        """Return one row."""
        if y >= len(self._rows):
            return Strip.blank(self.size.width, self.rich_style)
        strip = self._rows[y]
        for start, end, is_marked in self._found.spans(y) if self._found is not None else ():
            name = MARKED if is_marked else FOUND
            style = self.get_component_rich_style(name, partial=True)
            strip = restyled(strip, start, end, style)
        selection = self.text_selection
        if selection is not None and (span := selection.get_span(y)) is not None:
            strip = self._selected(strip, *span)
        return strip.apply_offsets(0, y)

    def _selected(self, strip: Strip, start: int, end: int) -> Strip:
        style = self.screen.get_component_rich_style("screen--selection", partial=True)
        plain = Style(color=style.color, bgcolor=style.bgcolor)
        return restyled(strip, start, len(strip.text) if end == -1 else end, plain)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """Return the text of a selection made with the mouse, without the padding."""
        lines = [strip.text.rstrip() for strip in self._rows]
        return selection.extract("\n".join(lines)), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        """Show the selection."""
        self.refresh()

    def on_click(self, event: Click) -> None:
        """Open a link."""
        link = event.style.link
        if link is not None:
            event.stop()
            self.app.open_url(link)
