"""One turn of a conversation: who speaks, what was said, and the line of facts under it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.css.query import NoMatches
from textual.events import Click
from textual.geometry import Size
from textual.message import Message
from textual.reactive import Reactive
from textual.widgets import Static

from engine.protocol import Role
from mtplx_tui.chats.answer_words import answer_words, running_words
from mtplx_tui.chats.model import Turn, TurnStatus
from mtplx_tui.finding import Hit
from mtplx_tui.keymap import TURN, bindings
from mtplx_tui.keys_file import STANDARD, Keys, keys_of
from mtplx_tui.view import RequestView
from mtplx_tui.widgets.answer import Answer
from mtplx_tui.wording import showable

LONG_QUESTION = 4_000
"""Characters of a question that are shown; the rest is counted."""
LONG_QUESTION_LINES = 40
FOUND, MARKED = "underline on $panel", "bold $background on $warning"
"""Places in a question that were searched for."""


class Question(Static):
    """What a person asked, as it was typed."""

    _is_marked = False

    def searched(self) -> str:
        """Return what is shown, for a search whose places are marked here."""
        return self._plain.replace("\n", " ")

    def mark(self, hits: Sequence[Hit], marked: Hit | None) -> None:
        """Mark places in what `searched` returned; none to end it."""
        content = Content(self._plain)
        for hit in hits:
            content = content.stylize(MARKED if hit == marked else FOUND, hit.start, hit.end)
        if hits or self._is_marked:
            self._is_marked = bool(hits)
            self.update(content, layout=False)

    def row_of(self, character: int) -> int:
        """Return about the row that a character of what `searched` returned stands in."""
        width = max(1, self.size.width)
        *above, line = self._plain[:character].split("\n")
        return sum(max(1, -(-cell_len(each) // width)) for each in above) + cell_len(line) // width

    @property
    def _plain(self) -> str:
        return self.content.plain if isinstance(self.content, Content) else str(self.content)


class TurnBlock(Vertical, can_focus=True):
    """Shows a turn; with the focus, its keys act on this turn."""

    BINDINGS: ClassVar[list[BindingType]] = bindings(TURN)

    virtual_size: Reactive[Size] = Reactive(Size(0, 0), layout=False, repaint=False)
    """As the answer's: the layout that changes it is the one under way."""

    class Acted(Message):
        """A person wants something done with this turn."""

        def __init__(self, turn_id: str, action: str) -> None:
            super().__init__()
            self.turn_id = turn_id
            self.action = action

    class Stepped(Message):
        """The focus should go to another turn, or (0) back to the prompt."""

        def __init__(self, turn_id: str, by: int) -> None:
            super().__init__()
            self.turn_id = turn_id
            self.by = by

    def __init__(self, turn: Turn, place: tuple[int, int], request: RequestView | None) -> None:
        super().__init__(classes=f"-{turn.role.value}")
        self.turn = turn
        self._place = place
        self._request = request
        self._is_unfolded = False

    @property
    def is_unfolded(self) -> bool:
        """Whether the reasoning is shown."""
        return self._is_unfolded

    @property
    def parts(self) -> list[Answer | Question]:
        """What can be searched of it now, from top to bottom."""
        if self.turn.role is Role.USER:
            return list(self.query(Question))
        return [part for part in self.query(Answer) if part.display]

    @property
    def is_filled(self) -> bool:
        """Whether the turn's text is in its parts, which are made empty and filled a moment later."""
        if self.turn.role is not Role.ASSISTANT:
            return bool(self.parts)
        text = self.turn.text
        return not text or any(isinstance(p, Answer) and p.text == text for p in self.parts)

    def compose(self) -> ComposeResult:
        """Lay the parts under each other."""
        yield Static(classes="turn--heading")
        if self.turn.role is Role.ASSISTANT:
            yield Static(classes="turn--thought")
            yield Answer(classes="turn--reasoning")
            yield Answer(classes="turn--answer")
            yield Static(classes="turn--facts")
        else:
            yield Question(classes="turn--question", markup=False)

    def on_mount(self) -> None:
        """Fill the parts."""
        self._fill()

    def show(self, turn: Turn, place: tuple[int, int], request: RequestView | None) -> None:
        """Bring the block up to date; does nothing where nothing changed."""
        if turn is self.turn and place == self._place and request is self._request:
            return
        self.turn, self._place, self._request = turn, place, request
        if self.is_mounted:
            self._fill()

    def _fill(self) -> None:
        try:
            self._put("turn--heading", self._heading())
            if self.turn.role is Role.ASSISTANT:
                self._fill_answer()
            else:
                self._put("turn--question", Content(shortened(self.turn.text)))
        except NoMatches:
            return

    def _heading(self) -> Content:
        at, count = self._place
        branch = f"   ‹ {at}/{count} ›" if count > 1 else ""
        return Content(showable(self._speaker()) + branch)

    def _speaker(self) -> str:
        if self.turn.role is Role.USER:
            return "You"
        if self.turn.facts is not None:
            return self.turn.facts.model
        started = None if self._request is None else self._request.started
        return "Model" if started is None else started.model

    def _fill_answer(self) -> None:
        turn, keys = self.turn, keys_of(self.app)
        is_over = turn.status is not TurnStatus.STREAMING
        self._put("turn--thought", _thought(turn, keys, is_unfolded=self._is_unfolded))
        reasoning = self.query_one(".turn--reasoning", Answer)
        self.set_class(self._is_unfolded, "-unfolded")
        reasoning.display = self._is_unfolded and bool(turn.reasoning)
        if reasoning.display:
            reasoning.show(turn.reasoning, is_finished=is_over)
        answer = self.query_one(".turn--answer", Answer)
        answer.display = bool(turn.text)
        answer.show(turn.text, is_finished=is_over)
        self.set_class(turn.status in (TurnStatus.CUT, TurnStatus.FAILED), "-broken")
        self._put("turn--facts", Content(facts_line(turn, self._request, keys)))

    def _put(self, name: str, content: Content) -> None:
        part = self.query_one(f".{name}", Static)
        was_shown, part.display = part.display, bool(content.plain)
        if part.content == content:
            return
        old = part.content
        is_same_height = was_shown and isinstance(old, Content) and _is_row(old, content)
        part.update(content, layout=not is_same_height)

    def fold(self) -> None:
        """Show or hide the reasoning."""
        if self.turn.reasoning:
            self._is_unfolded = not self._is_unfolded
            self._fill()

    def on_click(self, event: Click) -> None:
        """Unfold the reasoning with a click on its line."""
        if event.widget is not None and event.widget.has_class("turn--thought"):
            event.stop()
            self.fold()

    def action_act(self, action: str) -> None:
        """Ask the screen to do something with this turn."""
        self.post_message(self.Acted(self.turn.id, action))

    def action_step(self, by: str | int) -> None:
        """Give the focus to a neighbour."""
        self.post_message(self.Stepped(self.turn.id, int(by)))

    def action_leave(self) -> None:
        """Give the focus back to the prompt."""
        self.post_message(self.Stepped(self.turn.id, 0))


