"""What the models screen has done in threads: searching, judging, reading, deleting.

Each answer comes back on the app's own thread, and is dropped where it is no longer wanted.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from textual import on
from textual.message import Message

from engine.errors import ModelFileError
from mtplx_tui.library.catalog import Report, judge_here, judge_listing
from mtplx_tui.library.disk import ModelNotFound, resolve
from mtplx_tui.library.graft import NotGrafted, Order, graft, refusal
from mtplx_tui.library.header import FolderSource, HubSource, Source
from mtplx_tui.library.hub import Found, Hub, HubError, Query
from mtplx_tui.library.hub_cache import CacheRefused
from mtplx_tui.library.naming import find, parted
from mtplx_tui.library.shelf import NotRemoved, Removal, Shelved, plan_removal, shelf
from mtplx_tui.library.speed import MachineSpeed, known, measure
from mtplx_tui.remedies import one_line
from mtplx_tui.screens.app_screen import AppScreen

__all__ = ["ModelsWork"]

MAX_README = 256 * 1024


class _Answer(Message, bubble=False):
    """What a thread found out."""

    def __init__(self, task: _Task, take: Callable[[], None]) -> None:
        super().__init__()
        self.task = task
        self.take = take


class _Task:
    """Work in a thread, dropped as soon as other work of its group begins."""

    def __init__(self, screen: ModelsWork, group: str) -> None:
        self._screen = screen
        self._group = group

    @property
    def is_wanted(self) -> bool:
        """Whether nothing else of the group was begun since."""
        return self._screen.is_newest(self._group, self)

    def answer(self, take: Callable[[], None]) -> None:
        """Have something done on the app's thread."""
        self._screen.post_message(_Answer(self, take))

    def guard(self, run: Callable[[_Task], None]) -> None:
        """Run, and tell the person where that goes wrong."""
        try:
            run(self)
        except Exception as error:  # noqa: BLE001 - a thread's end; told to the person
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            text = f"something went wrong: {reason}"
            self.answer(lambda: self._screen.notify(text, severity="error", markup=False))


