"""The bottom line: model, depth, speed, and what the engine is doing."""

from __future__ import annotations

from dataclasses import dataclass

from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from mtplx_tui.keys_file import STANDARD, Keys
from mtplx_tui.marks import UNICODE, Marks
from mtplx_tui.view import EngineState, EngineView, RequestView, depth_words

COLORS = {
    EngineState.STARTING: "$text-warning",
    EngineState.EMPTY: "$text-warning",
    EngineState.LOADING: "$text-warning",
    EngineState.READY: "$text-success",
    EngineState.GENERATING: "$text-accent",
    EngineState.DEAD: "$text-error",
}
GAP = 3
LEAST_NAME = 12
"""Cells that a model's name keeps, however narrow the line."""


@dataclass(frozen=True, slots=True)
class Status:
    """What the line tells."""

    view: EngineView
    depth: int | None
    """That the next cycle or the next answer drafts to; None: automatic."""
    note: str = ""
    """Something to be read once, in place of the rest."""
    marks: Marks = UNICODE
    keys: Keys = STANDARD


class StatusBar(Static):
    """One line, always there."""

    DEFAULT_CSS = """
    StatusBar { height: 1; background: $surface; color: $foreground; text-wrap: nowrap; text-overflow: clip; }
    """

    class Mounted(Message):
        """A bar came up and shows nothing yet."""

        def __init__(self, bar: StatusBar) -> None:
            super().__init__()
            self.bar = bar

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._status: Status | None = None

    def on_mount(self) -> None:
        """Ask for something to show."""
        self.post_message(self.Mounted(self))

    def on_resize(self) -> None:
        """Fit the line to the width."""
        self._draw()

    def show(self, status: Status) -> None:
        """Show this from now on."""
        self._status = status
        self._draw()

    def _draw(self) -> None:
        if self._status is None or not self.size.width:
            return
        line = status_line(self._status, self.size.width)
        if line != self.content:
            self.update(line, layout=False)


def status_line(status: Status, width: int) -> Content:
    """Return the line for a width: what matters least is left out first."""
    state = _state(status)
    if status.note:
        return _justified(Content.styled(f" {status.note}", "$text-warning"), state, width, status)
    parts = _figures(status)
    while True:
        dot = f" {status.marks.dot} "
        right = Content.assemble(*(Content.assemble(part, (dot, "dim")) for part in parts), state)
        if not parts or width - right.cell_length - GAP >= min(LEAST_NAME, _name_cells(status)):
            return _justified(_name(status), right, width, status)
        parts.pop()


def _justified(left: Content, right: Content, width: int, status: Status) -> Content:
    room = max(0, width - right.cell_length - GAP)
    if left.cell_length > room:
        left = left.truncate(max(0, room - 1)) + Content(status.marks.more)
    space = max(1, width - left.cell_length - right.cell_length - 1)
    return Content.assemble(left, " " * space, right, " ")


def _name(status: Status) -> Content:
    model = status.view.model
    return Content.styled(f" {model.name}", "bold") if model is not None else Content("")


def _name_cells(status: Status) -> int:
    return _name(status).cell_length


def _figures(status: Status) -> list[Content]:
    """Return the figures, the most important first."""
    view = status.view
    if view.model is None:
        return []
    if view.model.head is None:
        depth = Content("no head: plain decoding")
    else:
        depth = Content(f"depth {depth_words(status.depth, view.newest)}")
    request = view.newest
    if request is None or request.tokens_per_s is None or request.tokens_per_cycle is None:
        return [depth]
    return [
        depth,
        Content(f"{request.tokens_per_s:.1f} tok/s"),
        Content(f"{request.tokens_per_cycle:.2f} tokens/cycle"),
    ]


def _state(status: Status) -> Content:
    view = status.view
    text = str(view.state)
    if view.state is EngineState.GENERATING:
        text = _reading(view.newest) or text
    elif view.state is EngineState.LOADING and view.load is not None:
        load = view.load
        share = f" {min(100, 100 * load.done // load.total)} %" if load.total > 0 else ""
        text = f"loading: {load.stage}{share}, {status.keys.sign('app.cancel_load')} cancels"
    elif view.state is EngineState.DEAD:
        text = status.keys.fill("engine stopped, {app.restart} starts it")
    elif view.state is EngineState.EMPTY:
        text = status.keys.fill("no model, {app.open_model} opens one")
    return Content.assemble((f"{status.marks.state} ", COLORS[view.state]), text)


def _reading(request: RequestView | None) -> str:
    """Return how far the prompt is read, once it is known to be more than a moment's work."""
    if request is None or request.started is None or len(request.cycles):
        return ""
    total = request.started.prompt_tokens
    return f"reading the prompt {min(100, 100 * request.prefilled // max(1, total))} %"
