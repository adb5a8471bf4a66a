"""Speculation: the fate of each token, acceptance at each depth, and where the time goes.

Reads `app.view`; changes nothing but what it shows. Hidden, it does nothing; shown again, it
brings itself up to date.
"""

from __future__ import annotations

from time import monotonic
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Vertical
from textual.content import Content
from textual.events import Resize, ScreenResume, ScreenSuspend
from textual.timer import Timer
from textual.widgets import Static

from mtplx_tui.keymap import SPECULATION, bindings
from mtplx_tui.messages import EngineChanged
from mtplx_tui.screens.speculation_traces import TraceKeeping
from mtplx_tui.screens.speculation_walk import Walk
from mtplx_tui.screens.speculation_words import how_it_stands, nothing_page, options_of
from mtplx_tui.view import EngineView, RequestView
from mtplx_tui.widgets.acceptance_bars import AcceptanceBars
from mtplx_tui.widgets.cycle_anatomy import CycleAnatomy
from mtplx_tui.widgets.cycle_detail import CycleDetail
from mtplx_tui.widgets.depth_forecast import DepthForecast
from mtplx_tui.widgets.depth_legend import DepthLegend
from mtplx_tui.widgets.draft_xray import DraftXray, Place
from mtplx_tui.widgets.find_bar import FindBar
from mtplx_tui.widgets.heading import Ends, Heading
from mtplx_tui.widgets.hints import hint_parts, in_a_row
from mtplx_tui.widgets.ribbon import Ribbon
from mtplx_tui.widgets.status_bar import StatusBar
from mtplx_tui.widgets.tab_bar import TabBar
from mtplx_tui.wording import showable

PANELS_S = 0.2
"""Least time between two looks at counts and means; the ribbon is drawn at each batch."""
STEP = ("{speculation.back}{speculation.forth}", "cycle by cycle")
DRAFTS, DEPTH = ("{speculation.drafts}", "drafts"), ("+-", "depth")
FORECAST, SAVE = ("{speculation.forecast}", "each depth"), ("{speculation.save}", "save")
OPEN = ("{speculation.open}", "replay a trace")
XRAY = "{speculation.next_draft}"
HINT_LIVE = (
    ("{speculation.pause}", "pause"),
    STEP,
    (XRAY, "x-ray"),
    FORECAST,
    DRAFTS,
    DEPTH,
    SAVE,
    OPEN,
)
HINT_PAUSED = (
    STEP,
    (XRAY, "drafts"),
    ("{speculation.xray}", "record"),
    ("{speculation.live}", "go on live"),
    FORECAST,
    SAVE,
)
HINT_REPLAY = (
    ("{speculation.pause}", "hold"),
    STEP,
    ("{speculation.slower} {speculation.faster}", "speed"),
    (XRAY, "x-ray"),
    ("{speculation.live.1}", "close"),
)


