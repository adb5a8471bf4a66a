"""Bench: depths measured against plain decoding; table and curve grow, results are kept and compared.

The app's runner does the work; this chooses what is measured and shows it. Hidden, it does nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import ClassVar, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Vertical
from textual.content import Content
from textual.events import ScreenResume
from textual.timer import Timer
from textual.widgets import Static

from mtplx_tui.bench import report, results
from mtplx_tui.bench.runner import Runner, Stage
from mtplx_tui.bench.suite import KINDS, Answer, Plan, depths_of
from mtplx_tui.keymap import BENCH, bindings
from mtplx_tui.machine.heat import heat_from_plain, heat_words
from mtplx_tui.marks import Marks
from mtplx_tui.messages import BenchChanged, EngineChanged
from mtplx_tui.screens.app_screen import AppScreen
from mtplx_tui.screens.dialogs import Choose
from mtplx_tui.view import EngineView
from mtplx_tui.widgets.bench_curve import BenchCurve
from mtplx_tui.widgets.bench_table import BenchTable, change_page
from mtplx_tui.widgets.heading import Ends, Heading
from mtplx_tui.widgets.hints import hint_parts, in_a_row
from mtplx_tui.widgets.status_bar import StatusBar
from mtplx_tui.widgets.tab_bar import TabBar
from mtplx_tui.wording import duration, showable

Choice = TypeVar("Choice")
TakeResult = Callable[[Path, report.Result], None]
LOOK_S = 0.5
"""Least time between two looks at figures that grow."""
MOST_OFFERED = 50
BAR_CELLS = 20
KIND_CHOICES = (*((kind,) for kind in KINDS), KINDS)
DEPTH_CHOICES = tuple(map(depths_of, ("0-4,auto", "0-2,auto", "0-8,auto", "auto")))
PROMPT_CHOICES = (8, 4, 2)
TOKEN_CHOICES = (200, 100, 50)
HINT_IDLE = (
    ("{bench.run}", "measures"),
    ("{bench.previous}{bench.next}", "kind"),
    ("{bench.open}", "earlier results"),
    ("{bench.compare}", "compare"),
)
HINT_ACTIVE = (("{bench.back}", "stops"), ("{bench.previous}{bench.next}", "kind"))
NOTHING = """\
How much faster does drafting make this model, here and now?

