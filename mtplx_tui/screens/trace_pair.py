"""Two answers side by side: their tokens, where they part, acceptance by depth, speed."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

from mtplx_tui.keymap import TRACE_PAIR, bindings
from mtplx_tui.keys_file import keys_of
from mtplx_tui.marks import Marks, marks_for
from mtplx_tui.replay import whole_view
from mtplx_tui.trace_diff import Share, TraceDiff, compare
from mtplx_tui.traces import Trace
from mtplx_tui.view import RequestView
from mtplx_tui.widgets.ribbon import Ribbon
from mtplx_tui.widgets.ribbon_lines import shown
from mtplx_tui.wording import showable

if TYPE_CHECKING:
    from mtplx_tui.app import MtplxApp

LABEL, CELLS = 17, 22

HINT = "{pair.close} closes   {pair.up} {pair.down} {pair.page_up} {pair.page_down} scroll both"


class TracePair(Screen[None]):
    """See the module.

    Args:
        name: of the answer on the left.
        left: the answer.
        trace: its newest answer goes to the right.
    """

    CSS_PATH = "trace_pair.tcss"
    BINDINGS: ClassVar[list[BindingType]] = bindings(TRACE_PAIR)

    def __init__(self, name: str, left: RequestView, trace: Trace) -> None:
        super().__init__()
        self._names = (name, trace.name)
        right = whole_view(trace).newest
        self._sides = (left, left if right is None else right)

    def compose(self) -> ComposeResult:
        """Lay out two ribbons and what tells them apart."""
        marks = marks_for(cast("MtplxApp", self.app).terminal)
        with Horizontal(id="pair"):
            for at, name in enumerate(self._names):
                with Vertical(classes="side"):
                    yield Static(Content.styled(showable(name), "bold"), classes="side--name")
                    yield Ribbon(marks, id=f"ribbon-{at}")
        found = compare(*self._sides)
        yield Static(diff_page(found, marks), id="difference", markup=False)
        yield Static(keys_of(self.app).fill(HINT), id="pair-hint")

    def on_mount(self) -> None:
        """Fill the ribbons, once they know their width."""
        self.call_after_refresh(self._fill)

    def _fill(self) -> None:
        for ribbon, side in zip(self.query(Ribbon), self._sides, strict=True):
            ribbon.show(side)
            ribbon.scroll_home(animate=False)

    def action_scroll(self, by: int) -> None:
        """Scroll both by a row."""
        for ribbon in self.query(Ribbon):
            ribbon.scroll_relative(y=by, animate=False)

    def action_page(self, by: int) -> None:
        """Scroll both by a page."""
        for ribbon in self.query(Ribbon):
            ribbon.scroll_relative(y=by * max(1, ribbon.size.height - 1), animate=False)

    def action_close(self) -> None:
        """Go back to the tab."""
        self.dismiss()


def diff_page(found: TraceDiff, marks: Marks) -> Content:
    """Return where two answers part, and their figures side by side."""
    lines = [Content.styled(_parting(found, marks), "bold $text-warning")]
    lines.append(_row("", "left", "right", "dim"))
    left, right = found.left, found.right
    lines.append(_row("tokens", f"{left.tokens:,}", f"{right.tokens:,}"))
    lines.append(
        _row("tokens a cycle", _rate(left.tokens_per_cycle), _rate(right.tokens_per_cycle))
    )
    ratio = "" if found.speed_ratio is None else f"  ({found.speed_ratio:.2f} times the left)"
    speeds = _row("tokens a second", _rate(left.tokens_per_s), _rate(right.tokens_per_s))
    lines.append(Content.assemble(speeds, (ratio, "dim")))
    for row in found.depths:
        shares = [_share(side, marks) for side in (row.left, row.right)]
        mark = (f"{marks.depths[row.depth]} ", f"$depth-{row.depth}")
        label = "accepted".ljust(LABEL - 2)
        lines.append(Content.assemble(mark, label, *(each.rjust(CELLS) for each in shares)))
    return Content("\n").join(lines)


def _parting(found: TraceDiff, marks: Marks) -> str:
    if found.parts_at is None:
        return "the same tokens from first to last"
    tokens = [
        "the end"
        if side.at_parting is None
        else f"{marks.opening}{shown(side.at_parting, marks)}{marks.closing}"
        for side in (found.left, found.right)
    ]
    return f"they part at token {found.parts_at:,}: {tokens[0]} against {tokens[1]}"


def _row(label: str, left: str, right: str, style: str = "") -> Content:
    return Content.styled(label.ljust(LABEL) + left.rjust(CELLS) + right.rjust(CELLS), style)


def _rate(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.2f}"


def _share(share: Share, marks: Marks) -> str:
    if not share.reached:
        return "not reached"
    low, high = (100 * end for end in share.interval)
    percent = f"{100 * share.accepted / share.reached:.0f} %"
    return f"{percent}  {low:.0f}{marks.range}{high:.0f}"