class ModelsWork(AppScreen):
    """Base of the models screen."""

    def __init__(self) -> None:
        super().__init__()
        self._tasks: dict[str, _Task] = {}

    def is_newest(self, group: str, task: object) -> bool:
        """Return whether a task is the newest of its group."""
        return self._tasks.get(group) is task

    # What comes back; the screen knows what to do with it.

    def take_found(self, query: Query, found: tuple[Found, ...], error: str) -> None:
        """Take what a search found, or why it failed."""

    def take_report(self, name: str, report: Report | None, error: str) -> None:
        """Take what is known of a model, or why nothing is."""

    def take_shelf(self, found: tuple[Shelved, ...]) -> None:
        """Take what is on this machine."""

    def take_readme(self, name: str, text: str) -> None:
        """Take a model's README, or why there is none."""

    def take_removal(self, removal: Removal | None, error: str) -> None:
        """Take what deleting a model would do, or why it can't be done."""

    def take_removed(self, removal: Removal, error: str) -> None:
        """Take it that a model was deleted, or why it was not."""

    def take_grafted(self, name: str, error: str) -> None:
        """Take it that a trunk got a head, by the name of what has both, or why it did not."""

    def take_machine(self, speed: MachineSpeed | None) -> None:
        """Take how fast this machine is; None where that can't be measured."""

    # What is begun

    def search(self, query: Query, limit: int) -> None:
        """Search the hub. What was found before need not be judged any more."""
        self._tasks.pop("judge", None)

        def run(task: _Task) -> None:
            found: list[Found] = []
            error = ""
            try:
                for model in Hub().search(query, limit):
                    if not task.is_wanted:
                        return
                    found.append(model)
            except HubError as failed:
                error = one_line(failed)
            task.answer(lambda: self.take_found(query, tuple(found), error))

        self._begin("search", run)

    def judge(self, names: Sequence[str], local: dict[str, Shelved]) -> None:
        """Judge models one after the other, the first first."""

        def run(task: _Task) -> None:
            for name in names:
                if not task.is_wanted:
                    return
                report, error = self._judged(name, local.get(name))
                task.answer(functools.partial(self.take_report, name, report, error))

        self._begin("judge", run)

    def read_readme(self, name: str, here: Shelved | None) -> None:
        """Read a model's README, here or on the hub."""

        def run(task: _Task) -> None:
            text = _readme_of(name, here)
            task.answer(lambda: self.take_readme(name, text))

        self._begin("readme", run)

    def look_here(self) -> None:
        """List what is on this machine."""

        def run(task: _Task) -> None:
            found = shelf()
            task.answer(lambda: self.take_shelf(found))

        self._begin("shelf", run)

    def plan_removal(self, name: str) -> None:
        """Find out what deleting a model would do."""

        def run(task: _Task) -> None:
            removal, error = None, ""
            try:
                removal = plan_removal(name)
            except NotRemoved as refused:
                error = one_line(refused)
            task.answer(lambda: self.take_removal(removal, error))

        self._begin("remove", run)

    def delete_model(self, removal: Removal) -> None:
        """Delete a model."""

        def run(task: _Task) -> None:
            error = ""
            try:
                removal.execute()
            except NotRemoved as refused:
                error = one_line(refused)
            except OSError as failed:
                error = f"{removal.name} can't be deleted: {failed.strerror}"
            task.answer(lambda: self.take_removed(removal, error))

        self._begin("remove", run)

    def graft(self, trunk: str, head: str, out: Path | None) -> None:
        """Give a trunk the head of another model."""

        def run(task: _Task) -> None:
            error = ""
            try:
                order = Order(resolve(trunk), find(head), out)
                error = refusal(order)
                if not error:
                    graft(order)
            except ModelNotFound as missing:
                error = one_line(missing)
            except NotGrafted as failed:
                error = str(failed)
            name = trunk if out is None else str(out)
            task.answer(lambda: self.take_grafted(name, error))

        self._begin("graft", run)

    def measure_machine(self, blas: str) -> None:
        """Find out how fast this machine is, if that was not measured before."""
        places = self.mtplx.places

        def run(task: _Task) -> None:
            speed = known(places) or measure(places, blas)
            task.answer(lambda: self.take_machine(speed))

        self._begin("machine", run)

    def _begin(self, group: str, run: Callable[[_Task], None]) -> None:
        """Run something in a thread that nobody waits for, also not when the app is left."""
        task = self._tasks[group] = _Task(self, group)
        threading.Thread(target=task.guard, args=(run,), daemon=True).start()

    @on(_Answer)
    def _take_answer(self, event: _Answer) -> None:
        if event.task.is_wanted:
            event.take()

    def _judged(self, name: str, here: Shelved | None) -> tuple[Report | None, str]:
        try:
            if here is None:
                hub = Hub()
                listing = hub.listing(*parted(name))
                return judge_listing(hub, listing, self.mtplx.places.cache), ""
            return judge_here(name, Path(here.path), self.mtplx.places.certificates), ""
        except (ModelFileError, HubError, CacheRefused) as error:
            return None, one_line(error)
        except OSError as error:
            return None, f"{name} can't be read: {error.strerror}"


def _readme_of(name: str, here: Shelved | None) -> str:
    try:
        if here is not None:
            return _readme(FolderSource(Path(here.path)))
        hub = Hub()
        with HubSource(hub, hub.listing(*parted(name))) as source:
            return _readme(source)
    except (ModelFileError, HubError, CacheRefused) as error:
        return one_line(error)
    except OSError as error:
        return f"it can't be read: {error.strerror}"


def _readme(source: Source) -> str:
    if "README.md" not in source.files:
        return "*it has no README*"
    return source.read("README.md", MAX_README).decode("utf-8", "replace")
