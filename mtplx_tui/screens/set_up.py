"""The set-up's first page: what this machine has, and which model to talk with.

Nothing here is waited for: models and figures appear as they are found out, and enter works at once.
It comes by itself at the first run, maybe over somebody who types a question: text goes on into the prompt.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.events import Key, Paste, Resize
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from mtplx_tui.library.disk import DEMO
from mtplx_tui.library.hub import HubError
from mtplx_tui.library.speed import MachineSpeed, known, measure
from mtplx_tui.marks import marks_for
from mtplx_tui.remedies import one_line
from mtplx_tui.screens.typed_through import covered_field, let_through
from mtplx_tui.setup import offers, survey, words
from mtplx_tui.setup.offers import Offer
from mtplx_tui.setup.survey import Machine
from mtplx_tui.view import EngineState
from mtplx_tui.widgets.prompt import Prompt
from mtplx_tui.wording import showable

if TYPE_CHECKING:
    from mtplx_tui.app import MtplxApp

__all__ = ["SetUp"]

LOOK_S = 0.3
"""Between two looks whether the engine is at rest, so that the machine can be measured."""
_FACTS = (8, 10, 9, 9)
"""Cells of the columns behind a model's name, as `words.OFFER_HEADS` has them."""
_LEAST_NAME = 14
WAITS = "your question waits in the chat: "
TYPED_SHOWN = 36
"""Cells of its end."""
_UNJUDGED = Offer(DEMO, is_here=True, tier="", size_bytes=0, memory_bytes=None, drafts=True)
"""Stands for the demo until what is here is known, so that enter works at once."""


class _Found(Message, bubble=False):
    """What a thread found out, as something to do on the app's own."""

    def __init__(self, take: Callable[[], None]) -> None:
        super().__init__()
        self.take = take