Enter asks the same questions at several depths side by side, one cycle
in turn, so whatever slows the machine slows all alike. Figures are
medians over prompts with their 95 % intervals. Plain decoding, which
is depth 0, is always among them."""


class BenchScreen(AppScreen):
    """See the module."""

    CSS_PATH = "bench.tcss"
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012 - Textual reads it from the class
        (0, "-narrow"),
        (100, "-normal"),
        (160, "-wide"),
    ]
    BINDINGS: ClassVar[list[BindingType]] = bindings(BENCH)

    def __init__(self) -> None:
        super().__init__()
        self._plan = Plan(prompts=PROMPT_CHOICES[0], max_tokens=TOKEN_CHOICES[0])
        self._opened: tuple[Path, report.Result] | None = None
        """An earlier result in place of the newest one."""
        self._before: tuple[Path, report.Result] | None = None
        """What it is compared with."""
        self._kind = ""
        self._looked_at = 0.0
        self._timer: Timer | None = None

    @property
    def _runner(self) -> Runner:
        return self.mtplx.errands.bench

    def compose(self) -> ComposeResult:
        """Lay out the choices, what is measured, and how far it is."""
        yield TabBar("bench")
        yield Static(id="bench-plan", markup=False)
        yield Static(id="bench-nothing", markup=False)
        yield Heading(self.marks, id="bench-heading")
        with Container(id="bench-body"):
            with Vertical(id="bench-tables"):
                yield BenchTable(self.marks, id="bench-table")
                yield Static(id="bench-changes", markup=False)
            yield BenchCurve(self.marks, id="bench-curve")
        yield Static(id="bench-state", markup=False)
        yield Static(id="bench-hint", markup=False)
        yield StatusBar()

    @on(ScreenResume)
    def bring_up_to_date(self) -> None:
        """Show everything as it is now."""
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        self._looked_at = monotonic()
        self._show_figures()
        self._put("#bench-plan", self._choices())
        self._put("#bench-state", self._state())
        self._put("#bench-hint", self._hint())

    @on(BenchChanged)
    @on(EngineChanged)
    def _look_soon(self) -> None:
        wait = self._looked_at + LOOK_S - monotonic()
        if wait <= 0:
            self.bring_up_to_date()
        elif self._timer is None:
            self._timer = self.set_timer(wait, self.bring_up_to_date)

    # What is seen

    def _answers(self) -> list[Answer]:
        if self._opened is not None:
            return self._opened[1].answers
        sweep = self._runner.sweep
        return [] if sweep is None else sweep.so_far()

    def _show_figures(self) -> None:
        answers = self._answers()
        self.query_one("#bench-nothing").display = not answers
        self.query_one("#bench-body").display = bool(answers)
        self.query_one("#bench-heading").display = bool(answers)
        if not answers:
            self._put("#bench-nothing", Content(NOTHING))
            return
        kinds = list(dict.fromkeys(answer.kind for answer in answers))
        kind = self._kind if self._kind in kinds else kinds[-1]
        found = _rows(answers, kind)
        before = [] if self._before is None else _rows(self._before[1].answers, kind)
        self.query_one(BenchTable).show(found)
        changes = self.query_one("#bench-changes", Static)
        changes.display = self._before is not None
        if self._before is not None:
            of_kind = [
                c for c in report.changes(self._before[1].answers, answers) if c.kind == kind
            ]
            self._put("#bench-changes", change_page(of_kind))
        self.query_one(BenchCurve).show(found, before)
        self._show_heading(kind, kinds, found)

    def _show_heading(self, kind: str, kinds: Sequence[str], rows: Sequence[report.Row]) -> None:
        marks = self.marks
        turn = f"{marks.previous} {kinds.index(kind) + 1}/{len(kinds)} {marks.next}  "
        prompts = max(row.answers for row in rows)
        left = Content.assemble(
            (turn if len(kinds) > 1 else "", "dim"),
            (kind, "bold"),
            (f", {prompts} prompt{'s' if prompts > 1 else ''}", ""),
        )
        self.query_one(Heading).show(Ends(left, Content.styled(self._title(), "dim"), Content("")))

    def _title(self) -> str:
        path = self._runner.kept if self._opened is None else self._opened[0]
        now = "this run" if path is None else showable(results.title(path))
        if self._before is None:
            return now
        return f"{now}, against {showable(results.title(self._before[0]))}"

    def _choices(self) -> Content:
        plan = self._plan
        kinds = "all kinds" if plan.kinds == KINDS else plan.kinds[0]
        depths = f"depths {depth_words(plan.depths, self.marks)}"
        parts = [
            ("k", kinds),
            ("d", depths),
            ("p", f"{plan.prompts} prompts"),
            ("t", f"{plan.max_tokens} tokens"),
        ]
        style = "dim" if self._runner.is_active else "bold $text-primary"
        line = Content(f" {self.marks.dot} ").join(
            Content.assemble((f"{key} ", "dim"), (what, style)) for key, what in parts
        )
        left = estimate(plan, self.mtplx.view, self._answers())
        if not left or self._runner.is_active:
            return line
        return Content.assemble(line, (f" {self.marks.dot} {left}", "dim"))

    def _state(self) -> Content:
        runner, marks = self._runner, self.marks
        match runner.stage:
            case Stage.WAITING:
                return Content.styled(
                    "An answer goes first; this begins by itself.", "$text-accent"
                )
            case Stage.RUNNING:
                return self._progress()
            case _ if self._opened is not None:
                return self._summary()
            case Stage.FAILED:
                color = "$text-error"
            case Stage.STOPPED:
                color = "$text-warning"
            case _:
                color = "$text-success"
        parts = [showable(self.mtplx.keys.fill(runner.note))] if runner.note else []
        sweep = runner.sweep
        if sweep is not None and runner.stage is not Stage.IDLE:
            parts.append(f"{sweep.done} of {sweep.prompts} prompts")
            kept = runner.kept
            parts.append("kept" if kept is not None else "nothing kept")
        ended = Content.styled(f" {marks.dot} ".join(parts), color)
        return Content.assemble(ended, "\n" if parts else "", self._summary())

    def _summary(self) -> Content:
        answers = self._answers()
        if not answers:
            return Content("")
        kinds = list(dict.fromkeys(answer.kind for answer in answers))
        kind = self._kind if self._kind in kinds else kinds[-1]
        heat = self._runner.heat
        if self._opened is not None:
            heat = heat_from_plain(self._opened[1].about.get("heat"))
        lines = [Content(report.summary(_rows(answers, kind)))]
        if heat is not None:
            lines.append(Content.styled(f"heat: {showable(heat_words(heat))}", "dim"))
        return Content("\n").join(lines)

    def _progress(self) -> Content:
        runner, marks, sweep = self._runner, self.marks, self._runner.sweep
        if sweep is None:
            return Content("")
        full = round(BAR_CELLS * sweep.share)
        at = min(sweep.done + 1, sweep.prompts)
        words = f"  prompt {at} of {sweep.prompts}, {sweep.kind}"
        left = runner.seconds_left
        if runner.is_held:
            words += f" {marks.dot} an answer goes first"
        elif left is not None:
            words += f" {marks.dot} {duration(left)} left at most"
        return Content.assemble(
            (marks.bar * full, "$primary"), (marks.track * (BAR_CELLS - full), "dim"), words
        )

    def _hint(self) -> Content:
        hints = HINT_ACTIVE if self._runner.is_active else HINT_IDLE
        if not self._runner.is_active and (self._opened or self._before):
            hints = (*hints, ("{bench.back}", "closes it"))
        is_utf8 = self.mtplx.terminal.is_utf8
        return in_a_row(hint_parts(hints, self.mtplx.keys, is_utf8=is_utf8))

    def _put(self, selector: str, content: Content) -> None:
        part = self.query_one(selector, Static)
        if part.content != content:
            part.update(content)

    # Keys

    def action_run(self) -> None:
        """Measure what is chosen."""
        why_not = self._runner.start(self._plan, self.mtplx.view)
        if why_not:
            self.notify(why_not, severity="warning", markup=False)
        else:
            self._opened = self._before = None
            self._kind = ""
        self.bring_up_to_date()

    def action_back(self) -> None:
        """Stop at once, or close what was opened."""
        if self._runner.is_active:
            self._runner.stop()
        elif self._before is not None:
            self._before = None
        else:
            self._opened = None
        self.bring_up_to_date()

    def action_choose(self, what: str) -> None:
        """Take the next of the choices, for the next run."""
        plan = self._plan
        match what:
            case "kinds":
                self._plan = replace(plan, kinds=_after(KIND_CHOICES, plan.kinds))
            case "depths":
                self._plan = replace(plan, depths=_after(DEPTH_CHOICES, plan.depths))
            case "prompts":
                self._plan = replace(plan, prompts=_after(PROMPT_CHOICES, plan.prompts))
            case _:
                self._plan = replace(plan, max_tokens=_after(TOKEN_CHOICES, plan.max_tokens))
        self._put("#bench-plan", self._choices())

    def action_kind(self, by: int) -> None:
        """Show another kind of prompt."""
        kinds = list(dict.fromkeys(answer.kind for answer in self._answers()))
        if kinds:
            now = kinds.index(self._kind) if self._kind in kinds else len(kinds) - 1
            self._kind = kinds[(now + by) % len(kinds)]
            self.bring_up_to_date()

    def action_open(self) -> None:
        """Choose an earlier result to look at."""
        self._ask("Which result?", self._open)

    def action_compare(self) -> None:
        """Choose an earlier result to compare with what is shown."""
        if not self._answers():
            self.notify("measure first, or open a result with o", severity="warning")
        else:
            self._ask("Compare with which earlier result?", self._compare)

    def _open(self, path: Path, result: report.Result) -> None:
        self._opened, self._before, self._kind = (path, result), None, ""

    def _compare(self, path: Path, result: report.Result) -> None:
        self._before = (path, result)

    def _ask(self, title: str, take: TakeResult) -> None:
        shown = self._runner.kept if self._opened is None else self._opened[0]
        paths = [path for path in results.kept(self._runner.folder) if path != shown]
        if not paths:
            self.notify("no earlier result is kept", severity="warning")
            return

        def answered(answer: str | None) -> None:
            if answer is None:
                return
            path = paths[int(answer)]
            try:
                take(path, report.read(path))
            except ValueError as error:
                self.notify(showable(str(error)), severity="error", markup=False)
            self.bring_up_to_date()

        self.app.push_screen(Choose(title, results.titles(paths[:MOST_OFFERED])), answered)


def _rows(answers: Sequence[Answer], kind: str) -> list[report.Row]:
    return report.rows([answer for answer in answers if answer.kind == kind])


def _after(choices: Sequence[Choice], now: Choice) -> Choice:
    return choices[(choices.index(now) + 1) % len(choices)]


def depth_words(depths: Sequence[int | None], marks: Marks) -> str:
    """Return depths as a person reads them: 0-4, auto."""
    fixed = [depth for depth in depths if depth is not None]
    parts = [f"{fixed[0]}{marks.range}{fixed[-1]}" if len(fixed) > 1 else str(fixed[0])]
    return ", ".join([*parts, "auto"] if None in depths else parts)


def estimate(plan: Plan, view: EngineView, answers: Sequence[Answer]) -> str:
    """Return how long a plan takes at most, in words; empty where no speed is known yet.

    It is told from the newest measurement, or else from the newest answer.
    """
    speeds = [answer.tokens_per_s for answer in answers if answer.depth == 0]
    speeds = speeds or [r.tokens_per_s for r in view.requests if r.tokens_per_s is not None]
    if not speeds or speeds[-1] <= 0:
        return ""
    asked = len(plan.kinds) * plan.prompts * len(plan.depths)
    seconds = asked * plan.max_tokens / speeds[-1]
    return f"at most {math.ceil(seconds / 60)} min" if seconds > 60 else "under a minute"
