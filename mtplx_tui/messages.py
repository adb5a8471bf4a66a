"""What the app tells its screens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.message import Message

from engine.protocol import Event
from mtplx_tui.view import EngineView

if TYPE_CHECKING:
    from mtplx_tui.library.queue import Job

__all__ = [
    "BenchChanged",
    "DownloadChanged",
    "EngineChanged",
    "ServingChanged",
    "SettingsSaved",
    "TakesKeys",
    "ThermalsChanged",
]


class EngineChanged(Message):
    """The engine sent a batch of events, or ended, or a choice of the person changed.

    Goes to the tab that is shown, once a batch; a tab that comes back looks at the app.
    """

    def __init__(self, view: EngineView, events: tuple[Event, ...]) -> None:
        super().__init__()
        self.view = view
        self.events = events


class DownloadChanged(Message, bubble=False):
    """A download began, moved on or ended. Goes to the app, and on to the tab that is shown."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job = job


class ThermalsChanged(Message):
    """A second passed for the machine's watch, or its fans changed hands.

    Goes to the tab that is shown; a tab that comes back looks at the app.
    """


class ServingChanged(Message):
    """The server began or ended, or a request of it moved on. Goes to the tab that is shown."""


class BenchChanged(Message):
    """A bench began, measured on or ended. Goes to the tab that is shown."""


class SettingsSaved(Message):
    """Changed settings were written, or could not be. Goes to the screen on top."""


class TakesKeys:
    """Marks a screen that every key is meant for, those of the app too."""
