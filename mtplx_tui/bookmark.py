"""Where a person was: the tab, the open chat and the place in it, and what was typed.

A small file in the state folder, written whole whenever something changed, so that an app that is
killed loses half a second of typing. Only one app at a time has it; a second one begins afresh
and leaves it alone. Knows no screen.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from mtplx_tui.files import reason, write_atomically

__all__ = ["Bookmark", "BookmarkFile", "read"]


@dataclass(frozen=True, slots=True)
class Bookmark:
    """The place of one moment."""

    tab: str = "chat"
    chat: str = ""
    """The open chat; empty for one that was not begun."""
    turn: str = ""
    """The turn at the top of what is in sight; empty at the end of the chat."""
    row: int = 0
    """The row of that turn at the top."""
    draft: str = ""
    """What is typed and not sent."""
    editing: str = ""
    """The earlier question that the draft is a new wording of."""
    set_aside: str = ""
    """What was typed before that question was taken up."""


def read(path: Path) -> tuple[Bookmark, str]:
    """Return the bookmark that was kept, and what is wrong with its file in one line, or nothing."""
    try:
        content = json.loads(path.read_text("utf-8"))
        values = {field.name: content[field.name] for field in fields(Bookmark)}
    except FileNotFoundError:
        return Bookmark(), ""
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is damaged"
        return Bookmark(), f"where you were is lost: {path}: {reason}"
    if any(type(value) is not type(getattr(Bookmark(), name)) for name, value in values.items()):
        return Bookmark(), f"where you were is lost: {path}: it is damaged"
    return Bookmark(**values), ""


class BookmarkFile:
    """The file of bookmarks, and the lock on it.

    Args:
        path: of the file; it is made with the first change.
        is_wanted: False keeps nothing and begins afresh.
    """

    def __init__(self, path: Path, *, is_wanted: bool = True) -> None:
        self._path = path
        self._lock = _locked(path.with_suffix(".lock")) if is_wanted else None
        self.now, self.problem = (Bookmark(), "") if self._lock is None else read(path)
        """Where the person is, at first where they were when the app was left; what is wrong with
        the file in one line, empty when all is well."""
        self._written = self.now
        self._writing = threading.Lock()
        """Held by who writes, so that a place of before never lands on a later one."""

    @property
    def is_waiting(self) -> bool:
        """Whether something changed that is not in the file yet."""
        return self._lock is not None and self.now != self._written

    def write(self) -> None:
        """Write the present bookmark; where that can't be, `problem` says why."""
        with self._writing:
            self._written = now = self.now
            try:
                write_atomically(self._path, json.dumps(asdict(now)))
            except OSError as error:
                self.problem = f"where you are can't be kept: {reason(error)}"

    def close(self) -> None:
        """Write what is not written yet, behind what is being written, and let go of the file."""
        if self.is_waiting:
            self.write()
        with self._writing:
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None


def _locked(path: Path) -> int | None:
    """Return a descriptor that holds the lock; None where another app has it, or nobody can."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