class SetUp(ModalScreen[Offer | None]):
    """Dismissed with the model that was chosen, or None.

    Args:
        chosen: the model of last time; empty where there was none.
    """

    CSS_PATH = "set_up.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "refuse", "the demo")]

    def __init__(self, chosen: str = "") -> None:
        super().__init__()
        self._chosen = chosen
        self._machine: Machine | None = None
        self._speed: MachineSpeed | None = None
        self._is_measured = False
        self._is_measuring = False
        self._offers = {DEMO: _UNJUDGED}
        self._listed: tuple[Offer, ...] = ()
        self._hub_note = "looking for models on the hub that fit…"

    def compose(self) -> ComposeResult:
        """Lay out one card."""
        with Vertical(id="set-up", classes="card"):
            yield Static(id="machine", markup=False)
            yield Static(id="set-up-heads", markup=False)
            yield OptionList(id="offers", markup=False)
            yield Static(id="set-up-note", markup=False)
            yield Static(self._keys(), id="set-up-keys", markup=False)
            yield Static(id="set-up-typed", markup=False)

    def on_mount(self) -> None:
        """Look at the machine, at what is here, and at the hub."""
        card = self.query_one("#set-up")
        card.border_title = "Set up again" if self._chosen else "Welcome to mtplx-tui"
        self._show_machine()
        self.query_one(OptionList).focus()
        self._show_offers()
        self._show_typed()
        self._begin(self._look)
        self.set_interval(LOOK_S, self._measure_at_rest)

    @property
    def _mtplx(self) -> MtplxApp:
        return cast("MtplxApp", self.app)

    def _keys(self) -> Content:
        refuse = "leaves all as it is" if self._chosen else "the demo, and asks no more"
        return Content.assemble(
            ("enter", "bold"), " talks with it   ", ("esc", "bold"), f" {refuse}"
        )

    # Threads

    def _begin(self, run: Callable[[], None]) -> None:
        """Run something in a thread that nobody waits for."""

        def guarded() -> None:
            try:
                run()
            except Exception as error:  # noqa: BLE001 - a thread's end; told to the person
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                self._note_later(f"something went wrong: {reason}")

        threading.Thread(target=guarded, daemon=True).start()

    def _later(self, take: Callable[[], None]) -> None:
        self.post_message(_Found(take))

    @on(_Found)
    def _take_found(self, event: _Found) -> None:
        event.take()

    def _look(self) -> None:
        """Find out everything but the speed; in a thread."""
        places, machine = self._mtplx.places, survey.look()
        self._later(lambda: self._take_machine(machine))
        here = offers.from_here(places, machine)
        self._later(lambda: self._take_here(here))
        names = [offer.name for offer in here]
        try:
            for offer in offers.from_hub(places, machine, names):
                self._later(lambda offer=offer: self._take_offers([offer]))
        except HubError as error:
            self._note_later(one_line(error))
        else:
            self._note_later("")

    def _note_later(self, text: str) -> None:
        self._later(lambda: self._take_note(text))

    def _measure_at_rest(self) -> None:
        """Measure the machine, once, while the engine does nothing; what was measured before counts."""
        if self._is_measuring:
            return
        places, blas = self._mtplx.places, self._mtplx.settings.blas
        found = known(places)
        if found is not None:
            self._is_measuring = True
            self._take_speed(found)
            return
        if self._mtplx.view.state in (EngineState.STARTING, EngineState.LOADING):
            return
        self._is_measuring = True

        def run() -> None:
            speed = measure(places, blas)
            self._later(lambda: self._take_speed(speed))

        self._begin(run)

    # What came back

    def _take_machine(self, machine: Machine) -> None:
        self._machine = machine
        self._show_machine()

    def _take_speed(self, speed: MachineSpeed | None) -> None:
        self._speed, self._is_measured = speed, True
        self._show_machine()
        self._show_offers()

    def _take_here(self, here: tuple[Offer, ...]) -> None:
        self._offers = {}
        self._take_offers(list(here))

    def _take_offers(self, found: list[Offer]) -> None:
        self._offers |= {offer.name: offer for offer in found}
        self._show_offers()

    def _take_note(self, text: str) -> None:
        self._hub_note = text
        self._show_note()

    # What is shown

    def _show_machine(self) -> None:
        lines = ["looking at this machine…"]
        if self._machine is not None:
            lines = survey.machine_lines(self._machine)
        speed = ["weights   measured once the engine is at rest…"]
        if self._is_measured:
            speed = survey.speed_lines(self._speed)
        self.query_one("#machine", Static).update(Content(showable("\n".join([*lines, *speed]))))

    @on(Resize)
    def _show_offers(self) -> None:
        listed = self.query_one(OptionList)
        marked = self._listed[listed.highlighted].name if listed.highlighted is not None else ""
        self._listed = offers.sorted_offers(self._offers.values())
        state = marks_for(self._mtplx.terminal).state
        heads = self._row(f"  {words.OFFER_HEADS[0]} ({state} is here)", words.OFFER_HEADS[1:])
        self.query_one("#set-up-heads", Static).update(Content.styled(heads, "dim"))
        listed.clear_options()
        listed.add_options(
            Option(Content(self._offer_row(offer)), id=offer.name) for offer in self._listed
        )
        names = [offer.name for offer in self._listed]
        wanted = next((name for name in (marked, self._chosen, DEMO) if name in names), "")
        if names:
            listed.highlighted = names.index(wanted) if wanted else 0
        self._show_note()

    def _offer_row(self, offer: Offer) -> str:
        mark = marks_for(self._mtplx.terminal).state if offer.is_here else " "
        if offer is _UNJUDGED:
            return f"{mark} {offer.name}"
        speed = offer.speed(self._speed, self._mtplx.places.bench)
        name, *facts = words.offer_cells(offer, speed)
        return self._row(f"{mark} {name}", facts)

    def _row(self, name: str, facts: Sequence[str]) -> str:
        """Return cells in columns, as many as there is room for."""
        more = marks_for(self._mtplx.terminal).more
        left = max(40, self.query_one(OptionList).size.width or self.app.size.width - 8)
        left -= _LEAST_NAME
        shown: list[str] = []
        for fact, cells in zip(facts, _FACTS, strict=True):
            if left < cells + 2:
                break
            left -= cells + 2
            shown.append(fact.rjust(cells) if fact is facts[0] else fact.ljust(cells))
        cells = _LEAST_NAME + left
        cut = name if len(name) <= cells else f"{name[: cells - 1]}{more}"
        return "  ".join([cut.ljust(cells), *shown])

    def _show_note(self) -> None:
        notes = [self._hub_note, words.left_out_words([*self._offers.values()])]
        if self._offers and not self._listed:
            notes.append("no model fits; esc goes to the app, F4 looks for others")
        text = "\n".join(note for note in notes if note)
        self.query_one("#set-up-note", Static).update(Content(showable(text)))

    # Text for the chat

    def on_key(self, event: Key) -> None:
        """Let text through to the prompt, and what takes its last letter away."""
        if event.is_printable:
            self._let_through(event)
        elif event.key == "backspace" and (prompt := self._prompt) is not None:
            prompt.call_later(prompt.action_delete_left)
            prompt.call_later(self._show_typed)

    def on_paste(self, event: Paste) -> None:
        """Let it through."""
        self._let_through(event)

    def _let_through(self, event: Key | Paste) -> None:
        if (prompt := self._prompt) is not None:
            let_through(self, event)
            prompt.call_later(self._show_typed)

    @property
    def _prompt(self) -> Prompt | None:
        """The chat's, where it has the focus under this page."""
        field = covered_field(self)
        return field if isinstance(field, Prompt) else None

    def _show_typed(self) -> None:
        """Show the end of what waits in the prompt, which this page may lie over."""
        text = "" if self._prompt is None else " ".join(self._prompt.text.split())
        line = self.query_one("#set-up-typed", Static)
        line.display = bool(text)
        shown = Content(showable(text[-TYPED_SHOWN:]))
        while shown.cell_length > TYPED_SHOWN:
            shown = shown[1:]
        line.update(Content.assemble(WAITS, shown))

    # Answers

    @on(OptionList.OptionSelected)
    def _choose(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        # By its name: the list may have been drawn anew since the key.
        self.dismiss(self._offers.get(event.option_id or ""))

    def action_refuse(self) -> None:
        """Choose nothing."""
        self.dismiss(None)
