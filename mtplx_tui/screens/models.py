"""Models: search the hub and what is here; see tier and memory before a download; download, load.

Searching, judging and deleting run in threads (`models_work`); downloads are the app's.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import ClassVar, Literal

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Vertical
from textual.content import Content
from textual.events import ScreenResume
from textual.timer import Timer
from textual.widgets import DataTable, Input, Static

from mtplx_tui.keymap import MODELS, bindings
from mtplx_tui.library.catalog import Report, fits, machine_bytes
from mtplx_tui.library.hub import PAGE, Found, Query
from mtplx_tui.library.queue import Job, JobState
from mtplx_tui.library.recommended import recommended
from mtplx_tui.library.shelf import Removal, Shelved
from mtplx_tui.messages import DownloadChanged, EngineChanged
from mtplx_tui.screens.dialogs import Confirm
from mtplx_tui.screens.models_work import ModelsWork
from mtplx_tui.theming import Marks, marks_for
from mtplx_tui.widgets.markdown_sections import showable
from mtplx_tui.widgets.model_card import Card, ModelCard, job_line
from mtplx_tui.widgets.model_table import ModelRow, ModelTable
from mtplx_tui.widgets.status_bar import StatusBar
from mtplx_tui.widgets.tab_bar import TabBar
from mtplx_tui.wording import in_bytes

SEARCH_WAIT_S = 0.25
"""A search waits until typing pauses; so does judging until the cursor rests."""
JUDGED_AHEAD = 12
"""Models at the head of the list that are judged without being asked for."""
MAX_STRIP = 3
SORTS = {"downloads": "by downloads", "likes": "by likes", "lastModified": "newest first"}
Sort = Literal["downloads", "likes", "lastModified"]
NEXT_SORT: dict[Sort, Sort] = {
    "downloads": "likes",
    "likes": "lastModified",
    "lastModified": "downloads",
}
HINT_HUB = "/ search · d download · p pause · r readme · l on this machine"
HINT_HERE = "enter loads · x deletes · r readme · l the hub"


class ModelsScreen(ModelsWork):
    """See the module."""

    CSS_PATH = "models.tcss"
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012 - Textual reads it from the class
        (0, "-narrow"),
        (110, "-wide"),
    ]
    BINDINGS: ClassVar[list[BindingType]] = bindings(MODELS)

    def __init__(self) -> None:
        super().__init__()
        self._is_local = False
        self._has_mlx = True
        self._wants_head = False
        self._wants_fit = False
        self._sort: Sort = "downloads"
        self._limit = PAGE
        self._query: Query | None = None
        self._found: tuple[Found, ...] = ()
        self._here: dict[str, Shelved] = {}
        self._reports: dict[str, Report] = {}
        self._errors: dict[str, str] = {}
        self._readme: tuple[str, str] | None = None
        self._is_reading = False
        self._note = ""
        self._timer: Timer | None = None
        self._judge_timer: Timer | None = None
        self._machine = machine_bytes()

    @property
    def _marks(self) -> Marks:
        return marks_for(self.mtplx.terminal)

    @property
    def table(self) -> ModelTable:
        """The list."""
        return self.query_one(ModelTable)

    def compose(self) -> ComposeResult:
        """Lay out the search above the list, and the card beside or below it."""
        marks = self._marks
        yield TabBar("models")
        yield Input(
            placeholder="search the hub; author:name and tag:4-bit narrow it",
            compact=True,
            id="models-search",
        )
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
        self.table.focus()
        self._show_strip()
        self._search_now()

    @on(ScreenResume)
    def _look_again(self) -> None:
        self.look_here()

    # Searching

    @on(Input.Changed, "#models-search")
    def _search_soon(self, event: Input.Changed) -> None:
        event.stop()
        if self._is_local:
            self._show_rows()
            return
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(SEARCH_WAIT_S, self._search_now)

    @on(Input.Submitted, "#models-search")
    def _into_list(self, event: Input.Submitted) -> None:
        event.stop()
        self.table.focus()

    def _search_now(self, limit: int = PAGE) -> None:
        """Search for what stands in the field, unless that is shown already."""
        query = read_query(self.query_one("#models-search", Input).value, self._tags(), self._sort)
        if (query, limit) == (self._query, self._limit):
            return
        self._query, self._limit = query, limit
        self._say("searching" + self._marks.more)
        self.search(query, limit)

    def _tags(self) -> tuple[str, ...]:
        return ("mlx",) if self._has_mlx else ()

    def take_found(self, query: Query, found: tuple[Found, ...], error: str) -> None:
        """See ModelsWork."""
        if query != self._query:
            return
        if error:
            self._query = None
        self._found = found
        self._say(error, is_error=bool(error))
        self._show_rows()
        self._judge_soon()

    def take_shelf(self, found: tuple[Shelved, ...]) -> None:
        """See ModelsWork."""
        self._here = {model.name: model for model in found}
        self._show_rows()
        self._judge_soon()

    # Judging

    @on(DataTable.RowHighlighted)
    def _follow_cursor(self, event: DataTable.RowHighlighted) -> None:
        event.stop()
        self._is_reading = False
        self._show_card()
        self._judge_soon()
        is_last = self.table.cursor_row == len(self.table.names) - 1
        if is_last and not self._is_local and len(self._found) >= self._limit:
            self._search_now(self._limit + PAGE)

    def _judge_soon(self) -> None:
        if self._judge_timer is not None:
            self._judge_timer.stop()
        self._judge_timer = self.set_timer(SEARCH_WAIT_S, self._judge_now)

    def _judge_now(self) -> None:
        selected = self.table.selected
        first = [] if selected is None else [selected]
        names = [*first, *(name for name in self.table.names[:JUDGED_AHEAD] if name != selected)]
        missing = [n for n in names if n not in self._reports and n not in self._errors]
        local = {n: self._here[n] for n in missing if n in self._here and self._here[n].is_model}
        if missing:
            self.judge(missing, local)

    def take_report(self, name: str, report: Report | None, error: str) -> None:
        """See ModelsWork."""
        if report is None:
            self._errors[name] = error
        else:
            self._reports[name] = report
        self._show_rows()
        if name == self.table.selected:
            self._show_card()

    # What is seen

    def _rows(self) -> list[ModelRow]:
        if self._is_local:
            words = self.query_one("#models-search", Input).value.lower().split()
            rows = [
                self._local_row(model)
                for model in self._here.values()
                if all(word in model.name.lower() for word in words)
            ]
        else:
            rows = [self._hub_row(found) for found in self._found]
            if self._query is not None and self._query == Query(tags=self._tags(), sort=self._sort):
                known = {row.name for row in rows}
                known |= self._errors.keys()  # another hub need not have them
                picks = [pick for pick in recommended() if pick.name not in known]
                chosen = [ModelRow(pick.name, is_recommended=True) for pick in picks]
                rows = [*map(self._judged_row, chosen), *rows]
        return [row for row in rows if self._is_wanted(row)]

    def _hub_row(self, found: Found) -> ModelRow:
        row = ModelRow(
            found.name, size=found.size, downloads=found.downloads, changed=found.changed
        )
        return self._judged_row(row)

    def _local_row(self, model: Shelved) -> ModelRow:
        used = "" if model.used_at is None else str(date.fromtimestamp(model.used_at))
        row = ModelRow(model.name, size=model.size_bytes, changed=used, is_here=model.is_model)
        return self._judged_row(replace(row, tier="" if model.is_model else "partial"))

    def _judged_row(self, row: ModelRow) -> ModelRow:
        report = self._reports.get(row.name)
        if report is not None:
            size = report.weights_bytes or row.size
            row = replace(row, tier=str(report.verdict.tier), size=size)
        elif row.name in self._errors:
            row = replace(row, tier="error")
        job = self.mtplx.downloads.job(row.name)
        if job is not None and job.is_open and job.state is not JobState.FAILED:
            total = job.progress.total_bytes
            row = replace(row, share=100 * job.progress.done_bytes // total if total else 0)
        here = self._here.get(row.name)
        return replace(row, is_here=here is not None and here.is_model)

    def _is_wanted(self, row: ModelRow) -> bool:
        report = self._reports.get(row.name)
        if self._wants_head and row.tier == "no-mtp":
            return False
        if self._wants_fit and report is not None:
            needed = report.memory[0][1]
            return needed is None or fits(needed, self._machine)
        return True

    def _show_rows(self) -> None:
        rows = self._rows()
        self.table.show(rows, keep=True)
        if not self._note:
            count = f"{len(rows)} models" if len(rows) != 1 else "1 model"
            self._put("#models-note", Content.styled(count, "dim"))
        self._show_filters()
        self._show_card()

    def _show_card(self) -> None:
        name = self.table.selected
        if name is None:
            self.query_one(ModelCard).show(None)
            return
        here = self._here.get(name)
        loaded = self.mtplx.view.model
        readme = self._readme[1] if self._readme is not None and self._readme[0] == name else None
        self.query_one(ModelCard).show(
            Card(
                name=name,
                report=self._reports.get(name),
                error=self._errors.get(name, ""),
                job=self.mtplx.downloads.job(name),
                is_here=here is not None and here.is_model,
                is_loaded=loaded is not None and loaded.name == name,
                machine_bytes=self._machine,
                readme=readme,
            )
        )

    def _show_filters(self) -> None:
        marks = self._marks
        parts = [
            _choice("l", "on this machine" if self._is_local else "the hub", is_on=True),
            _choice("h", "with a head", is_on=self._wants_head),
            _choice("f", "fits here", is_on=self._wants_fit),
        ]
        if not self._is_local:
            parts.insert(1, _choice("m", "MLX", is_on=self._has_mlx))
            parts.append(_choice("o", SORTS[self._sort], is_on=True))
        self._put("#models-filters", Content(f" {marks.dot} ").join(parts))
        hint = (HINT_HERE if self._is_local else HINT_HUB).replace("·", marks.dot)
        self._put("#models-hint", Content.styled(hint, "dim"))

    def _show_strip(self) -> None:
        jobs = [job for job in self.mtplx.downloads.jobs if job.is_open]
        lines = [job_line(job, self._marks) for job in jobs[:MAX_STRIP]]
        if len(jobs) > MAX_STRIP:
            lines.append(Content.styled(f"and {len(jobs) - MAX_STRIP} more", "dim"))
        strip = self.query_one("#models-strip", Static)
        strip.display = bool(lines)
        self._put("#models-strip", Content("\n").join(lines))

    def _say(self, text: str, *, is_error: bool = False) -> None:
        self._note = text
        self._put(
            "#models-note", Content.styled(showable(text), "$text-error" if is_error else "dim")
        )

    def _put(self, selector: str, content: Content) -> None:
        part = self.query_one(selector, Static)
        if part.content != content:
            part.update(content)

    # Downloads and the engine

    @on(DownloadChanged)
    def _take_job(self, event: DownloadChanged) -> None:
        self._show_strip()
        if event.job.state is JobState.DONE:
            self._reports.pop(event.job.name, None)
            self._errors.pop(event.job.name, None)
            self.look_here()
        self._show_job(event.job)

    def _show_job(self, job: Job) -> None:
        found = next((row for row in self._rows() if row.name == job.name), None)
        if found is not None:
            self.table.change(found)
        if job.name == self.table.selected:
            self._show_card()

    @on(EngineChanged)
    def _take_events(self) -> None:
        self._show_card()

    # Actions

    @on(DataTable.RowSelected)
    def _use(self, event: DataTable.RowSelected) -> None:
        event.stop()
        name = self.table.selected
        if name is None:
            return
        here = self._here.get(name)
        if here is not None and here.is_model:
            self.notify(f"loading {name}", markup=False)
            self.mtplx.open_model(here.path if here.kind == "folder" else name)
        else:
            self.action_download()

    def action_download(self) -> None:
        """Download the model under the cursor, or go on with it."""
        name = self.table.selected
        if name is None:
            return
        here = self._here.get(name)
        if here is not None and here.kind in ("demo", "folder"):
            self.notify(f"{name} is here already", markup=False)
            return
        repository, _, revision = name.partition("@")
        self.mtplx.downloads.start(repository, revision or None)

    def action_pause(self) -> None:
        """Pause the download under the cursor, or go on with it."""
        name = self.table.selected
        open_jobs = [job.name for job in self.mtplx.downloads.jobs if job.is_open]
        if name not in open_jobs:
            name = open_jobs[0] if len(open_jobs) == 1 else None
        job = None if name is None else self.mtplx.downloads.job(name)
        if job is None:
            self.notify("choose a model that is being downloaded", severity="warning")
        elif job.state in (JobState.RUNNING, JobState.WAITING):
            self.mtplx.downloads.pause(job.name)
        else:
            self.mtplx.downloads.start(job.name)

    def action_delete(self) -> None:
        """Ask, and delete the model under the cursor."""
        name = self.table.selected
        loaded = self.mtplx.view.model
        here = None if name is None else self._here.get(name)
        if name is not None and here is None and self.mtplx.downloads.job(name) is not None:
            self.mtplx.downloads.forget(name)
            self._show_strip()
            self._show_rows()
        elif name is None or here is None:
            self.notify("it is not on this machine", severity="warning")
        elif loaded is not None and (loaded.name == name or loaded.path == here.path):
            self.notify("it is loaded; open another model first", severity="warning")
        else:
            self.plan_removal(here.path if here.kind == "folder" else name)

    def take_removal(self, removal: Removal | None, error: str) -> None:
        """See ModelsWork."""
        if removal is None:
            self.notify(error, severity="error", markup=False)
            return

        def answered(answer: str | None) -> None:
            if answer is not None:
                self.mtplx.downloads.forget(removal.name)
                self.delete_model(removal)

        detail = f"It frees {in_bytes(removal.freed_bytes)}; what other models share stays."
        self.app.push_screen(Confirm(f"Delete {showable(removal.name)}?", detail), answered)

    def take_removed(self, removal: Removal, error: str) -> None:
        """See ModelsWork."""
        if error:
            self.notify(error, severity="error", markup=False)
        else:
            self.notify(f"{removal.name} is deleted", markup=False)
        self._reports.pop(removal.name, None)
        self._show_strip()
        self.look_here()

    def action_readme(self) -> None:
        """Show or hide the README of the model under the cursor."""
        name = self.table.selected
        if name is None:
            return
        if self._readme is not None and self._readme[0] == name:
            self._readme = None
            self._show_card()
        elif not self._is_reading:
            self._is_reading = True
            here = self._here.get(name)
            self.read_readme(name, here if here is not None and here.kind == "hub" else None)

    def take_readme(self, name: str, text: str) -> None:
        """See ModelsWork."""
        self._is_reading = False
        if name == self.table.selected:
            self._readme = (name, text)
            self._show_card()

    def action_search(self) -> None:
        """Go to the search field."""
        self.query_one("#models-search", Input).focus()

    def action_list(self) -> None:
        """Go to the list."""
        self.table.focus()

    def action_card(self) -> None:
        """Go to the card, or back."""
        card = self.query_one(ModelCard)
        (self.table if card.has_focus else card).focus()

    def action_switch(self, what: str) -> None:
        """Turn a filter on or off, or change between the hub and this machine."""
        match what:
            case "here":
                self._is_local = not self._is_local
                self._say("")
            case "mlx":
                self._has_mlx = not self._has_mlx
            case "head":
                self._wants_head = not self._wants_head
            case "fit":
                self._wants_fit = not self._wants_fit
            case _:
                self._sort = NEXT_SORT[self._sort]
        if self._is_local:
            self.look_here()
        else:
            self._search_now()
        self._show_rows()
        self._judge_soon()


def read_query(text: str, tags: tuple[str, ...], sort: Sort) -> Query:
    """Return what a text asks for: words, and author: and tag: before others."""
    words: list[str] = []
    author = ""
    for word in text.split():
        kind, colon, value = word.partition(":")
        if colon and value and kind == "author":
            author = value
        elif colon and value and kind == "tag":
            tags = (*tags, value)
        else:
            words.append(word)
    return Query(" ".join(words), author, tags, sort)


def _choice(key: str, text: str, *, is_on: bool) -> Content:
    return Content.assemble((f"{key} ", "dim"), (text, "bold $text-primary" if is_on else "dim"))
