"""The doctor: checks of machine, install and files as they come, each with what to do about it.

They run in a thread of their own that nobody waits for; leaving the screen ends them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static

from mtplx_tui.doctor.bundle import BundleRefused, write_bundle
from mtplx_tui.doctor.check import Check, Severity, counts
from mtplx_tui.doctor.examination import Begun, Examination, examine
from mtplx_tui.doctor.report import headline
from mtplx_tui.doctor.surroundings import Surroundings, find_surroundings
from mtplx_tui.files import trouble
from mtplx_tui.keymap import DOCTOR, bindings
from mtplx_tui.screens.app_screen import AppScreen
from mtplx_tui.widgets.check_list import STYLES, CheckDetail, CheckList
from mtplx_tui.widgets.hints import hint_parts, in_a_row
from mtplx_tui.wording import showable

HINTS = (
    ("{doctor.again}", "looks again"),
    ("{doctor.save}", "saves a report without names and secrets"),
    ("{doctor.close}", "closes"),
)
_NOTE_S = 20.0


def _examined(surroundings: Surroundings, begun: Begun) -> Iterator[Check]:
    return examine(surroundings, begun=begun)


class DoctorScreen(AppScreen):
    """See the module.

    Args:
        find: tells where to look.
        run: looks; called in the thread.
    """

    CSS_PATH = "doctor.tcss"
    BINDINGS: ClassVar[list[BindingType]] = bindings(DOCTOR)

    class Found(Message):
        """A check said something; None: that was all."""

        def __init__(self, surroundings: Surroundings, check: Check | None) -> None:
            super().__init__()
            self.surroundings = surroundings
            self.check = check

    class Begins(Message):
        """The next is looked at."""

        def __init__(self, surroundings: Surroundings, examination: Examination) -> None:
            super().__init__()
            self.surroundings = surroundings
            self.examination = examination

    class Saved(Message):
        """A report was written, or not."""

        def __init__(self, text: str, *, is_error: bool) -> None:
            super().__init__()
            self.text = text
            self.is_error = is_error

    def __init__(
        self,
        find: Callable[[], Surroundings] = find_surroundings,
        run: Callable[[Surroundings, Begun], Iterator[Check]] = _examined,
    ) -> None:
        super().__init__()
        self._find, self._run = find, run
        self._surroundings: Surroundings | None = None
        self._checks: list[Check] = []
        self._is_running = False
        self._about = ""

    def compose(self) -> ComposeResult:
        """Lay out how it stands, the checks, and the one that is marked."""
        marks = self.marks
        yield Static(id="doctor-headline", markup=False)
        with Container(id="doctor-body"):
            yield CheckList(marks, id="doctor-checks")
            with VerticalScroll(id="doctor-detail", can_focus=False):
                yield CheckDetail(marks, id="doctor-check")
        hints = hint_parts(HINTS, self.mtplx.keys)
        yield Static(in_a_row(hints), id="doctor-hint", markup=False)

    def on_mount(self) -> None:
        """Begin to look."""
        self.query_one(CheckList).focus()
        self.action_again()

    def on_unmount(self) -> None:
        """Look no further."""
        self._stop()

    def action_again(self) -> None:
        """Look at everything, from the beginning."""
        self._stop()
        app, serving = self.mtplx, self.mtplx.serving
        self._checks, self._is_running, self._about = [], True, ""
        surroundings = replace(
            self._find(),
            places=app.places,
            terminal=app.terminal,
            size=(app.size.width, app.size.height),
            address=(serving.host, serving.port),
            is_over=threading.Event(),
        )
        self._surroundings = surroundings
        self._show()
        threading.Thread(
            target=self._look, args=(surroundings,), name="doctor", daemon=True
        ).start()

    def _stop(self) -> None:
        if self._surroundings is not None:
            self._surroundings.is_over.set()

    def _look(self, surroundings: Surroundings) -> None:
        def begun(examination: Examination) -> None:
            self.post_message(self.Begins(surroundings, examination))

        for check in self._run(surroundings, begun):
            self.post_message(self.Found(surroundings, check))
        self.post_message(self.Found(surroundings, None))

    @on(Begins)
    def _tell_next(self, event: Begins) -> None:
        event.stop()
        if event.surroundings is self._surroundings:
            self._about = event.examination.about
            self._show_headline()

    @on(Found)
    def _take(self, event: Found) -> None:
        event.stop()
        if event.surroundings is not self._surroundings:
            return  # of a run that was begun anew
        if event.check is None:
            self._is_running = False
        else:
            self._checks.append(event.check)
        self._show()

    def _show(self) -> None:
        checks = tuple(self._checks)
        self.query_one(CheckList).show(checks)
        self._show_headline()
        self._show_chosen()

    def _show_headline(self) -> None:
        how_it_stands = self._headline(tuple(self._checks))
        self.query_one("#doctor-headline", Static).update(how_it_stands)

    def _headline(self, checks: tuple[Check, ...]) -> Content:
        found = counts(checks)
        worst = next((s for s in (Severity.ERROR, Severity.WARNING) if found[s]), Severity.OK)
        if not self._is_running:
            return Content.assemble(("Doctor   ", "bold"), (headline(checks), STYLES[worst]))
        now = f"looking: {len(checks)} done"
        about = f"; {self._about}" if self._about else ""
        return Content.assemble(("Doctor   ", "bold"), (f"{now}{about}", "dim"))

    @on(OptionList.OptionHighlighted)
    def _show_chosen(self) -> None:
        self.query_one(CheckDetail).show(self.query_one(CheckList).chosen)
        self.query_one("#doctor-detail").scroll_home(animate=False)

    def action_save(self) -> None:
        """Write a report that can be sent along."""
        if self._is_running or self._surroundings is None:
            self.notify("the checks still run; save when they are through", severity="warning")
            return
        place = self.mtplx.places.data / "reports" / time.strftime("doctor-%Y%m%d-%H%M%S.json")
        job = (place, self._surroundings, tuple(self._checks))
        threading.Thread(target=self._write, args=job, name="doctor-report", daemon=True).start()

    def _write(self, place: Path, surroundings: Surroundings, checks: tuple[Check, ...]) -> None:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            written = write_bundle(place, surroundings, checks)
        except (BundleRefused, OSError) as error:
            self.post_message(self.Saved(f"no report was written: {trouble(error)}", is_error=True))
        else:
            said = f"report written: {written}; look at it before you send it"
            self.post_message(self.Saved(said, is_error=False))

    @on(Saved)
    def _tell(self, event: Saved) -> None:
        event.stop()
        severity = "error" if event.is_error else "information"
        self.notify(showable(event.text), severity=severity, timeout=_NOTE_S, markup=False)

    def action_close(self) -> None:
        """Go back to the tab."""
        self.dismiss()
