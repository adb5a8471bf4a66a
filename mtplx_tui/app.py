"""The app: joins those who own its state, and the screens.

Everything the engine says comes through `feed`, everything it is told goes through `send`. What is
kept has an owner each: the engine and its view (`engine`), the chats (`desk`), the settings
(`preferences`), the wanted model (`loads`), depth (`drafting`), work beside the answers (`errands`),
what is not told yet (`telling`), the fans (`station`), the server (`serving`), the set-up (`guide`);
its themes and what keys do are its bases' (`Themed`, `Actions`).
Knows no widget's inside.
"""

from __future__ import annotations

import asyncio
import functools
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import events, on
from textual.binding import BindingType
from textual.css.query import NoMatches
from textual.message import Message
from textual.notifications import SeverityLevel

from engine.protocol import (
    Command,
    EngineStarted,
    ErrorInfo,
    Event,
    LimitPrefixes,
    LoadCancelled,
    LoadFailed,
    ModelLoaded,
    RequestDone,
    RequestStarted,
)
from mtplx_tui import config, keys_file, requests
from mtplx_tui.actions import Actions
from mtplx_tui.bookmark import BookmarkFile
from mtplx_tui.chats.desk import Desk
from mtplx_tui.chats.store import Store
from mtplx_tui.config import Settings, Terminal
from mtplx_tui.drafting import Drafting
from mtplx_tui.driver import Driver
from mtplx_tui.effects import take_effect
from mtplx_tui.errands import Errands
from mtplx_tui.files import Places
from mtplx_tui.keymap import EVERYWHERE, bindings
from mtplx_tui.library.disk import DEMO
from mtplx_tui.link import EngineGone
from mtplx_tui.loads import Loads
from mtplx_tui.marks import marks_for
from mtplx_tui.messages import (
    BenchChanged,
    DownloadChanged,
    EngineChanged,
    ServingChanged,
    SettingsSaved,
    ThermalsChanged,
)
from mtplx_tui.notices import Notices
from mtplx_tui.pace import Pace
from mtplx_tui.preferences import Preferences
from mtplx_tui.running_engine import Process, RunningEngine
from mtplx_tui.serving import Serving
from mtplx_tui.setup.guide import Guide
from mtplx_tui.tabs import TABS
from mtplx_tui.telling import Telling
from mtplx_tui.term import notice
from mtplx_tui.view import EngineView
from mtplx_tui.widgets.keys_in_turn import KeysInTurn
from mtplx_tui.widgets.rows_let_go import let_rows_go
from mtplx_tui.widgets.status_bar import Status, StatusBar
from mtplx_tui.widgets.tab_bar import TabBar
from mtplx_tui.wording import for_a_field

if TYPE_CHECKING:
    from mtplx_tui.library.queue import Job
    from mtplx_tui.machine.station import Station

__all__ = ["MtplxApp"]

TICK_S = 0.5


def _nothing() -> None:
    """Stand for a callback that nobody gave."""


