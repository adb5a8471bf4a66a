"""Speculation: the fate of each token, acceptance at each depth, and where the time goes.

Reads `app.view`; changes nothing but what it shows. Hidden, it does nothing; shown again, it
brings itself up to date.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Vertical
from textual.content import Content
from textual.events import ScreenResume
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import Static

from engine.protocol import Finish
from mtplx_tui.keymap import SPECULATION, bindings
from mtplx_tui.messages import EngineChanged
from mtplx_tui.screens.speculation_walk import Walk
from mtplx_tui.theming import Marks, marks_for
from mtplx_tui.view import EngineState, EngineView, RequestView
from mtplx_tui.widgets.acceptance_bars import AcceptanceBars
from mtplx_tui.widgets.cycle_anatomy import CycleAnatomy
from mtplx_tui.widgets.cycle_detail import CycleDetail
from mtplx_tui.widgets.depth_legend import DepthLegend
from mtplx_tui.widgets.heading import Ends, Heading
from mtplx_tui.widgets.markdown_sections import showable
from mtplx_tui.widgets.ribbon import Ribbon
from mtplx_tui.widgets.status_bar import StatusBar
from mtplx_tui.widgets.tab_bar import TabBar

if TYPE_CHECKING:
    from mtplx_tui.app import MtplxApp

PANELS_S = 0.2
"""Least time between two looks at counts and means; the ribbon is drawn at each batch."""
STEP = ("←→", "cycle by cycle")
DRAFTS, DEPTH = ("d", "drafts"), ("+-", "depth")
HINT_LIVE = (("space", "pause"), STEP, ("[ ]", "other answers"), DRAFTS, DEPTH)
HINT_PAUSED = (STEP, ("home", "first"), ("end", "go on live"), DRAFTS, DEPTH)


class SpeculationScreen(Screen[None]):
    """Shows what speculation did for an answer."""

    CSS_PATH = "speculation.tcss"
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012 - Textual reads it from the class
        (0, "-narrow"),
        (100, "-normal"),
        (160, "-wide"),
    ]
    BINDINGS: ClassVar[list[BindingType]] = bindings(SPECULATION)

    def __init__(self) -> None:
        super().__init__()
        self._walk = Walk()
        self._panels_at = 0.0
        self._panels_timer: Timer | None = None

    @property
    def mtplx(self) -> MtplxApp:
        """The app, by its own type."""
        return cast("MtplxApp", self.app)

    @property
    def _marks(self) -> Marks:
        return marks_for(self.mtplx.terminal)

    @property
    def ribbon(self) -> Ribbon:
        """The tokens."""
        return self.query_one(Ribbon)

    def compose(self) -> ComposeResult:
        """Lay out the ribbon, its legend, and the panels under or beside it."""
        marks = self._marks
        yield TabBar("speculation")
        with Container(id="speculation-body"):
            with Vertical(id="tokens"):
                yield Heading(marks, id="heading")
                yield Static(id="nothing", markup=False)
                yield Ribbon(marks, id="ribbon")
                yield CycleDetail(marks, id="detail")
                yield DepthLegend(marks, id="legend")
            with Container(id="panels"):
                yield AcceptanceBars(marks, id="acceptance")
                yield CycleAnatomy(marks, id="anatomy")
        yield Static(id="hint", markup=False)
        yield StatusBar()

    @on(ScreenResume)
    def bring_up_to_date(self) -> None:
        """Show everything as it is now."""
        self._show_tokens()
        self._show_panels()

    @on(EngineChanged)
    def _take_events(self) -> None:
        if not self._walk.is_paused:
            self._show_tokens()
        wait = self._panels_at + PANELS_S - monotonic()
        if wait <= 0:
            self._show_panels()
        elif self._panels_timer is None:
            self._panels_timer = self.set_timer(wait, self._show_panels)

    def _show_tokens(self) -> None:
        request = self._walk.request(self.mtplx.view)
        has_tokens = request is not None and len(request.cycles) > 0
        self.ribbon.display = has_tokens
        nothing = self.query_one("#nothing", Static)
        nothing.display = not has_tokens
        if has_tokens:
            self.ribbon.show(request, self._walk.selected)
        else:
            _put(nothing, nothing_page(self.mtplx.view, request, self._marks))

    def _show_panels(self) -> None:
        if self._panels_timer is not None:
            self._panels_timer.stop()
            self._panels_timer = None
        self._panels_at = monotonic()
        view, walk = self.mtplx.view, self._walk
        request = walk.request(view)
        self._show_heading(view, request)
        self._show_detail(view, request)
        self.query_one(DepthLegend).show(request, self._depth_to_come(view))
        self.query_one("#panels").display = request is not None and len(request.cycles) > 0
        self.query_one(AcceptanceBars).show(request)
        self.query_one(CycleAnatomy).show(request, walk.selected)
        _put(self.query_one("#hint", Static), self._hint())

    def _show_heading(self, view: EngineView, request: RequestView | None) -> None:
        marks = self._marks
        at, of = self._walk.place(view)
        number = f"{marks.previous} {at}/{of} {marks.next}  " if of > 1 else ""
        ends = Ends(
            left=Content.assemble((number, "dim"), (self._question(request), "bold")),
            right=how_it_stands(request, is_paused=self._walk.is_paused),
            aside=Content.styled(options_of(request, marks.dot), "dim"),
        )
        self.query_one(Heading).show(ends)

    def _depth_to_come(self, view: EngineView) -> int | None:
        """Return the depth that an answer would begin with; None where it is automatic."""
        is_headless = view.model is not None and view.model.head is None
        return 0 if is_headless else self.mtplx.desk.chat.options.depth

    def _question(self, request: RequestView | None) -> str:
        """Return what was asked, as far as the open chat knows it."""
        if request is None:
            return ""
        turns = self.mtplx.desk.chat.turns
        answer = turns.get(request.request)
        question = None if answer is None or answer.parent is None else turns.get(answer.parent)
        if question is None:
            return "an answer in another chat"
        return " ".join(showable(question.text).split())

    def _show_detail(self, view: EngineView, request: RequestView | None) -> None:
        selected = self._walk.selected
        detail = self.query_one(CycleDetail)
        detail.display = selected is not None and request is not None
        if selected is not None and request is not None:
            walk = self._walk
            detail.show(request.cycles[selected], walk.count(view), walk.behind(view))

    def _hint(self) -> Content:
        hints = []
        for key, what in HINT_PAUSED if self._walk.is_paused else HINT_LIVE:
            if not self.mtplx.terminal.is_utf8:
                key = key.replace("←→", "<- ->")
            hints.append(Content.assemble((key, "bold"), f" {what}"))
        return Content("   ").join(hints)

    # Keys

    def action_pause(self) -> None:
        """Freeze what is shown, or go on live; the engine goes on either way."""
        if self._walk.is_paused:
            self._walk.live(self.mtplx.view)
        else:
            self._walk.pause(self.mtplx.view)
        self.bring_up_to_date()

    def action_live(self) -> None:
        """Go on live, at the newest token."""
        self._walk.live(self.mtplx.view)
        self.bring_up_to_date()
        self.ribbon.scroll_end(animate=False)

    def action_step(self, by: int) -> None:
        """Walk a cycle back or forth."""
        self._walk.step(self.mtplx.view, by)
        self.bring_up_to_date()

    def action_first(self) -> None:
        """Walk to the first cycle."""
        self._walk.stand(self.mtplx.view, 0)
        self.bring_up_to_date()

    def action_request(self, by: int) -> None:
        """Look at another answer."""
        self._walk.choose(self.mtplx.view, by)
        self.bring_up_to_date()

    @on(Ribbon.Picked)
    def _pick(self, message: Ribbon.Picked) -> None:
        self._walk.stand(self.mtplx.view, message.cycle)
        self.bring_up_to_date()

    def action_toggle_drafts(self) -> None:
        """Show or hide the rejected drafts."""
        self.ribbon.toggle_drafts()

    def action_scroll(self, by: int) -> None:
        """Scroll the ribbon by a row."""
        self.ribbon.scroll_relative(y=by, animate=False)

    def action_page(self, by: int) -> None:
        """Scroll the ribbon by a page."""
        self.ribbon.scroll_relative(y=by * max(1, self.ribbon.size.height - 1), animate=False)


def nothing_page(view: EngineView, request: RequestView | None, marks: Marks) -> Content:
    """Return what stands where no token is yet: what to do, and how to read what will come."""
    if request is not None and request.is_running and request.started is not None:
        total = request.started.prompt_tokens
        return Content(f"reading the prompt, {request.prefilled:,} of {total:,} tokens")
    if view.state is EngineState.DEAD:
        return Content("The engine has stopped: ctrl+r starts it again.")
    if view.load is not None or view.state is EngineState.STARTING:
        return Content("One moment: the model is on its way.")
    if view.model is None:
        return Content("No model is loaded: ctrl+o opens one.")
    lines = [Content("Ask something in Chat (F2); its tokens appear here."), Content("")]
    if view.model.head is None:
        note = showable(view.model.head_note or "it has none")
        lines += [Content(f"No head, so plain decoding: {note}."), Content("")]
        return Content("\n").join([*lines, _reading_row(0, marks)])
    return Content("\n").join([*lines, *(_reading_row(at, marks) for at in range(5))])


def _reading_row(at: int, marks: Marks) -> Content:
    """Return one row of the explanation of the marks."""
    samples = (
        Content.styled(f"{marks.depths[0]}the", ""),
        Content.styled(f"{marks.depths[1]}sky", "$depth-1"),
        Content.styled(f"{marks.bonus}is", "bold"),
        Content.styled(f"{marks.residual}blue", "bold italic"),
        Content.assemble(marks.opening, ("red", "strike"), marks.closing),
    )
    words = (
        "plain decoding: one token from the trunk",
        "a draft that was accepted, here at depth 1",
        "the bonus token after drafts that were all accepted",
        "the token drawn in place of a rejected draft",
        "the draft that was rejected",
    )
    sample = samples[at]
    return Content.assemble(" " * (6 - sample.cell_length), sample, (f"  {words[at]:<51}", "dim"))


def options_of(request: RequestView | None, dot: str) -> str:
    """Return what an answer is drawn with."""
    if request is None or request.started is None:
        return ""
    started = request.started
    own = started.sampling
    parts = [started.model, f"{started.mode} rule", f"seed {started.seed}"]
    parts.append(f"temperature {own.temperature:g}" if own.temperature else "greedy")
    if own.temperature:
        parts += [f"top_p {own.top_p:g}", f"top_k {own.top_k}"]
    return f" {dot} ".join(parts)


def how_it_stands(request: RequestView | None, *, is_paused: bool) -> Content:
    """Return how an answer ended, or that it goes on."""
    if request is None:
        return Content("")
    if is_paused:
        return Content.styled("paused", "bold $text-warning")
    if request.is_running:
        return Content.styled("live", "bold $text-success")
    if request.was_cut:
        return Content.styled("cut: the engine stopped", "$text-error")
    if request.error is not None:
        return Content.styled("failed", "$text-error")
    words = {Finish.STOP: "finished", Finish.LENGTH: "token limit", Finish.CANCELLED: "stopped"}
    done = request.done
    tokens = f", {request.emitted:,} tokens in {len(request.cycles):,} cycles"
    return Content.styled(words[done.finish] + tokens if done is not None else "", "dim")


def _put(part: Static, content: Content) -> None:
    """Show a text, if it is another one."""
    if part.content != content:
        part.update(content)
