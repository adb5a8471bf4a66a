"""What an empty chat shows: what is loaded, what to do, and the keys to do it with."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from mtplx_tui.keys_file import STANDARD, Keys, keys_of
from mtplx_tui.view import EngineState, EngineView
from mtplx_tui.wording import showable

BAR_CELLS = 24
KEYS = (
    ("enter", "send"),
    ("ctrl+j", "new line"),
    ("{app.open_model}", "open a model"),
    ("{chat.list}", "chats"),
    ("{chat.sampling}", "system prompt and sampling"),
    ("{app.speculation}", "watch the speculation"),
    ("{app.keys}", "all keys"),
)


class Welcome(Static):
    """A calm page."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)

    def show(self, view: EngineView) -> None:
        """Say what is loaded or loading."""
        page = welcome_page(view, keys_of(self.app))
        if self.content != page:
            self.update(page)


def welcome_page(view: EngineView, keys: Keys = STANDARD) -> Content:
    """Return the page for a state of the engine."""
    named = [(keys.fill(key), what) for key, what in KEYS]
    width = max(len(key) for key, _ in named)
    rows = [
        Content.assemble((key.ljust(width), "$text-primary"), "  ", (what, "dim"))
        for key, what in named
    ]
    lines = [*_model_lines(view, keys), Content(""), *rows]
    return Content("\n").join(lines)


def _model_lines(view: EngineView, keys: Keys) -> list[Content]:
    if view.state is EngineState.DEAD:
        return _error_lines(
            view, "The engine has stopped.", keys.fill("{app.restart} starts it again.")
        )
    if view.load is not None:
        load = view.load
        text = showable(load.stage)
        return [
            Content.styled("Loading the model", "bold"),
            Content(f"{_bar(load.done, load.total)} {text}"),
            Content.styled(
                keys.fill("You may ask already; {app.open_model} opens another model."), "dim"
            ),
        ]
    if view.model is None:
        if view.state is EngineState.STARTING:
            return [Content.styled("Starting the engine", "bold"), Content("One moment.")]
        return _error_lines(view, "No model is loaded.", keys.fill("{app.open_model} opens one."))
    model = view.model
    head = (
        f"drafts with its own {model.head.family} head"
        if model.head is not None
        else f"plain decoding: {model.head_note or 'it has no head'}"
    )
    return [
        Content.styled(f"{showable(model.name)} is ready", "bold"),
        Content.styled(showable(head), "dim"),
        Content("Type a question below and press enter."),
    ]


def _error_lines(view: EngineView, title: str, remedy: str) -> list[Content]:
    lines = [Content.styled(title, "bold")]
    if view.error is not None:
        lines.append(Content.styled(showable(view.error.message), "$text-error"))
        if view.error.remedy:
            lines.append(Content(showable(view.error.remedy)))
    return [*lines, Content(remedy)]


def _bar(done: int, total: int) -> str:
    if total <= 0:
        return "…"
    filled = min(BAR_CELLS, BAR_CELLS * done // total)
    return f"{'━' * filled}{'─' * (BAR_CELLS - filled)} {min(100, 100 * done // total)} %"
