"""What the chat screen does about questions: ask, ask anew in a branch, answer again.

A question is taken out of the prompt only once the desk has it; an answer that fails before its
first word puts it back. One that is sent while a model is on its way stays in the prompt, and goes
off by itself once the model is there.
"""

from __future__ import annotations

from dataclasses import replace

from textual import on

from engine.protocol import ErrorInfo, Generate, ModelInfo, RequestFailed, Role
from mtplx_tui.bookmark import Bookmark
from mtplx_tui.chats.model import Turn
from mtplx_tui.screens.chat_keeping import ChatKeeping
from mtplx_tui.view import EngineState
from mtplx_tui.widgets.conversation import Conversation
from mtplx_tui.widgets.prompt import Prompt
from mtplx_tui.widgets.turn import TurnBlock

HINT_PROMPT = "enter sends · ctrl+j new line · tab to the answers"
HINT_RUNNING = "{chat.stop} stops · tab to the answers"
HINT_HELD = "{chat.stop} takes it back"
HINT_EDITING = "enter asks anew in a branch · {chat.stop} leaves it as it was"
HINT_TURN = (
    "{turn.copy} copy · {turn.code} code · {turn.save} save · {turn.edit} edit · {turn.again} again · "
    "{turn.previous_branch}{turn.next_branch} branch · {turn.leave.2} back"
)
HINT_PANEL = "tab next · {chat.stop} back to the prompt"


