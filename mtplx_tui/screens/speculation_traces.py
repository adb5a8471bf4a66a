"""What the speculation tab does with traces: save, open, replay at any speed, lay side by side.

A replay has a view of its own, which the tab shows in place of the engine's; the engine goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from time import monotonic

from textual.timer import Timer

from engine.protocol import Event
from mtplx_tui.files import reason
from mtplx_tui.replay import INSTANT, Replay
from mtplx_tui.screens.app_screen import AppScreen
from mtplx_tui.screens.dialogs import AskText, Choose
from mtplx_tui.traces import Trace, TraceError, read_trace, write_trace
from mtplx_tui.view import EngineView, RequestView

TICK_S = 1 / 15
LISTED = 200
"""Traces offered by name, newest first."""
OTHER = "another file"


class TraceKeeping(AppScreen):
    """Base of the speculation screen."""

    def __init__(self) -> None:
        super().__init__()
        self.replay: Replay | None = None
        self._ticking: Timer | None = None
        self._ticked = 0.0

    @property
    def shown_view(self) -> EngineView:
        """What the tab shows: the engine, or a replay."""
        return self.mtplx.view if self.replay is None else self.replay.view

    def shown_request(self) -> RequestView | None:
        """Return the answer shown; the speculation screen knows."""
        raise NotImplementedError

    def show_now(self) -> None:
        """Show everything as it is now; the speculation screen knows how."""
        raise NotImplementedError

    def forget_place(self) -> None:
        """Stand nowhere: what is shown from now on is another stream."""
        raise NotImplementedError

    def show_newest(self) -> None:
        """Show what came since the last look; the speculation screen knows how."""
        raise NotImplementedError

    # Save

    def action_save_trace(self) -> None:
        """Write the shown answer's events to a file of their own."""
        request = self.shown_request()
        if self.replay is not None:
            self.notify("this is a trace already", severity="warning")
        elif request is None or request.started is None:
            self.notify("there is no answer to save yet", severity="warning")
        else:
            self._save(request)

    def _save(self, request: RequestView) -> None:
        path = self._fresh_path(request)
        try:
            heat = self.mtplx.station.heat_of(request.request)
            write_trace(path, [*self._before(request), *request.events], heat)
        except OSError as error:
            self.notify(f"trace not saved: {reason(error)}", severity="error", markup=False)
        else:
            self.notify(f"saved as {path}", markup=False)

    def _before(self, request: RequestView) -> list[Event]:
        """Return the engine's own event, which tells the versions."""
        engine = self.mtplx.view.engine
        return [] if engine is None or request.started is None else [engine]

    def _fresh_path(self, request: RequestView) -> Path:
        """Return a name that no trace has yet: model and time."""
        model = "" if request.started is None else request.started.model
        plain = "".join(sign if sign.isalnum() else "-" for sign in Path(model).name)[:40]
        stem = f"{plain.strip('-') or 'answer'}-{datetime.now():%Y%m%d-%H%M%S}"
        folder = self.mtplx.places.traces
        names = [stem, *(f"{stem}-{number}" for number in range(2, 1000))]
        paths = [folder / f"{name}.jsonl" for name in names]
        return next(path for path in paths if not path.exists())

    # Open

    def action_open_trace(self) -> None:
        """Replay a trace in place of the engine's answers."""
        self._choose("Replay which trace?", self.open_trace)

    def action_compare(self) -> None:
        """Lay a trace beside the answer shown."""
        request = self.shown_request()
        if request is None or not len(request.cycles):
            self.notify("there is no answer to compare yet", severity="warning")
            return
        self._choose("Lay which trace beside this answer?", self._lay_beside)

    def _lay_beside(self, trace: Trace) -> None:
        from mtplx_tui.screens.trace_pair import TracePair

        request = self.shown_request()
        if request is not None:
            name = "this answer" if self.replay is None else self.replay.trace.name
            self.app.push_screen(TracePair(name, request, trace))

    def _choose(self, title: str, use: Callable[[Trace], None]) -> None:
        """Ask for a trace, by name or by path, and read it."""

        def picked(answer: str | None) -> None:
            if answer is None:
                return
            if int(answer) < len(paths):
                self._read(paths[int(answer)], use)
            else:
                self.app.push_screen(AskText("Which file?", check=_check), named)

        def named(answer: str | None) -> None:
            if answer is not None:
                self._read(Path(answer).expanduser(), use)

        folder = self.mtplx.places.traces
        paths = sorted(folder.glob("*.jsonl"), key=_changed, reverse=True)[:LISTED]
        self.app.push_screen(Choose(title, [*(path.name for path in paths), OTHER]), picked)

    def _read(self, path: Path, use: Callable[[Trace], None]) -> None:
        try:
            trace = read_trace(path)
        except TraceError as error:
            self.notify(str(error), severity="error", markup=False)
            return
        if trace.note:
            self.notify(f"{trace.name}: {trace.note}", severity="warning", markup=False)
        use(trace)

    def take_waiting_trace(self) -> None:
        """Open what the command line named."""
        path, self.mtplx.trace = self.mtplx.trace, None
        if path is not None:
            self._read(path, self.open_trace)

    # Replay

    def open_trace(self, trace: Trace) -> None:
        """Replay a trace from its beginning."""
        self.forget_place()
        self.replay = Replay(trace)
        self.keep_ticking()
        self.show_now()

    def close_trace(self) -> None:
        """Show the engine again."""
        self.forget_place()
        self.replay = None
        self.keep_ticking()
        self.show_now()

    def keep_ticking(self) -> None:
        """Let a replay's time pass while it is seen."""
        if self._ticking is not None:
            self._ticking.stop()
            self._ticking = None
        if self.replay is not None and self.is_current:
            self._ticked = monotonic()
            self._ticking = self.set_interval(TICK_S, self._tick)

    def _tick(self) -> None:
        if self.replay is None or not self.is_current:
            return
        now = monotonic()
        passed, self._ticked = now - self._ticked, now
        if self.replay.advance(passed):
            self.show_newest()

    def action_change_speed(self, by: int) -> None:
        """Replay faster or slower; at the end, from the beginning again."""
        if self.replay is None:
            return
        if self.replay.is_over:
            self.replay.again()
        self.replay.change_speed(by)
        self.show_now()

    def replay_state(self) -> str:
        """Return how far a replay is, and how fast."""
        if self.replay is None:
            return ""
        speed = "at once" if self.replay.speed == INSTANT else f"{self.replay.speed:g}x"
        place = f"{self.replay.position_s:.1f} of {self.replay.total_s:.1f} s"
        return (
            f"replayed, {self.replay.total_s:.1f} s" if self.replay.is_over else f"{speed}  {place}"
        )


def _check(text: str) -> None:
    """Refuse what can't be read as a trace. Raises ValueError."""
    read_trace(Path(text).expanduser())


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
