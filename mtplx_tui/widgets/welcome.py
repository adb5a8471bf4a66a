"""What an empty chat shows: what is loaded, what to do, and the keys to do it with."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from mtplx_tui.view import EngineState, EngineView
from mtplx_tui.wording import showable

BAR_CELLS = 24
KEYS = (
    ("enter", "send"),
    ("ctrl+j", "new line"),
    ("ctrl+o", "open a model"),
    ("ctrl+l", "chats"),
    ("ctrl+b", "system prompt and sampling"),
    ("f3", "watch the speculation"),
    ("f1", "all keys"),
)


class Welcome(Static):
    """A calm page."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)

    def show(self, view: EngineView) -> None:
        """Say what is loaded or loading."""
        page = welcome_page(view)
        if self.content != page:
            self.update(page)


def welcome_page(view: EngineView) -> Content:
    """Return the page for a state of the engine."""
    width = max(len(key) for key, _ in KEYS)
    keys = [
        Content.assemble((key.ljust(width), "$text-primary"), "  ", (what, "dim"))
        for key, what in KEYS
    ]
    lines = [*_model_lines(view), Content(""), *keys]
    return Content("\n").join(lines)


def _model_lines(view: EngineView) -> list[Content]:
    if view.state is EngineState.DEAD:
        return _error_lines(view, "The engine has stopped.", "ctrl+r starts it again.")
    if view.load is not None:
        load = view.load
        text = showable(load.stage)
        return [
            Content.styled("Loading the model", "bold"),
            Content(f"{_bar(load.done, load.total)} {text}"),
            Content.styled("You may type already; ctrl+o opens another model.", "dim"),
        ]
    if view.model is None:
        if view.state is EngineState.STARTING:
            return [Content.styled("Starting the engine", "bold"), Content("One moment.")]
        return _error_lines(view, "No model is loaded.", "ctrl+o opens one.")
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