class ChatAsking(ChatKeeping):
    """Base of the chat screen."""

    def __init__(self) -> None:
        super().__init__()
        self.editing: str | None = None
        """The earlier question that the prompt holds a new wording of."""
        self._draft = ""
        """What was typed before an earlier question was taken up."""
        self._held: tuple[str, str] | None = None
        """The chat and the question that go off once the model is there."""

    @property
    def prompt(self) -> Prompt:
        """Where a person types."""
        return self.query_one(Prompt)

    @property
    def conversation(self) -> Conversation:
        """What was said."""
        return self.query_one(Conversation)

    def take_up(self, was: Bookmark) -> None:
        """Go on with what was typed when the app was left, at the place of then."""
        if was.editing in self.mtplx.desk.chat.turns:
            self.editing, self._draft = was.editing, was.set_aside
        if was.draft:
            self.prompt.put(was.draft)
        if was.chat and was.turn:
            self.conversation.go_to(was.turn, was.row)

    def note_place(self) -> None:
        """Have it remembered what is typed and what is in sight."""
        bookmark = self.mtplx.bookmark
        turn, row = self.conversation.place()
        bookmark.now = replace(
            bookmark.now,
            turn=turn,
            row=row,
            draft=self.prompt.full_text,
            editing=self.editing or "",
            set_aside=self._draft,
        )

    def bring_up_to_date(self) -> None:
        """Show everything as it is now; the chat screen knows how."""

    def show_hint(self) -> None:
        """Show the keys that matter now, and whether a question can be sent."""
        prompt = self.prompt
        view = self.mtplx.view
        can_ask = view.model is not None and view.state is not EngineState.DEAD
        why = "Ask something" if can_ask else self.why_not(view.state)
        prompt.placeholder = self.mtplx.keys.fill(why)
        prompt.set_class(not can_ask, "-cannot-send")
        prompt.frame(self._doing(), self.mtplx.keys.fill(self._hint()))

    def _hint(self) -> str:
        focused = self.focused
        if isinstance(focused, TurnBlock):
            return HINT_TURN
        if focused is not None and focused is not self.prompt:
            return HINT_PANEL
        if self.is_held:
            return HINT_HELD
        if self.editing is not None:
            return HINT_EDITING
        return HINT_RUNNING if self.mtplx.desk.running is not None else HINT_PROMPT

    def _doing(self) -> str:
        if self.is_held:
            return "goes off once the model is ready"
        return "" if self.editing is None else "editing an earlier question"

    def why_not(self, state: EngineState) -> str:
        """Return why a question can't be sent in a state of the engine."""
        return {
            EngineState.STARTING: "the engine is starting; you may ask already",
            EngineState.LOADING: "the model is loading; you may ask already",
            EngineState.DEAD: "the engine has stopped: {app.restart} starts it again",
        }.get(state, "no model is loaded: {app.open_model} opens one")

    @property
    def is_held(self) -> bool:
        """Whether what is typed goes off by itself once the model is there."""
        held = self._held
        return held is not None and held == (self.mtplx.desk.chat.id, self.prompt.full_text)

    def take_back_held(self) -> None:
        """Have nothing go off by itself; what was typed stays."""
        if self._held is not None:
            self._held = None
            self.show_hint()

    def send_held(self) -> None:
        """Ask what waited for the model, if it is there; if none comes any more, wait no longer."""
        if self._held is None or self._is_model_coming:
            return
        is_ready = self.is_held and self.mtplx.view.model is not None
        self.take_back_held()
        if is_ready:
            self._send(Prompt.Sent(self.prompt.full_text))

    @property
    def _is_model_coming(self) -> bool:
        view = self.mtplx.view
        is_starting = view.state is EngineState.STARTING
        return view.model is None and (is_starting or self.mtplx.loads.is_loading)

    @on(Prompt.Sent)
    def _send(self, message: Prompt.Sent) -> None:
        if self._is_model_coming:
            self._held = (self.mtplx.desk.chat.id, message.text)
            self.show_hint()
            return
        model = self._model_to_ask()
        if model is None:
            return
        desk = self.mtplx.desk
        try:
            if self.editing is None:
                command = desk.ask(message.text, model)
            else:
                command = desk.edit(self.editing, message.text, model)
        except ValueError as reason:
            self.notify(str(reason), severity="warning", markup=False)
            return
        self.stop_editing()
        self._start(command)

    def _model_to_ask(self) -> ModelInfo | None:
        """Return the model if a question can be sent now; else say why not."""
        view = self.mtplx.view
        model = view.model
        if self.mtplx.desk.running is not None:
            reason = "an answer is still being written: {chat.stop} stops it"
        elif view.state is EngineState.DEAD or model is None:
            reason = self.why_not(view.state)
        else:
            return model
        self.notify(reason, severity="warning", markup=False)
        return None

    def _start(self, command: Generate) -> None:
        if not self.mtplx.send(command):
            error = ErrorInfo(
                "the engine has stopped", self.mtplx.keys.fill("{app.restart} starts it again")
            )
            failed = RequestFailed(command.request, error)
            self.mtplx.desk.apply(failed)
            self.give_back(failed)
        self.conversation.anchor()
        self.bring_up_to_date()

    def give_back(self, event: RequestFailed) -> None:
        """Put a question whose answer failed at once back into an empty prompt."""
        path = self.mtplx.desk.chat.path()
        answer = next((turn for turn in path if turn.id == event.request), None)
        if answer is None or answer.text or answer.parent is None or self.prompt.text:
            return
        question = next(turn for turn in path if turn.id == answer.parent)
        self.edit(question)

    def edit(self, turn: Turn) -> None:
        """Take a question, or that of an answer, into the prompt to word it anew."""
        if turn.role is not Role.USER:
            path = self.mtplx.desk.chat.path()
            turn = next((t for t in path if t.id == turn.parent), turn)
        if self.editing is None:
            self._draft = self.prompt.full_text
        self.editing = turn.id
        self.prompt.put(turn.text)
        self.set_focus(self.prompt)
        self.show_hint()

    def stop_editing(self) -> None:
        """Put back what was typed before; without an edit, empty the prompt."""
        self.editing = None
        self.prompt.put(self._draft)
        self._draft = ""

    @on(Prompt.RecallWanted)
    def _recall(self) -> None:
        questions = [turn for turn in self.mtplx.desk.chat.path() if turn.role is Role.USER]
        if questions:
            self.edit(questions[-1])

    def action_regenerate(self) -> None:
        """Ask for another answer to the last question."""
        answers = self.answers()
        if answers:
            self.regenerate(answers[-1])

    def regenerate(self, turn: Turn) -> None:
        """Ask for another answer beside this one, or to this question."""
        model = self._model_to_ask()
        if model is None:
            return
        try:
            command = self.mtplx.desk.regenerate(turn.id, model)
        except ValueError as reason:
            self.notify(str(reason), severity="warning", markup=False)
            return
        self._start(command)
        self.set_focus(self.prompt)

    def answers(self) -> list[Turn]:
        """Return the answers of the branch shown, oldest first."""
        return [turn for turn in self.mtplx.desk.chat.path() if turn.role is Role.ASSISTANT]