class SpeculationScreen(TraceKeeping):
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
    def ribbon(self) -> Ribbon:
        """The tokens."""
        return self.query_one(Ribbon)

    def compose(self) -> ComposeResult:
        """Lay out the ribbon, its legend, and the panels under or beside it."""
        marks = self.marks
        yield TabBar("speculation")
        with Container(id="speculation-body"):
            with Vertical(id="tokens"):
                yield Heading(marks, id="heading")
                yield Static(id="nothing", markup=False)
                yield Ribbon(marks, id="ribbon")
                yield FindBar(id="find")
                yield CycleDetail(marks, id="detail")
                yield DraftXray(marks, id="xray")
                yield DepthLegend(marks, id="legend")
            with Container(id="panels"):
                yield AcceptanceBars(marks, id="acceptance")
                yield CycleAnatomy(marks, id="anatomy")
                yield DepthForecast(marks, id="forecast")
        yield Static(id="hint", markup=False)
        yield StatusBar()

    @on(ScreenResume)
    def bring_up_to_date(self) -> None:
        """Show everything as it is now."""
        if self.mtplx.trace is not None:
            self.take_waiting_trace()
        self.keep_ticking()
        self.show_now()

    @on(ScreenSuspend)
    def _rest(self) -> None:
        self.keep_ticking()

    def show_now(self) -> None:
        """Show everything as it is now."""
        self._show_tokens()
        self._show_panels()

    def forget_place(self) -> None:
        """Stand nowhere: what is shown from now on is another stream."""
        self._walk = Walk()

    def shown_request(self) -> RequestView | None:
        """Return the answer shown."""
        return self._walk.request(self.shown_view)

    @on(EngineChanged)
    def _take_events(self) -> None:
        if self.replay is None:
            self.show_newest()

    def show_newest(self) -> None:
        """Show what came since the last look: tokens now, panels at intervals."""
        if not self._walk.is_paused:
            self._show_tokens()
        wait = self._panels_at + PANELS_S - monotonic()
        if wait <= 0:
            self._show_panels()
        elif self._panels_timer is None:
            self._panels_timer = self.set_timer(wait, self._show_panels)

    def _show_tokens(self) -> None:
        request = self._walk.request(self.shown_view)
        has_tokens = request is not None and len(request.cycles) > 0
        self.ribbon.display = has_tokens
        nothing = self.query_one("#nothing", Static)
        nothing.display = not has_tokens
        if has_tokens:
            self.ribbon.show(request, self._walk.selected)
        else:
            _put(nothing, nothing_page(self.shown_view, request, self.marks, self.mtplx.keys))

    def _show_panels(self) -> None:
        if self._panels_timer is not None:
            self._panels_timer.stop()
            self._panels_timer = None
        self._panels_at = monotonic()
        view, walk = self.shown_view, self._walk
        request = walk.request(view)
        self._show_heading(view, request)
        self._show_detail(view, request)
        is_covered = self._show_xray(request) and self.has_class("-narrow")
        self.query_one(DepthLegend).show(request, self._depth_to_come(view))
        has_cycles = request is not None and len(request.cycles) > 0
        self.query_one("#panels").display = has_cycles and not is_covered
        self.query_one(AcceptanceBars).show(request)
        self.query_one(CycleAnatomy).show(request, walk.selected)
        self.query_one(DepthForecast).show(request)
        _put(self.query_one("#hint", Static), self._hint())
        if self.query_one(FindBar).is_open:
            self._look(self.ribbon.finding.query)

    def _show_heading(self, view: EngineView, request: RequestView | None) -> None:
        marks = self.marks
        at, of = self._walk.place(view)
        number = f"{marks.previous} {at}/{of} {marks.next}  " if of > 1 else ""
        ends = Ends(
            left=Content.assemble((number, "dim"), (self._question(request), "bold")),
            right=self._how_it_stands(request),
            aside=Content.styled(options_of(request, marks.dot), "dim"),
        )
        self.query_one(Heading).show(ends)

    def _how_it_stands(self, request: RequestView | None) -> Content:
        stands = how_it_stands(request, is_paused=self._walk.is_paused)
        if self.replay is not None:
            state = self.replay_state()
            return Content.assemble(
                (state, "$text-accent"), "  ", stands if self._walk.is_paused else ""
            )
        if self.mtplx.drafting.has_xray:
            return Content.assemble(("recording", "$text-accent"), "  ", stands)
        return stands

    def _show_xray(self, request: RequestView | None) -> bool:
        """Show the draft that was picked; return whether there is one."""
        selected, draft = self._walk.selected, self._walk.draft
        xray = self.query_one(DraftXray)
        xray.display = selected is not None and draft is not None and request is not None
        if selected is None or draft is None or request is None:
            return False
        started = request.started
        is_greedy = started is not None and started.sampling.temperature == 0
        xray.show(Place(request.cycles[selected], draft, is_greedy))
        return True

    def _depth_to_come(self, view: EngineView) -> int | None:
        """Return the depth that an answer would begin with; None where it is automatic."""
        is_headless = view.model is not None and view.model.head is None
        return 0 if is_headless else self.mtplx.desk.chat.options.depth

    def _question(self, request: RequestView | None) -> str:
        """Return what was asked, as far as the open chat knows it."""
        if self.replay is not None:
            head = self.replay.trace.header
            made = f"made on {head.machine}" if head.machine else ""
            facts = f"trace {self.replay.trace.name}  {made}  {head.heat}"
            return showable(" ".join(facts.split()))
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
        """Return the keys that matter most here, as many as there is room for."""
        wanted = HINT_PAUSED if self._walk.is_paused else HINT_LIVE
        if self.replay is not None:
            wanted = HINT_REPLAY
        line = Content("")
        for part in hint_parts(wanted, self.mtplx.keys, is_utf8=self.mtplx.terminal.is_utf8):
            longer = in_a_row((line, part)) if line else part
            if longer.cell_length > self.size.width - 2:
                break
            line = longer
        return line

    @on(Resize)
    def _fit(self) -> None:
        self.call_after_refresh(self._show_panels)

    # Searching

    async def action_find(self) -> None:
        """Look for a text in this answer."""
        if self.ribbon.display:
            await self.query_one(FindBar).open()

    @on(FindBar.Changed)
    def _search(self, message: FindBar.Changed) -> None:
        self._look(message.query)
        self.ribbon.go()

    def _look(self, query: str) -> None:
        self.ribbon.look(query)
        self.query_one(FindBar).show(self.ribbon.finding.words())

    @on(FindBar.Stepped)
    def _step_search(self, message: FindBar.Stepped) -> None:
        self.ribbon.step(message.by)
        self.query_one(FindBar).show(self.ribbon.finding.words())

    @on(FindBar.Closed)
    def _end_search(self) -> None:
        self.ribbon.look("")
        self.set_focus(None)

    # Keys

    def action_pause(self) -> None:
        """Freeze what is shown, or go on live; the engine goes on either way."""
        if self._walk.is_paused:
            self._go_on()
        else:
            self._walk.pause(self.shown_view)
            self._hold()
        self.show_now()

    def _hold(self) -> None:
        """Have a replay stand still while the view does."""
        if self.replay is not None:
            self.replay.is_held = self._walk.is_paused

    def _go_on(self) -> None:
        self._walk.live(self.shown_view)
        self._hold()

    def action_live(self) -> None:
        """Go on live, at the newest token; from a replay that goes on, back to the engine."""
        if self.replay is not None and not self._walk.is_paused:
            self.close_trace()
        self._go_on()
        self.show_now()
        self.ribbon.scroll_end(animate=False)

    def action_step(self, by: int) -> None:
        """Walk a cycle back or forth."""
        self._walk.step(self.shown_view, by)
        self._hold()
        self.show_now()

    def action_pick_draft(self, by: int) -> None:
        """Put the next draft of the cycle under the x-ray."""
        self._walk.pick_draft(self.shown_view, by)
        self._hold()
        self.show_now()

    def action_toggle_xray(self) -> None:
        """Record what drafts are judged by, or no more."""
        drafting = self.mtplx.drafting
        drafting.toggle_xray()
        told = "the cycles to come are recorded" if drafting.has_xray else "no more is recorded"
        self.notify(f"x-ray: {told}")
        self.show_now()

    def action_toggle_forecast(self) -> None:
        """Show what each depth would give, or acceptance and anatomy, where there is no room for all."""
        self.toggle_class("-forecast")
        self._show_panels()

    def action_first(self) -> None:
        """Walk to the first cycle."""
        self._walk.stand(self.shown_view, 0)
        self._hold()
        self.show_now()

    def action_request(self, by: int) -> None:
        """Look at another answer."""
        self._walk.choose(self.shown_view, by)
        self._hold()
        self.show_now()

    @on(Ribbon.Picked)
    def _pick(self, message: Ribbon.Picked) -> None:
        self._walk.stand(self.shown_view, message.cycle)
        self._hold()
        self.show_now()

    def action_toggle_drafts(self) -> None:
        """Show or hide the rejected drafts."""
        self.ribbon.toggle_drafts()

    def action_scroll(self, by: int) -> None:
        """Scroll the ribbon by a row."""
        self.ribbon.scroll_relative(y=by, animate=False)

    def action_page(self, by: int) -> None:
        """Scroll the ribbon by a page."""
        self.ribbon.scroll_relative(y=by * max(1, self.ribbon.size.height - 1), animate=False)


def _put(part: Static, content: Content) -> None:
    """Show a text, if it is another one."""
    if part.content != content:
        part.update(content)