class MtplxApp(Actions):
    """See the module.

    Args:
        places: where files are kept.
        settings: as they were loaded.
        terminal: what it can show.
        start_engine: starts an engine process; None for an app that is only fed.
        process: an engine process that runs already.
        model: what to open; None for the last one, or the demo.
        store: of chats; None for the one in `places`.
        problems: to be told at the start.
        trace: to be opened; the engine then waits to be asked for.
        on_seen: called once the first frame is there.
    """

    TITLE = "mtplx-tui"
    MODES = TABS
    DEFAULT_MODE = "chat"
    CSS_PATH: ClassVar = [
        Path(__file__).with_name("app.tcss"),
        # Read here, the first screen's styles are not parsed a second time before the first frame.
        Path(__file__).with_name("screens") / "chat.tcss",
    ]
    BINDINGS: ClassVar[list[BindingType]] = bindings(EVERYWHERE)
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012 - Textual's own type
    PAUSE_GC_ON_SCROLL = True

    def __init__(  # noqa: PLR0913 - what an app is made of
        self,
        *,
        places: Places,
        settings: Settings,
        terminal: Terminal,
        start_engine: Callable[[], Process] | None,
        process: Process | None,
        model: str | None,
        store: Store | None = None,
        problems: tuple[str, ...] = (),
        trace: Path | None = None,
        on_seen: Callable[[], None] = _nothing,
    ) -> None:
        let_rows_go()
        super().__init__(Driver, terminal, places.themes, settings.theme)
        self.engine = RunningEngine(start_engine, process, self.feed, self.lose_engine)
        self.places = places
        self.notices = Notices(self.notify, self._ring, lambda: self.settings.notify)
        self.preferences = Preferences(
            settings, places.config_file, self.notices.warn, self._tell_saved
        )
        self.desk = Desk(store or Store(places.chats), options=requests.chosen(settings))
        self.serving = Serving(
            self.engine.give,
            lambda: self.view,
            places.state / "server-key",
            self._tell_serving,
            (settings.server_host, settings.server_port),
        )
        self.guide = Guide(places, self.send, self.notices.say)
        is_bare = model is None and trace is None
        self._wants_set_up = is_bare and self.guide.is_wanted(settings.last_model)
        self._pressed = KeysInTurn(self, super().on_event)
        self._on_seen = on_seen
        self._tight = ""
        """What was told of the terminal's size last."""
        self.bookmark = BookmarkFile(places.bookmark, is_wanted=settings.restore and trace is None)
        if self.bookmark.now.chat and not self.desk.reopen(self.bookmark.now.chat):
            self.bookmark.now = replace(self.bookmark.now, chat="")
        self.keys, key_problems = keys_file.read(places.keymap_file)
        self.set_keymap(self.keys.changed)
        found = (*problems, *self.theme_problems, *key_problems, self.bookmark.problem)
        self._problems = tuple(problem for problem in found if problem)
        self.loads = Loads(
            model or settings.last_model or DEMO,
            preferences=self.preferences,
            send=self.send,
            restart=self.restart_engine,
            engine_state=lambda: self.view.state,
            tell_error=self.notices.error,
            set_timer=self.set_timer,
        )
        self.trace = trace
        """To be opened by the speculation tab, which takes it."""
        self.telling = Telling(
            Pace(settings.feed_hz, is_ssh=terminal.is_ssh),
            self._tell,
            self._show_status,
            self.set_timer,
        )
        self.drafting = Drafting(
            self.desk, self.preferences, lambda: self.view, self.send, self.telling.take
        )
        self.named_model = model
        """On the command line."""
        self.errands = Errands(
            places,
            self.preferences,
            station=lambda: self.station,
            send=self.send,
            job_changed=self._take_job,
            bench_changed=self._tell_bench,
            certifier_changed=self._tell_certified,
        )

    async def on_event(self, event: events.Event) -> None:
        """Have keys wait for their turn, a paste steer nothing, and a change of size be the newest."""
        if isinstance(event, events.Resize) and isinstance(self._driver, Driver):
            event = self._driver.newest(event)
        if isinstance(event, events.Paste) and not event.is_forwarded:
            event = events.Paste(for_a_field(event.text))
        if isinstance(event, events.Key | events.Paste) and not event.is_forwarded:
            self._pressed.add(event)
        else:
            await super().on_event(event)

    # Beginning and end

    def on_load(self) -> None:
        """Let tasks begin in turn, as on the oldest Python.

        From 3.12 on Textual has them run at once, and then the fields of the first tab look for
        its screen before it is there.
        """
        asyncio.get_running_loop().set_task_factory(None)

    def on_mount(self) -> None:
        """Take the engine over, and tell what was wrong with the settings."""
        self.begin_styling()
        self.run_worker(self._pressed.take(), group="keys")
        self.mode_change_signal.subscribe(self, self._show_mode)
        self.set_interval(TICK_S, self._tick)
        self.notices.warn_of_files([*self._problems, *self._missing_theme()])
        tab = self.bookmark.now.tab
        if tab in self.MODES and tab != self.current_mode:
            self.switch_mode(tab)
        self.call_after_refresh(self._on_seen)
        self.call_after_refresh(self._go_on_with_set_up)
        if not self.engine.can_run:
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            loop.add_signal_handler(number, self.exit, 128 + number)
        self.call_after_refresh(self._begin_station)
        if self.trace is None:
            self.engine.open()
            return
        self.engine.died(ErrorInfo("none was started", ""))
        self.switch_mode("speculation")

    def _missing_theme(self) -> Iterator[str]:
        wanted, file = self.settings.theme, self.places.config_file
        if wanted not in ("auto", *self.available_themes):
            yield f"{file}: there is no theme {wanted!r:.40}; {self.theme} is used"

    def _go_on_with_set_up(self) -> None:
        """Show the set-up at the first run; go on with what an earlier one left to be downloaded."""
        if self.guide.problem:
            self.notices.say(self.guide.problem)
        if self._wants_set_up:
            self.guide.begin()
            self.action_set_up()
        elif self.guide.wanted_download:
            self.errands.downloads.start(self.guide.wanted_download)

    async def _tick(self) -> None:
        """Write what came since the last time, and look how fast the terminal takes drawings.

        The place goes first: of a chat whose answer is on disk it is known that it was open.
        """
        self.telling.pace.look(self._waiting_drawings())
        self._note_chat()
        if self.bookmark.is_waiting:
            await asyncio.to_thread(self.bookmark.write)
        self.desk.tick()

    def _note_chat(self) -> None:
        """Have it remembered which chat is open."""
        chat = self.desk.chat
        self.bookmark.now = replace(self.bookmark.now, chat=chat.id if chat.turns else "")

    def _show_mode(self, mode: str) -> None:
        from mtplx_tui.screens.too_small import cover

        self.bookmark.now = replace(self.bookmark.now, tab=mode)
        self.telling.status.now()
        cover(self, self.size)

    async def on_unmount(self) -> None:
        """Write what is not written yet and end the engine; the terminal is given back already."""
        self.desk.close()
        self._note_chat()
        self.bookmark.close()
        self.station.close()
        await self.errands.close()
        await self.preferences.finish()
        await self.serving.stop()
        await self.engine.close()

    # The engine

    @property
    def view(self) -> EngineView:
        """What is known of the engine now."""
        return self.engine.view

    def feed(self, events: list[Event]) -> None:
        """Take a batch of events: apply it to view and desk, and tell the tab that is shown.

        A bench takes its own events out first.
        """
        self.station.apply(events)
        if not (events := self.errands.sift(events)):
            self.errands.look(self.view)
            return
        events = self.guide.take(events)
        for event in events:
            self.engine.apply(event)
            if isinstance(event, RequestDone) and self.desk.is_writing(event.request):
                self.notices.answered(event, is_seen=self.current_mode == "chat")
            self.desk.apply(event)
            self._follow(event)
        self.station.follow(events)
        self.errands.take(events)
        self.serving.take(events)
        self.errands.look(self.view)
        self.telling.take(tuple(events))

    def _follow(self, event: Event) -> None:
        """Do what an event asks of the app itself."""
        match event:
            case EngineStarted(blas_note=note):
                self.telling.show_note(note)
                if self.preferences.prefix_limits != LimitPrefixes():
                    self.send(self.preferences.prefix_limits)
                if self.engine.can_run:
                    self.loads.open_wanted()
            case ModelLoaded(model=model):
                self.loads.loaded(model.name)
                self.telling.show_note(model.kernel_note)
            case RequestStarted(request=name):
                self.drafting.begin(name)
            case LoadFailed(error=error):
                self.loads.ended()
                self.notices.error(error)
            case LoadCancelled():
                self.loads.ended()

    def lose_engine(self, error: ErrorInfo) -> None:
        """Take it that the engine process ended: what was running is cut."""
        self._cut_answers(error)
        self._tell_workers(error)
        self.loads.ended()
        self.notices.error(error)
        self.telling.take()

    def _cut_answers(self, error: ErrorInfo) -> None:
        self.engine.died(error)
        self.desk.engine_died()
        self.serving.engine_died(error)

    def _tell_workers(self, error: ErrorInfo) -> None:
        self.guide.stop_tuning(error.message)
        self.errands.engine_died(error)
        self.station.engine_died()

    def send(self, command: Command) -> bool:
        """Give the engine a command; False, and a notice, where there is none to take it."""
        try:
            self.engine.give(command)
        except EngineGone as error:
            text = f"{error}; {{app.restart}} starts it again"
            self.notify(text, severity="error", markup=False)
            return False
        return True

    def restart_engine(self) -> None:
        """Start an engine in place of the one there is; it loads the model again."""
        if not self.engine.can_run:
            return
        if self.engine.is_answering:
            self._cut_answers(ErrorInfo("the engine is started again", ""))
        self._tell_workers(ErrorInfo("the engine was started again", ""))
        self.loads.ended()
        self.engine.starting()
        self.telling.take()
        self.run_worker(self.engine.restart(), exclusive=True, group="engine")

    def _tell(self, events: tuple[Event, ...]) -> None:
        self._post(EngineChanged(self.view, events))

    def _post(self, message: Message) -> None:
        """Hand something to the tab that is shown."""
        if self.screen_stack:
            self.screen_stack[0].post_message(message)

    def _waiting_drawings(self) -> int:
        """Return how many drawings the terminal has not taken yet, as Textual's driver counts them."""
        writer = getattr(self._driver, "_writer_thread", None)
        return 0 if writer is None else writer._queue.qsize()

    def _tell_serving(self) -> None:
        self._post(ServingChanged())

    # Heat and fans

    @functools.cached_property
    def station(self) -> Station:
        """Heat and fans; made when first asked for, which is after the first frame."""
        from mtplx_tui.machine.guarding import find_setup
        from mtplx_tui.machine.sensors import Sensors, find_sources
        from mtplx_tui.machine.station import Station

        sysfs = config.find_sysfs()
        return Station(
            Sensors(find_sources(sysfs)),
            find_setup(sysfs, self.places.state / "fans"),
            self._tell_thermals,
        )

    def _begin_station(self) -> None:
        from mtplx_tui.machine.station import TICK_S

        self.station.start()
        self.set_interval(TICK_S, self._tick_station)

    def _tick_station(self) -> None:
        self.station.tick(is_generating=self.engine.is_answering)

    def _tell_thermals(self) -> None:
        self._post(ThermalsChanged())

    # Errands

    def _take_job(self, job: Job) -> None:
        """Hand a change on from a download's thread."""
        self.post_message(DownloadChanged(job))

    @on(DownloadChanged)
    def _tell_download(self, event: DownloadChanged) -> None:
        from mtplx_tui.library.queue import JobState

        if event.job.state is JobState.FAILED:
            self.notices.fail(event.job.error)
            self.notices.call(event.job.error)
        elif event.job.state is JobState.DONE:
            text = f"{event.job.name} is downloaded"
            if self.guide.take_job(event.job):
                self.loads.remember(event.job.name)
                text += "; {app.set_up} opens it"
            self.notices.say(text)
            self.notices.call(text)
        self._post(DownloadChanged(event.job))

    def _tell_bench(self) -> None:
        self.telling.status.soon()
        self._post(BenchChanged())

    def _tell_certified(self) -> None:
        if not self.errands.certifier.is_active:
            self.notices.say(self.errands.certifier.note)
        self.telling.take()

    # Settings and notices

    @property
    def settings(self) -> Settings:
        """As they are now."""
        return self.preferences.now

    def _tell_saved(self) -> None:
        if self.screen_stack:
            self.screen.post_message(SettingsSaved())

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = True,
    ) -> None:
        """Show a notice; an action's id in braces becomes its key."""
        text = self.keys.fill(message)
        super().notify(text, title=title, severity=severity, timeout=timeout, markup=markup)

    def _ring(self, text: str) -> None:
        """Have the terminal call, if another program has the person's eyes."""
        if not self.app_focus and self._driver is not None:
            self._driver.write(notice(self.keys.fill(text), self.terminal))

    def change_setting(self, name: str, value: object) -> None:
        """Change a setting, keep it, and let it count as far as it does at once.

        Args:
            name: a setting.
            value: one that its row allows; its default takes it out of the file.
        """
        self.preferences.change(name, value)
        take_effect(self, name)

    def change_keys(self, changes: Mapping[str, str | None]) -> None:
        """Give actions other keys from now on; None stands for an action's own. Kept at once.

        Raises:
            OSError: they can't be written down; nothing changed.
        """
        keys_file.write(self.places.keymap_file, changes)
        self.keys = self.keys.with_changes(changes)
        self.set_keymap(self.keys.changed)
        for screen in self.screen_stack:
            for bar in screen.query(TabBar):
                bar.on_resize()

    # The status bar

    @on(StatusBar.Mounted)
    def _greet_status_bar(self) -> None:
        self.telling.status.now()

    def _show_status(self) -> None:
        if not self.screen_stack:
            return
        newest = self.view.newest
        depth = self.desk.chat.options.depth
        if newest is not None and newest.is_running:
            depth = newest.depth
        note = self.telling.note or self.errands.words or self.guide.words
        status = Status(self.view, depth, note, marks_for(self.terminal), self.keys)
        try:
            self.screen_stack[0].query_one(StatusBar).show(status)
        except NoMatches:
            return

    def on_resize(self, event: events.Resize) -> None:
        """Cover a screen that can't be read, and tell where one is tight."""
        from mtplx_tui.screens.too_small import cover, why_tight

        before, self._tight = self._tight, why_tight(event.size)
        self.telling.show_note(self._tight, in_place_of=before)
        cover(self, event.size)
        # A terminal that shrank and grew again has lost what it showed, though the size it has at
        # last is no news to Textual, which would draw nothing.
        self.call_later(self.refresh)
