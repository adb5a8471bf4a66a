"""The ribbon: every emitted token, in the colour and behind the mark of how it came about.

Beneath a line, struck through, stand the drafts that were rejected in it, each under the token
that was drawn in its place. Follows the newest token until a person scrolls up.
"""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.cache import LRUCache
from textual.events import Click, Resize
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import Reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from engine.protocol import MAX_DEPTH
from mtplx_tui.finding import NOTHING, Finding, find
from mtplx_tui.marks import UNICODE, Marks
from mtplx_tui.view import RequestView
from mtplx_tui.widgets.ribbon_lines import Drafts, RibbonLines
from mtplx_tui.widgets.segments import cropped

KINDS = ("plain", *(f"depth-{depth}" for depth in range(1, MAX_DEPTH + 1)), "bonus", "residual")
"""By the number of the kind; see `ribbon_lines`."""
PAINTS = (*KINDS, "rejected", "unjudged", "bracket", "selected", "found", "marked")
CACHED_ROWS = 512


class Ribbon(ScrollView, can_focus=False):
    """Shows the tokens of one answer."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"ribbon--{name}" for name in PAINTS}
    DEFAULT_CSS = (
        """
    Ribbon {
        height: 1fr;
        margin: 0 1;
        overflow-x: hidden;
        overflow-y: auto;
        scrollbar-gutter: stable;
        scrollbar-size-vertical: 1;
        scrollbar-color: $foreground 20%;
        scrollbar-background: $background;
        & > .ribbon--plain { color: $foreground; }
        & > .ribbon--bonus { color: $foreground; text-style: bold; }
        & > .ribbon--residual { color: $foreground; text-style: bold italic; }
        & > .ribbon--rejected { color: $foreground 75%; text-style: strike; }
        & > .ribbon--unjudged { color: $foreground 65%; }
        & > .ribbon--bracket { color: $foreground 65%; }
        & > .ribbon--selected { background: $primary 20%; }
        & > .ribbon--found { background: $panel; text-style: underline; }
        & > .ribbon--marked { color: $background; background: $warning; text-style: bold; }
        &:ansi > .ribbon--marked { color: ansi_default; background: ansi_default; text-style: bold reverse; }
        &:ansi > .ribbon--rejected { color: ansi_default; text-style: strike dim; }
        &:ansi > .ribbon--unjudged { color: ansi_default; text-style: dim; }
        &:ansi > .ribbon--bracket { color: ansi_default; text-style: dim; }
        &:ansi > .ribbon--selected { background: ansi_default; text-style: reverse; }
    """
        + "".join(
            f"    & > .ribbon--depth-{depth} {{ color: $depth-{depth}; }}\n"
            for depth in range(1, MAX_DEPTH + 1)
        )
        + "}"
    )

    virtual_size: Reactive[Size] = Reactive(Size(0, 0), layout=False, repaint=False)
    """Its growth moves nothing around the ribbon: a layout would repaint the whole screen."""

    class Picked(Message):
        """A cycle was clicked."""

        def __init__(self, cycle: int) -> None:
            super().__init__()
            self.cycle = cycle

    def __init__(self, marks: Marks = UNICODE, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._marks = marks
        self._request: RequestView | None = None
        self._selected: int | None = None
        self._has_drafts = True
        self._is_following = True
        self._lines = RibbonLines(marks, 1, has_drafts=True)
        self._strips: LRUCache[tuple[int, int], Strip] = LRUCache(CACHED_ROWS)
        self._paints: dict[str, Style] = {}
        self.finding: Finding = NOTHING
        """What is looked for, and where it stands."""
        self._found: dict[int, str] = {}
        """How tokens are painted where the text stands that is looked for."""

    @property
    def lines(self) -> RibbonLines:
        """What is laid out."""
        return self._lines

    @property
    def has_drafts(self) -> bool:
        """Whether rejected drafts are shown."""
        return self._has_drafts

    def show(self, request: RequestView | None, selected: int | None = None) -> None:
        """Bring the ribbon to an answer; what it holds already is not looked at again.

        Args:
            request: the answer; None for nothing.
            selected: the cycle to mark and to bring into sight.
        """
        was = self._request
        self._request = request
        is_same = was is not None and request is not None and was.request == request.request
        count = 0 if request is None else len(request.cycles)
        if not is_same or count < self._lines.taken:
            self._begin()
        if selected != self._selected:
            self._select(selected)
        if request is not None and count > self._lines.taken and self._lines.width > 1:
            self._extend(request)

    def look(self, query: str) -> None:
        """Look for a text, near the place that is marked, else near what is in sight.

        Args:
            query: empty to end the search.
        """
        marked = self.finding.marked
        if not query:
            self.finding = NOTHING
        else:
            near = marked.start if marked is not None else self._first_in_sight()
            self.finding = find(query, [self._lines.searched()], (0, near))
        self._mark()

    def step(self, by: int) -> None:
        """Mark another place where the text stands, and bring it into sight."""
        self.finding = self.finding.step(by)
        self._mark()
        self.go()

    def go(self) -> None:
        """Bring the marked place into sight."""
        marked = self.finding.marked
        if marked is not None:
            tokens = self._lines.tokens_of(marked.start, marked.end)
            self._is_following = False
            row = self._lines.row_of(tokens[0])
            self._bring_into_sight(range(row, row + 1))

    def _first_in_sight(self) -> int:
        """Return the character of the searched text that is at the top of what is in sight."""
        top = self._token_at(self.scroll_offset.y)
        return sum(map(len, self._lines.texts[:top])) if top is not None else 0

    def _mark(self) -> None:
        self._found = {}
        for hit in self.finding.hits:
            paint = "marked" if hit == self.finding.marked else "found"
            for token in self._lines.tokens_of(hit.start, hit.end):
                self._found[token] = paint
        self._strips.clear()
        self.refresh()

    def toggle_drafts(self) -> None:
        """Show or hide the rows of rejected drafts; the token at the top stays there."""
        self._has_drafts = not self._has_drafts
        self._rewrap(self._lines.width)

    def _begin(self) -> None:
        width = self._lines.width
        self._lines = RibbonLines(self._marks, width, has_drafts=self._has_drafts)
        self._strips.clear()
        self._selected = None
        self._resize_content()
        self.scroll_to(y=0, animate=False)
        self.refresh()

    def _extend(self, request: RequestView) -> None:
        had_rows = len(self._lines.rows)
        first = self._lines.extend(request.cycles.since(self._lines.taken))
        for row in range(first, had_rows):
            self._forget(row)
        rows = len(self._lines.rows)
        if rows != had_rows:
            self._resize_content()
        self._follow()
        self.refresh_lines(first, max(1, rows - first))

    def _follow(self) -> None:
        """Stay at the newest token, if that is where the person is."""
        if self._is_following and self._selected is None:
            self.scroll_to(y=self.max_scroll_y, animate=False)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Follow the newest token from the end on, and only there."""
        super().watch_scroll_y(old_value, new_value)
        self._is_following = new_value >= self.max_scroll_y

    def _resize_content(self) -> None:
        rows = len(self._lines.rows)
        self.virtual_size = Size(self._lines.width, rows)
        self.show_vertical_scrollbar = rows > self.container_size.height
        if self.show_vertical_scrollbar:
            self.vertical_scrollbar.window_virtual_size = rows

    def _forget(self, row: int) -> None:
        for key in ((row, -1), (row, self._selected if self._selected is not None else -1)):
            self._strips.discard(key)

    def _select(self, selected: int | None) -> None:
        self._selected = selected
        if selected is None:
            self._is_following = True
            self._follow()
        else:
            self._bring_into_sight(self._lines.rows_of_cycle(selected))
        self.refresh()

    def _bring_into_sight(self, rows: range) -> None:
        if not rows:
            return
        top, height = self.scroll_offset.y, self.size.height
        if rows.start < top or rows.stop > top + height:
            self.scroll_to(y=max(0, rows.start - height // 2), animate=False)

    def on_resize(self, event: Resize) -> None:
        """Wrap anew at another width."""
        width = max(1, self.scrollable_content_region.width)
        if width != self._lines.width:
            self._rewrap(width)
        elif self._selected is not None:
            self._bring_into_sight(self._lines.rows_of_cycle(self._selected))
        else:
            self._follow()

    def _rewrap(self, width: int) -> None:
        is_following = self._is_following
        top = self._token_at(self.scroll_offset.y)
        self._lines.rewrap(width, has_drafts=self._has_drafts)
        self._strips.clear()
        self._resize_content()
        if self._request is not None and len(self._request.cycles) > self._lines.taken:
            self._extend(self._request)
        self._is_following = is_following
        if self._selected is not None:
            self._bring_into_sight(self._lines.rows_of_cycle(self._selected))
        elif top is not None and not is_following:
            rows = self._lines.rows_of_cycle(self._lines.cycles[top])
            self.scroll_to(y=rows.start, animate=False)
        self._follow()
        self.refresh()

    def _token_at(self, row: int) -> int | None:
        rows = self._lines.rows
        return self._lines.line(rows[row] // 2).start if 0 <= row < len(rows) else None

    # Painting

    def notify_style_update(self) -> None:
        """Paint anew in other colours."""
        super().notify_style_update()
        self._paints = {}
        self._strips.clear()

    def _paint(self, name: str) -> Style:
        if not self._paints:
            self._paints = {
                name: self.get_component_rich_style(f"ribbon--{name}") for name in PAINTS
            }
            selected, found = self._paints["selected"], self._paints["found"]
            self._paints["selected"] = Style(bgcolor=selected.bgcolor, reverse=selected.reverse)
            self._paints["found"] = Style(bgcolor=found.bgcolor, underline=True)
        return self._paints[name]

    def render_lines(self, crop: Region) -> list[Strip]:
        """Return some rows as they are kept, without a second look at borders it does not have."""
        strips = [self.render_line(y) for y in crop.line_range]
        for line_filter in self.get_line_filters():
            background = self.background_colors[1]
            strips = [strip.apply_filter(line_filter, background) for strip in strips]
        first, last = crop.column_span
        if (first, last) != (0, self.outer_size.width):
            strips = [strip.crop(first, last) for strip in strips]
        return strips

    def render_line(self, y: int) -> Strip:
        """Return one row."""
        row = self.scroll_offset.y + y
        width = self.outer_size.width
        if row >= len(self._lines.rows):
            return Strip.blank(width, self.rich_style)
        code = self._lines.rows[row]
        selected = self._selected_in(code // 2)
        strip = self._strips.get((row, selected))
        if strip is None:
            paint = self._paint_drafts if code % 2 else self._paint_tokens
            segments = paint(code // 2, selected)
            strip = Strip(Segment.apply_style(segments, self.rich_style))
            strip = strip.adjust_cell_length(width, self.rich_style)
            self._strips[row, selected] = strip
        return strip

    def _selected_in(self, line: int) -> int:
        """Return the selected cycle if it has tokens in a line, else -1."""
        if self._selected is None:
            return -1
        tokens, cycles = self._lines.line(line), self._lines.cycles
        is_here = cycles[tokens[0]] <= self._selected <= cycles[tokens[-1]]
        return self._selected if is_here else -1

    def _paint_tokens(self, line: int, selected: int) -> list[Segment]:
        """Paint a line, one segment for tokens of the same look."""
        lines = self._lines
        segments: list[Segment] = []
        texts: list[str] = []
        look: tuple[int, bool, str] | None = None
        for token, _, text in lines.placed(line):
            found = self._found.get(token, "")
            now = (lines.kinds[token], lines.cycles[token] == selected, found)
            if look is not None and now != look:
                segments.append(Segment("".join(texts), self._look(*look)))
                texts = []
            look = now
            texts.append(text)
        if look is not None:
            segments.append(Segment("".join(texts), self._look(*look)))
        return segments

    def _look(self, kind: int, is_selected: bool, found: str) -> Style:  # noqa: FBT001 - a triple's part
        style = self._paint(KINDS[kind])
        if is_selected:
            style += self._paint("selected")
        return style + self._paint(found) if found else style

    def _paint_drafts(self, line: int, selected: int) -> list[Segment]:
        """Paint the row beneath a line; each group has the room up to the next one."""
        lines = self._lines
        groups = [
            (column, lines.drafts[token], lines.cycles[token] == selected)
            for token, column, _ in lines.placed(line)
            if token in lines.drafts
        ]
        segments: list[Segment] = []
        at = 0
        for index, (column, drafts, is_selected) in enumerate(groups):
            end = groups[index + 1][0] - 1 if index + 1 < len(groups) else lines.width
            segments.append(Segment(" " * (column - at)))
            group = cropped(self._group(drafts), end - column, self._marks.more)
            if is_selected:
                group = list(Segment.apply_style(group, post_style=self._paint("selected")))
            segments += group
            at = column + sum(cell_len(segment.text) for segment in group)
        return segments

    def _group(self, drafts: Drafts) -> list[Segment]:
        marks, bracket = self._marks, self._paint("bracket")
        mark = Segment(marks.depths[drafts.depth], self._paint(f"depth-{drafts.depth}"))
        parts = [
            mark,
            Segment(marks.opening, bracket),
            Segment(drafts.rejected, self._paint("rejected")),
            Segment(marks.closing, bracket),
        ]
        if drafts.unjudged:
            parts.append(Segment(" " + " ".join(drafts.unjudged), self._paint("unjudged")))
        return parts

    def on_click(self, event: Click) -> None:
        """Pick the cycle of the token under the mouse."""
        offset = event.get_content_offset(self)
        row = self.scroll_offset.y + offset.y if offset is not None else -1
        if offset is None or not 0 <= row < len(self._lines.rows):
            return
        found = None
        for token, column, _ in self._lines.placed(self._lines.rows[row] // 2):
            if column <= offset.x:
                found = token
        if found is not None:
            self.post_message(self.Picked(self._lines.cycles[found]))
