"""Models: search the hub and what is here; see tier, memory and speed before a download; use them.

Searching, judging and deleting run in threads (`models_work`); downloads and certificates are the
app's. What the list shows is made in `models_list`, what is done to a model in `models_actions`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Vertical
from textual.content import Content
from textual.events import Resize, ScreenResume
from textual.timer import Timer
from textual.widgets import DataTable, Input, Static

from mtplx_tui.keymap import MODELS, bindings
from mtplx_tui.library.catalog import Report, machine_bytes
from mtplx_tui.library.hub import PAGE, Found, Query
from mtplx_tui.library.queue import Job, JobState
from mtplx_tui.library.recommended import recommended
from mtplx_tui.library.shelf import Shelved
from mtplx_tui.library.speed import MachineSpeed, Speed, speed_of
from mtplx_tui.messages import DownloadChanged, EngineChanged
from mtplx_tui.screens.dialogs import Choose
from mtplx_tui.screens.models_actions import ModelsActions
from mtplx_tui.screens.models_list import NARROWINGS, NEXT_SORT, Filters, Narrowing
from mtplx_tui.view import EngineState
from mtplx_tui.widgets.model_card import Card, ModelCard, named_job_line
from mtplx_tui.widgets.model_table import ModelRow, ModelTable
from mtplx_tui.widgets.status_bar import StatusBar
from mtplx_tui.widgets.tab_bar import TabBar
from mtplx_tui.wording import showable

SEARCH_WAIT_S = 0.25
"""A search waits until typing pauses; so does judging until the cursor rests."""
JUDGED_AHEAD = 12
"""Models at the head of the list that are judged without being asked for."""
MAX_STRIP = 3
STRIP_EDGES = 2
"""Cells beside its lines."""
CHOSEN = "bold $text-primary"
ASK_HUB = "search the hub; author:name and tag:4-bit narrow it"
ASK_HERE = "search what is here"
HINT_HUB = (
    "{models.search} search · {models.download} download · {models.pause} pause · {models.limit} limit · "
    "{models.readme} readme · {models.author} {models.family} {models.packing} filter · {models.here} here"
)
HINT_HERE = (
    "enter loads · {models.certify} certifies · {models.graft} grafts a head · {models.delete} deletes · "
    "{models.readme} readme · {models.here} the hub"
)


class ModelsScreen(ModelsActions):
    """See the module."""

    CSS_PATH = "models.tcss"
    BINDINGS: ClassVar[list[BindingType]] = bindings(MODELS)

    def __init__(self) -> None:
        super().__init__()
        self._filters = Filters()
        self._limit = PAGE
        self._query: Query | None = None
        self._note, self._is_bad = "", False
        """What is to be told of the search on the hub."""
        self._count = 0
        self._timer: Timer | None = None
        self._judge_timer: Timer | None = None
        self._machine = machine_bytes()
        self._machine_speed: MachineSpeed | None = None
        self._asks_speed = True
        self._speeds: dict[str, Speed | None] = {}
        """As far as they were looked at since something was measured."""

    @property
    def _text(self) -> str:
        return self.query_one("#models-search", Input).value

    def compose(self) -> ComposeResult:
        """Lay out the search above the list, and the card beside or below it."""
        marks = self.marks
        yield TabBar("models")
        yield Input(placeholder=ASK_HUB, compact=True, id="models-search")
        yield Static(id="models-filters", markup=False)
        with Container(id="models-body"):
            with Vertical(id="models-list"):
                yield ModelTable(marks, id="models-table")
                yield Static(id="models-note", markup=False)
            yield ModelCard(marks, id="models-card")
        yield Static(id="models-strip", markup=False)
        yield Static(id="models-hint", markup=False)
        yield StatusBar()

    def on_mount(self) -> None:
        """Look what is here, and search for everything."""
        self.set_focus(self.table)
        self._show_strip()
        self._search_now()

    @on(Resize)
    def _fit_strip(self) -> None:
        self._show_strip()

    @on(ScreenResume)
    def _look_again(self) -> None:
        self._speeds.clear()
        self.take_certificate()
        self.look_here()
        self._measure_soon()

    # Searching

    @on(Input.Changed, "#models-search")
    def _search_soon(self, event: Input.Changed) -> None:
        event.stop()
        if self._filters.is_local:
            self._show_rows()
            return
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(SEARCH_WAIT_S, self._search_now)

    @on(Input.Submitted, "#models-search")
    def _into_list(self, event: Input.Submitted) -> None:
        event.stop()
        self.set_focus(self.table)

    def _search_now(self, limit: int = PAGE) -> None:
        """Search for what stands in the field, unless that is shown already."""
        query = self._filters.query(self._text)
        if (query, limit) == (self._query, self._limit):
            return
        self._query, self._limit = query, limit
        self._say("searching" + self.marks.more)
        self.search(query, limit)

    def take_found(self, query: Query, found: tuple[Found, ...], error: str) -> None:
        """See ModelsWork."""
        if query != self._query:
            return
        if error:
            self._query = None
        self.known.found = found
        self._say(error, is_error=bool(error))
        self._show_rows()
        self.judge_soon()

    def take_shelf(self, found: tuple[Shelved, ...]) -> None:
        """See ModelsWork."""
        self.known.here = {model.name: model for model in found}
        self._show_rows()
        self.judge_soon()

    # Judging

    @on(DataTable.RowHighlighted)
    def _follow_cursor(self, event: DataTable.RowHighlighted) -> None:
        event.stop()
        self.is_reading = False
        self.show_card()
        self.judge_soon()
        is_last = self.table.cursor_row == len(self.table.names) - 1
        if is_last and not self._filters.is_local and len(self.known.found) >= self._limit:
            self._search_now(self._limit + PAGE)

    def judge_soon(self) -> None:
        """See ModelsActions."""
        if self._judge_timer is not None:
            self._judge_timer.stop()
        self._judge_timer = self.set_timer(SEARCH_WAIT_S, self._judge_now)

    def _judge_now(self) -> None:
        selected = self.table.selected
        first = [] if selected is None else [selected]
        names = [*first, *(name for name in self.table.names[:JUDGED_AHEAD] if name != selected)]
        known = self.known.reports.keys() | self.known.errors.keys()
        missing = [name for name in names if name not in known]
        local = {n: here for n in missing if (here := self.known.model_here(n)) is not None}
        if missing:
            self.judge(missing, local)

    def take_report(self, name: str, report: Report | None, error: str) -> None:
        """See ModelsWork."""
        if report is None:
            self.known.errors[name] = error
        else:
            self.known.reports[name] = report
        self._show_rows()

    def _measure_soon(self) -> None:
        """Have the machine measured once nothing else keeps it busy."""
        view = self.mtplx.view
        is_busy = view.state is not EngineState.READY or self.mtplx.errands.certifier.is_active
        if self._asks_speed and not is_busy and not any(r.is_running for r in view.requests):
            self._asks_speed = False
            self.measure_machine(self.mtplx.settings.blas)

    def take_machine(self, speed: MachineSpeed | None) -> None:
        """See ModelsWork."""
        self._machine_speed = speed
        self._speeds.clear()
        self.show_card()

    # What is seen

    def _rows(self) -> list[ModelRow]:
        job = self.mtplx.errands.downloads.job
        if self._filters.is_local:
            rows = self.known.local_rows(self._filters, self._text.split(), job)
        else:
            rows = self.known.hub_rows(self._picks(), job)
        return [row for row in rows if self.known.is_wanted(row, self._filters, self._machine)]

    def _picks(self) -> Iterable[str]:
        """Return what is recommended to a person who looks for nothing in particular."""
        is_bare = self._query == replace(Filters(), sort=self._filters.sort).query("")
        is_bare = is_bare or self._query == Query(sort=self._filters.sort)
        return [pick.name for pick in recommended()] if is_bare else []

    def _show_rows(self) -> None:
        rows = self._rows()
        self.table.show(rows, keep=True)
        self._count = len(rows)
        self._show_note()
        self._show_filters()
        self.show_card()

    def show_all(self) -> None:
        """See ModelsActions."""
        self._show_strip()
        self._show_rows()

    def show_card(self) -> None:
        """See ModelsActions."""
        name = self.table.selected
        if name is None:
            self.query_one(ModelCard).show(None)
            return
        loaded = self.mtplx.view.model
        readme = self.readme[1] if self.readme is not None and self.readme[0] == name else None
        self.query_one(ModelCard).show(
            Card(
                name=name,
                report=self.known.reports.get(name),
                error=self.known.errors.get(name, ""),
                job=self.mtplx.errands.downloads.job(name),
                is_here=self.known.model_here(name) is not None,
                is_loaded=loaded is not None and loaded.name == name,
                machine_bytes=self._machine,
                speed=self._speed_of(name),
                readme=readme,
            )
        )

    def _speed_of(self, name: str) -> Speed | None:
        report = self.known.reports.get(name)
        if report is not None and name not in self._speeds:
            bench = self.mtplx.places.bench
            self._speeds[name] = speed_of(name, report.reads, self._machine_speed, bench)
        return self._speeds.get(name)

    def _show_filters(self) -> None:
        marks = self.marks
        parts = [
            Content.assemble((f"{key} ", "dim"), (showable(text), CHOSEN if is_on else "dim"))
            for key, text, is_on in self._filters.words
        ]
        self._put("#models-filters", Content(f" {marks.dot} ").join(parts))
        hint, ask = (HINT_HERE, ASK_HERE) if self._filters.is_local else (HINT_HUB, ASK_HUB)
        self._put("#models-hint", Content(self.mtplx.keys.fill(hint).replace("·", marks.dot)))
        self.query_one("#models-search", Input).placeholder = ask

    def _show_strip(self) -> None:
        jobs = [job for job in self.mtplx.errands.downloads.jobs if job.is_open]
        limit = self.mtplx.settings.download_limit
        said = f"  at most {limit} a second" if limit is not None else ""
        room = self.size.width - STRIP_EDGES - len(said)
        lines = [named_job_line(job, room, self.marks) for job in jobs[:MAX_STRIP]]
        if len(jobs) > MAX_STRIP:
            lines.append(Content.styled(f"and {len(jobs) - MAX_STRIP} more", "dim"))
        if lines and said:
            lines[-1] = Content.assemble(lines[-1], (said, "dim"))
        if self.mtplx.errands.certifier.is_active:
            words = f"{self.mtplx.errands.certifier.words}  ({self.mtplx.keys.sign('models.certify')} stops it)"
            lines.append(Content.styled(showable(words), "$text-accent"))
        strip = self.query_one("#models-strip", Static)
        strip.display = bool(lines)
        self._put("#models-strip", Content("\n").join(lines))

    def _say(self, text: str, *, is_error: bool = False) -> None:
        self._note, self._is_bad = text, is_error
        self._show_note()

    def _show_note(self) -> None:
        """Tell what became of the search, or how many models are shown; of those here the hub says nothing."""
        if self._note and not self._filters.is_local:
            style = "$text-error" if self._is_bad else "dim"
            self._put("#models-note", Content.styled(showable(self._note), style))
            return
        count = f"{self._count} models" if self._count != 1 else "1 model"
        self._put("#models-note", Content.styled(count, "dim"))

    def _put(self, selector: str, content: Content) -> None:
        part = self.query_one(selector, Static)
        if part.content != content:
            part.update(content)

    # Downloads and the engine

    @on(DownloadChanged)
    def _take_job(self, event: DownloadChanged) -> None:
        self._show_strip()
        if event.job.state is JobState.DONE:
            self.known.forget(event.job.name)
            self.look_here()
        self._show_job(event.job)

    def _show_job(self, job: Job) -> None:
        found = next((row for row in self._rows() if row.name == job.name), None)
        if found is not None:
            self.table.change(found)
        if job.name == self.table.selected:
            self.show_card()

    @on(EngineChanged)
    def _take_events(self) -> None:
        self._show_strip()
        self.take_certificate()
        self.show_card()
        self._measure_soon()

    # Keys

    @on(DataTable.RowSelected)
    def _use(self, event: DataTable.RowSelected) -> None:
        event.stop()
        name = self.table.selected
        here = self.known.model_here(name)
        if name is not None and here is not None:
            self.notify(f"loading {name}", markup=False)
            self.mtplx.loads.open(here.path if here.kind == "folder" else name)
        else:
            self.action_download()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Let the search field have the key that leads to it."""
        if action == "search" and isinstance(self.focused, Input):
            return False
        return super().check_action(action, parameters)

    def action_search(self) -> None:
        """Go to the search field, at once: the next keys are meant for it."""
        self.set_focus(self.query_one("#models-search", Input))

    def action_list(self) -> None:
        """Go to the list."""
        self.set_focus(self.table)

    def action_card(self) -> None:
        """Go to the card, or back."""
        card = self.query_one(ModelCard)
        self.set_focus(self.table if card.has_focus else card)

    def action_switch(self, what: str) -> None:
        """Turn a filter on or off, or change between the hub and this machine."""
        filters = self._filters
        match what:
            case "here":
                self._narrow(replace(filters, is_local=not filters.is_local))
            case "mlx":
                self._narrow(replace(filters, has_mlx=not filters.has_mlx))
            case "head":
                self._narrow(replace(filters, wants_head=not filters.wants_head))
            case "fit":
                self._narrow(replace(filters, wants_fit=not filters.wants_fit))
            case _:
                self._narrow(replace(filters, sort=NEXT_SORT[filters.sort]))

    def action_narrow(self, what: Narrowing) -> None:
        """Ask for one author, type of model or quantisation."""
        choices = (NARROWINGS[what], *self.known.choices(what))
        now = getattr(self._filters, what)
        start = choices.index(now) if now in choices else 0

        def answered(choice: str | None) -> None:
            if choice is not None:
                value = choices[int(choice)] if int(choice) else ""
                self._narrow(replace(self._filters, **{what: value}))

        self.app.push_screen(Choose("Which models?", choices, start), answered)

    def _narrow(self, filters: Filters) -> None:
        self._filters = filters
        if filters.is_local:
            self.look_here()
        else:
            self._search_now()
        self._show_rows()
        self.judge_soon()
