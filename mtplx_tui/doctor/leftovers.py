"""What a crash, a kill or a power cut left behind. Looks only; deletes nothing."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from mtplx_tui.doctor.check import Check, NotLookedAt, Severity
from mtplx_tui.doctor.surroundings import Surroundings
from mtplx_tui.wording import in_bytes

__all__ = ["check_downloads", "check_temporary", "check_torn_chats"]

FRESH_S = 60.0
"""A younger file may belong to a program that is just writing it."""
_SHOWN = 5
_BESIDE = re.compile(r"\.[^/]+\.[0-9a-f]{12}")
"""A file that was being written beside the one it would replace."""
_OF_PROCESS = re.compile(r"\.(\d+)-[^/]+|\.[^/]+\.(\d+)")
"""Likewise, named after the process that wrote it."""


def check_downloads(s: Surroundings) -> Iterator[Check]:
    """Tell of downloads that are not done, and that nobody goes on with."""
    if s.hub_cache is None:
        raise NotLookedAt("there is no home folder")
    expected = "none is half done"
    halves: dict[str, int] = {}
    for file in s.hub_cache.glob("*--*/blobs/*.incomplete"):
        if not _is_locked(s.hub_cache, file):
            name = file.parent.parent.name.partition("--")[2].replace("--", "/")
            halves[name] = halves.get(name, 0) + _bytes_on_disk(file)
    if not halves:
        yield Check("downloads", expected, "none")
        return
    found = f"{len(halves)} not done, {in_bytes(sum(halves.values()))} of them here"
    remedy = f"`mtplx-tui pull NAME` goes on; to drop one, delete its folder in {s.hub_cache}"
    yield Check("downloads", expected, found, Severity.WARNING, remedy, _some(sorted(halves)))


def check_torn_chats(s: Surroundings) -> Iterator[Check]:
    """Tell of conversations whose last line was cut."""
    expected = "each ends with a whole line"
    torn = [file.name for file in sorted(s.own_places.chats.glob("*.jsonl")) if _is_torn(file)]
    if not torn:
        yield Check("half-written chats", expected, "none was cut")
        return
    remedy = "nothing to do: the cut line is passed over, and the next one begins anew"
    found = f"{len(torn)} cut in the middle of a line"
    yield Check("half-written chats", expected, found, Severity.NOTE, remedy, _some(torn))


def check_temporary(s: Surroundings) -> Iterator[Check]:
    """Tell of files that were being written when something ended."""
    expected = "none is left"
    left = [place for place in _temporary(s) if _is_abandoned(place)]
    if not left:
        yield Check("temporary files", expected, "none")
        return
    remedy = f"delete them: rm -r {' '.join(map(_quoted, left[:_SHOWN]))}"
    found = f"{len(left)} left of writes that never ended"
    own = _some([place.name for place in left])
    yield Check("temporary files", expected, found, Severity.WARNING, remedy, own)


def _temporary(s: Surroundings) -> Iterator[Path]:
    """Give what looks like a write that has not ended, in every folder that is written to."""
    places = s.own_places
    deep = (places.state, places.cache)
    flat = (places.config, places.data, places.chats, places.traces, places.bench, places.models)
    for folder in dict.fromkeys(flat):
        yield from (Path(e) for e in _entries(folder) if _is_temporary(os.path.basename(e)))
    for folder in dict.fromkeys(deep):
        for root, folders, names in os.walk(folder):
            for name in (*folders, *names):
                if _is_temporary(name) or name.startswith("head-"):
                    yield Path(root, name)


def _entries(folder: Path) -> list[str]:
    with contextlib.suppress(OSError), os.scandir(folder) as found:
        return [entry.path for entry in found]
    return []


def _is_temporary(name: str) -> bool:
    return bool(_BESIDE.fullmatch(name) or _OF_PROCESS.fullmatch(name))


def _is_abandoned(place: Path) -> bool:
    """Whether it is old, and its process, where it names one, is gone."""
    match = _OF_PROCESS.fullmatch(place.name)
    pid = next((group for group in match.groups() if group), "") if match else ""
    with contextlib.suppress(OSError):
        is_old = time.time() - place.lstat().st_mtime > FRESH_S
        return is_old and not (pid and _runs(int(pid)))
    return False


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _is_locked(cache: Path, file: Path) -> bool:
    """Whether a program holds the lock of a file on its way, and so is just fetching it."""
    etag = file.name.partition(".")[0]
    lock = cache / ".locks" / file.parent.parent.name / f"{etag}.lock"
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _bytes_on_disk(file: Path) -> int:
    with contextlib.suppress(OSError):
        return file.stat().st_blocks * 512
    return 0


def _is_torn(file: Path) -> bool:
    try:
        with file.open("rb") as content:
            size = content.seek(0, os.SEEK_END)
            content.seek(max(0, size - 1))
            return size > 0 and content.read() != b"\n" and not _is_written(content.fileno())
    except OSError:
        return False


def _is_written(descriptor: int) -> bool:
    """Whether an app has the chat open."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


def _some(names: Iterable[str]) -> tuple[str, ...]:
    named = tuple(names)
    more = len(named) - _SHOWN
    return (*named[:_SHOWN], *((f"and {more} more",) if more > 0 else ()))


def _quoted(place: Path) -> str:
    import shlex

    return shlex.quote(str(place))
