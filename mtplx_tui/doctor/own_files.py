"""Settings, keys, themes, chats and the app's notes: what in a person's own files can't be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mtplx_tui import bookmark
from mtplx_tui.chats.store import Store
from mtplx_tui.config import load_settings
from mtplx_tui.doctor.check import Check, Severity
from mtplx_tui.doctor.surroundings import Surroundings
from mtplx_tui.setup import kept

__all__ = ["check_chats", "check_own_files"]

Problems = Callable[[Surroundings], tuple[str, ...]]


def _settings(s: Surroundings) -> tuple[str, ...]:
    return load_settings(s.own_places)[1]


def _themes(s: Surroundings) -> tuple[str, ...]:
    from mtplx_tui.theming import load_palettes

    return load_palettes(None, s.own_places.themes)[1]


def _keys(s: Surroundings) -> tuple[str, ...]:
    from mtplx_tui import keys_file

    return keys_file.read(s.own_places.keymap_file)[1]


def _bookmark(s: Surroundings) -> tuple[str, ...]:
    problem = bookmark.read(s.own_places.bookmark)[1]
    return (problem,) if problem else ()


def _setup(s: Surroundings) -> tuple[str, ...]:
    problem = kept.read(s.own_places.setup).problem
    return (problem,) if problem else ()


_DELETE = "delete the file; the app makes a new one"
_MEND_LINE = "mend the line, or delete it; for a file of a newer version, update mtplx-tui"
_FILES: tuple[tuple[str, str, Problems, str], ...] = (
    ("settings", "every line is understood", _settings, _MEND_LINE),
    ("keys", "every line is understood", _keys, "mend the line, or delete it"),
    ("themes", "every palette is understood", _themes, "mend the file, or delete it"),
    ("bookmark", "tells where you were", _bookmark, _DELETE),
    ("set-up", "tells how far it is", _setup, _DELETE),
)
"""What they are, what is expected, what finds their problems, what to do about one."""


def check_own_files(s: Surroundings) -> Iterator[Check]:
    """Tell each problem of each kind of file."""
    for name, expected, find, remedy in _FILES:
        problems = find(s)
        for problem in problems:
            line = " ".join(problem.split())
            yield Check(name, expected, line, Severity.WARNING, f"{remedy} (till then: defaults)")
        if not problems:
            yield Check(name, expected, "all is well")


def check_chats(s: Surroundings) -> Iterator[Check]:
    """Tell how many conversations there are, and which can't be read."""
    store = Store(s.own_places.chats)
    count = len(store.summaries())
    if store.problem:
        remedy = f"move what can't be read out of {store.folder}"
        found = f"{count} can be read, others not"
        own = (store.problem,)
        yield Check("chats", "all can be read", found, Severity.WARNING, remedy, own)
    else:
        yield Check("chats", "all can be read", f"{count}, all can be read")
