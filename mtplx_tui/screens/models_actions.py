"""What a person does with a model under the cursor: download, delete, certify, graft, read about it."""

from __future__ import annotations

from pathlib import Path

from mtplx_tui.library.queue import JobState
from mtplx_tui.library.shelf import Removal, Shelved
from mtplx_tui.screens.dialogs import AskText, Choose, Confirm
from mtplx_tui.screens.models_list import Known
from mtplx_tui.screens.models_work import ModelsWork
from mtplx_tui.widgets.model_table import ModelTable
from mtplx_tui.wording import in_bytes, read_bytes, showable

__all__ = ["ModelsActions"]

BUDGETS = (("1 minute", 60.0), ("5 minutes", 300.0), ("20 minutes", 1200.0))
"""For a certificate: the longer, the smaller a bias that would be seen."""


class ModelsActions(ModelsWork):
    """See the module; a base of the models screen."""

    def __init__(self) -> None:
        super().__init__()
        self.known = Known()
        self.readme: tuple[str, str] | None = None
        """Of which model, and its Markdown; None while none is shown."""
        self.is_reading = False
        self._certified = ""
        """What the newest certificate said that is taken into account."""

    @property
    def table(self) -> ModelTable:
        """The list."""
        return self.query_one(ModelTable)

    # The screen knows what these are.

    def show_all(self) -> None:
        """Show rows, card and strip anew."""

    def show_card(self) -> None:
        """Show what is known of the model under the cursor."""

    def judge_soon(self) -> None:
        """Judge what is shown and not known, once the cursor rests."""

    # Downloads

    def action_download(self) -> None:
        """Download the model under the cursor, or go on with it."""
        name = self.table.selected
        if name is None:
            return
        here = self.known.here.get(name)
        if here is not None and here.kind in ("demo", "folder", "other"):
            self.notify(f"{name} is here already", markup=False)
            return
        repository, _, revision = name.partition("@")
        self.mtplx.errands.downloads.start(repository, revision or None)

    def action_pause(self) -> None:
        """Pause the download under the cursor, or go on with it."""
        name = self.table.selected
        open_jobs = [job.name for job in self.mtplx.errands.downloads.jobs if job.is_open]
        if name not in open_jobs:
            name = open_jobs[0] if len(open_jobs) == 1 else None
        job = None if name is None else self.mtplx.errands.downloads.job(name)
        if job is None:
            self.notify("choose a model that is being downloaded", severity="warning")
        elif job.state in (JobState.RUNNING, JobState.WAITING):
            self.mtplx.errands.downloads.pause(job.name)
        else:
            self.mtplx.errands.downloads.start(job.name)

    def action_limit(self) -> None:
        """Ask how fast downloads may be."""

        def check(text: str) -> None:
            if text != "none":
                try:
                    read_bytes(text)
                except ValueError as error:
                    raise ValueError("a size a second such as 20MB, or none") from error

        def answered(text: str | None) -> None:
            if text is not None:
                self.mtplx.errands.limit_downloads(None if text == "none" else text)
                self.show_all()

        now = self.mtplx.settings.download_limit or "none"
        self.app.push_screen(AskText("How fast may downloads be, a second?", now, check), answered)

    # Deleting

    def action_delete(self) -> None:
        """Ask, and delete the model under the cursor."""
        name = self.table.selected
        loaded = self.mtplx.view.model
        here = None if name is None else self.known.here.get(name)
        if name is not None and here is None and self.mtplx.errands.downloads.job(name) is not None:
            self.mtplx.errands.downloads.forget(name)
            self.show_all()
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
                self.mtplx.errands.downloads.forget(removal.name)
                self.delete_model(removal)

        detail = f"It frees {in_bytes(removal.freed_bytes)}; what other models share stays."
        self.app.push_screen(Confirm(f"Delete {showable(removal.name)}?", detail), answered)

    def take_removed(self, removal: Removal, error: str) -> None:
        """See ModelsWork."""
        if error:
            self.notify(error, severity="error", markup=False)
        else:
            self.notify(f"{removal.name} is deleted", markup=False)
        self.known.forget(removal.name)
        self.show_all()
        self.look_here()

    # Certifying and grafting

    def action_certify(self) -> None:
        """Ask how long, and certify the model under the cursor; or end what is under way."""
        name = self.table.selected
        here = self.known.model_here(name)
        if self.mtplx.errands.certifier.is_active:
            self.mtplx.errands.certifier.stop()
        elif name is None or here is None:
            self.notify("it is not on this machine: download it first", severity="warning")
        else:
            choices = [f"{words}" for words, _ in BUDGETS]
            title = "How long may it be held to the law? Answers take turns with it."
            self.app.push_screen(Choose(title, choices), lambda at: self._certify(name, here, at))

    def _certify(self, name: str, here: Shelved, choice: str | None) -> None:
        if choice is None:
            return
        loaded = self.mtplx.view.model
        if loaded is None or loaded.path != here.path:
            self.mtplx.loads.open(here.path if here.kind == "folder" else name)
        budget_s = BUDGETS[int(choice)][1]
        why = self.mtplx.errands.certifier.start(name, here.path, budget_s, self.mtplx.view)
        if why:
            self.notify(why, severity="warning", markup=False)

    def take_certificate(self) -> None:
        """Judge a model anew whose certificate has come."""
        certifier = self.mtplx.errands.certifier
        if certifier.note and not certifier.is_active and certifier.note != self._certified:
            self._certified = certifier.note
            self.known.forget(certifier.model)
            self.judge_soon()

    def action_graft(self) -> None:
        """Ask for the original release, and give the trunk under the cursor its head."""
        name = self.table.selected
        here = self.known.model_here(name)
        if name is None or here is None or here.kind == "demo":
            self.notify("choose a model of this machine that has no head", severity="warning")
            return
        report = self.known.reports.get(name)
        if (
            report is not None
            and report.verdict.mtp is not None
            and report.verdict.tier != "no-mtp"
        ):
            self.notify("it has a head already", severity="warning")
            return
        out = None if here.kind == "folder" else self._place_beside(name)
        into = "beside its files" if out is None else f"into {out}"
        title = f"Which model's head? A folder, or owner/name on the hub. It goes {into}."

        def answered(head: str | None) -> None:
            if head is not None:
                self.notify(f"grafting the head of {head}", markup=False)
                self.graft(here.path if here.kind != "hub" else name, head, out)

        self.app.push_screen(AskText(title), answered)

    def _place_beside(self, name: str) -> Path:
        """Return a folder among the app's own models for a trunk that is only read."""
        plain = name.rstrip("/").rpartition("/")[2].partition("@")[0]
        return self.mtplx.places.models / f"{plain}-with-head"

    def take_grafted(self, name: str, error: str) -> None:
        """See ModelsWork."""
        if error:
            self.notify(error, severity="error", timeout=20, markup=False)
            return
        self.notify(f"{name} has a head now", markup=False)
        self.known.forget(name)
        self.look_here()

    # Reading about it

    def action_readme(self) -> None:
        """Show or hide the README of the model under the cursor."""
        name = self.table.selected
        if name is None:
            return
        if self.readme is not None and self.readme[0] == name:
            self.readme = None
            self.show_card()
        elif not self.is_reading:
            self.is_reading = True
            here = self.known.here.get(name)
            is_here = here is not None and here.kind in ("hub", "folder", "other")
            self.read_readme(name, here if is_here else None)

    def take_readme(self, name: str, text: str) -> None:
        """See ModelsWork."""
        self.is_reading = False
        if name == self.table.selected:
            self.readme = (name, text)
            self.show_card()
