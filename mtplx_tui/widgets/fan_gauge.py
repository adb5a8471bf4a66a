"""The fans: speed, range and owner of each, who holds them and how long, and the three policies."""

from __future__ import annotations

from dataclasses import dataclass

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from mtplx_tui.machine.fans import FanState, FanView
from mtplx_tui.machine.policy import Policy
from mtplx_tui.machine.readings import Fan, Owner, Snapshot
from mtplx_tui.marks import UNICODE, Marks
from mtplx_tui.widgets.painted_rows import PaintedRows, Row
from mtplx_tui.widgets.thermal_graphs import duration

NAME, SPEED, SHARE, RANGE, OWNER = 14, 10, 6, 12, 11
"""Cells of the columns beside the bar."""
LEAST_BAR, MOST_BAR, MOST_FANS = 6, 40, 6
KEYS = {Policy.AUTOMATIC: "a", Policy.BOOST: "b", Policy.MAXIMUM: "m"}
WORDS = {
    Policy.AUTOMATIC: "automatic",
    Policy.BOOST: "boost while answering",
    Policy.MAXIMUM: "maximum",
}
CHOSEN = "bold $text-primary on $primary-muted"


@dataclass(frozen=True, slots=True)
class FanPage:
    """What the panel shows."""

    snapshot: Snapshot
    view: FanView
    now_s: float
    needs_root: bool


class FanGauge(Vertical):
    """See the module."""

    DEFAULT_CSS = """
    FanGauge {
        height: auto;
        & > #fan-rows { height: auto; }
        & > #fan-policies {
            height: 1;
            text-wrap: nowrap;
            text-overflow: clip;
            link-style: none;
            link-color: $foreground;
            link-background: $background;
            link-color-hover: $text-primary;
            link-background-hover: $background;
            link-style-hover: none;
        }
    }
    """

    def __init__(self, marks: Marks = UNICODE, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._marks = marks
        self._page: FanPage | None = None

    def compose(self) -> ComposeResult:
        """Lay out the rows above the policies."""
        yield PaintedRows(id="fan-rows")
        yield Static(id="fan-policies", markup=False)

    @property
    def plain(self) -> str:
        """What is shown, without styles."""
        policies = self.query_one("#fan-policies", Static).content
        return f"{self.query_one(PaintedRows).plain}\n{policies}"

    def show(self, page: FanPage) -> None:
        """Show this from now on."""
        self._page = page
        self._draw()

    def on_resize(self) -> None:
        """Fit the bars to the width."""
        self._draw()

    def _draw(self) -> None:
        if self._page is None or not self.size.width:
            return
        self.query_one(PaintedRows).put(fan_rows(self._page, self.size.width, self._marks))
        chosen = "bold reverse" if self.app.native_ansi_color else CHOSEN
        content = last_line(self._page, self.size.width, chosen)
        policies = self.query_one("#fan-policies", Static)
        if content != policies.content:
            policies.update(content, layout=False)


def fan_rows(page: FanPage, width: int, marks: Marks) -> list[Row]:
    """Return a title that tells the owner, and a row a fan."""
    fans = page.snapshot.fans
    words, style = owner_words(page)
    space = width - len("Fans") - len(words)
    head: list[Row] = [(("Fans", "bold"),), ((words, style),)]
    if space > 1:
        head = [(("Fans", "bold"), (" " * space, ""), (words, style))]
    rows = [_row(fan, page, width, marks) for fan in fans[:MOST_FANS]]
    if len(fans) > MOST_FANS:
        rows.append(((f"{len(fans) - MOST_FANS} more", "dim"),))
    return [*head, *rows]


def last_line(page: FanPage, width: int, chosen: str = CHOSEN) -> Content:
    """Return the policies, or why there is nothing to choose."""
    fans = page.snapshot.fans
    if not fans:
        return Content.styled("no fan can be seen on this machine", "dim")
    if not any(fan.is_controllable for fan in fans):
        return Content.styled("none of them can be set from here", "dim")
    return _policies(page, width, chosen)


def owner_words(page: FanPage) -> tuple[str, str]:
    """Return who owns the fans, and the name of a style."""
    view = page.view
    match view.state:
        case FanState.HELD:
            words = f"held by mtplx-tui for {duration(page.now_s - view.since_s)}"
            if view.left_s is not None:
                words += f", {duration(view.left_s)} left"
            if view.is_hot:
                words += ", too hot: full speed"
            return words, "warm-bold"
        case FanState.ARMING:
            return "taking the fans", "warm"
        case FanState.RELEASING:
            return "giving the fans back", "warm"
        case FanState.STUCK | FanState.LOST:
            return "not given back", "hot-bold"
        case _:
            # A fan that was read before it changed hands says nothing of who owns it now.
            known = [fan for fan in page.snapshot.fans if fan.at_s > view.since_s]
            if any(fan.owner is Owner.MANUAL for fan in known):
                return "another program holds a fan", "warm"
            return "the machine's own control", "cool"


def _row(fan: Fan, page: FanPage, width: int, marks: Marks) -> Row:
    columns = NAME + SPEED + SHARE + RANGE + OWNER
    is_wide = width - columns >= LEAST_BAR
    bar = min(max(width - (columns if is_wide else NAME + SPEED + SHARE), 0), MOST_BAR)
    full = round(bar * _share(fan))
    style = "dim" if page.snapshot.is_stale(fan) else "fans"
    speed = "" if fan.rpm is None else f"{fan.rpm:,.0f} rpm"
    percent = "" if fan.percent is None else f"{fan.percent:.0f} %"
    name = fan.name if len(fan.name) < NAME else fan.name[: NAME - 2] + marks.more
    row: Row = (
        (name.ljust(NAME), ""),
        (speed.rjust(SPEED - 1) + " ", "bold"),
        (marks.bar * full, style),
        (marks.track * (bar - full), "track"),
        (percent.rjust(SHARE), ""),
    )
    if not is_wide:
        return row
    return (
        *row,
        (_range(fan, marks).rjust(RANGE), "dim"),
        (f"  {_owner(fan, page.view)}".ljust(OWNER), "dim"),
    )


def _owner(fan: Fan, view: FanView) -> str:
    is_ours = view.state is FanState.HELD and fan.is_controllable
    return "mtplx-tui" if is_ours else str(fan.owner)


def _share(fan: Fan) -> float:
    """Return how much of a fan's speed is used, 0 to 1, as far as it tells."""
    if fan.rpm is not None and fan.maximum_rpm is not None:
        return min(fan.rpm / fan.maximum_rpm, 1.0)
    return min((fan.percent or 0.0) / 100, 1.0)


def _range(fan: Fan, marks: Marks) -> str:
    low, high = fan.minimum_rpm, fan.maximum_rpm
    if low is None and high is None:
        return ""
    ends = ["?" if end is None else f"{end:,.0f}" for end in (low, high)]
    return marks.range.join(ends)


def _policies(page: FanPage, width: int, chosen: str) -> Content:
    parts = []
    for policy, key in KEYS.items():
        if policy is page.view.policy:
            parts.append(Content.styled(f" {key} {WORDS[policy]} ", chosen))
        else:
            part = Content.assemble(" ", (key, "bold"), f" {WORDS[policy]} ")
            parts.append(part.stylize(f"@click=app.fans('{policy}')"))
    line = Content("").join(parts)
    if page.needs_root and width - line.cell_length >= 14:
        line = Content.assemble(line, ("  sudo asks", "dim"))
    return line