def facts_line(turn: Turn, request: RequestView | None, keys: Keys = STANDARD) -> str:
    """Return the line under an answer: its state and what speculation did for it."""
    state = {
        TurnStatus.STREAMING: "",
        TurnStatus.DONE: "",
        TurnStatus.STOPPED: "stopped",
        TurnStatus.CUT: f"cut: {turn.note or 'the engine ended'}",
        TurnStatus.FAILED: f"failed: {turn.note or 'the engine gave no reason'}",
    }[turn.status]
    parts = [state, *_figures(turn, request)]
    if turn.status is TurnStatus.DONE and turn.note:
        parts.append(turn.note)
    if turn.status in (TurnStatus.CUT, TurnStatus.FAILED):
        parts.append(keys.fill("{chat.regenerate} answers again"))
    return " · ".join(part for part in parts if part)


def _figures(turn: Turn, request: RequestView | None) -> list[str]:
    if turn.facts is not None:
        return answer_words(turn.facts)
    if turn.status is not TurnStatus.STREAMING:
        return []
    if request is None or request.started is None:
        return ["waiting for the engine"]
    if not request.emitted:
        total = request.started.prompt_tokens
        return [f"reading the prompt · {request.prefilled:,} of {total:,} tokens"]
    return running_words(request)


def _thought(turn: Turn, keys: Keys, *, is_unfolded: bool) -> Content:
    if not turn.reasoning:
        return Content("")
    words = len(turn.reasoning.split())
    is_thinking = turn.status is TurnStatus.STREAMING and not turn.text
    verb = "Thinking" if is_thinking else "Thought"
    mark, verb_of_key = ("▾", "folds") if is_unfolded else ("▸", "unfolds")
    count = f"{words:,} word{'' if words == 1 else 's'}"
    return Content(f"{mark} {verb}, {count} · {keys.sign('chat.fold')} {verb_of_key}")


def shortened(text: str) -> str:
    """Return what is shown of a question."""
    shown = "\n".join(text[:LONG_QUESTION].split("\n")[:LONG_QUESTION_LINES])
    rest = len(text) - len(shown)
    return showable(shown) + (f"\n… and {rest:,} more characters" if rest > 0 else "")


def _is_row(old: Content, new: Content) -> bool:
    """Whether both are surely one short row, so that nothing around them has to move."""
    return len(old) < 60 and len(new) < 60 and "\n" not in old.plain + new.plain and bool(old)
