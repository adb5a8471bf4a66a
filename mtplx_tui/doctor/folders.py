"""The home folder and the app's own folders: can they be written, and is there room."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from mtplx_tui.config import NoHome, find_home
from mtplx_tui.doctor.check import Check, NotLookedAt, Severity
from mtplx_tui.doctor.surroundings import Surroundings
from mtplx_tui.files import reason
from mtplx_tui.wording import in_bytes

__all__ = ["check_cache_size", "check_folders", "check_home", "check_room"]

_PROBE = bytes(4096)
_MAX_FILES = 50_000


def check_home(s: Surroundings) -> Iterator[Check]:
    """Tell whether there is a home folder, or what stands for it."""
    expected = "HOME, or MTPLX_TUI_HOME and HF_HOME"
    if s.places is None or s.hub_cache is None:
        lacking = "the app's files" if s.places is None else "the hub's cache"
        remedy = str(NoHome().strerror).partition("; ")[2]
        found = f"none: nothing says where to keep {lacking}"
        yield Check("home folder", expected, found, Severity.ERROR, remedy)
        return
    try:
        yield Check("home folder", expected, str(find_home()))
    except NoHome:
        yield Check("home folder", expected, "none, and none is needed")


def check_folders(s: Surroundings) -> Iterator[Check]:
    """Write a little into each folder, if it is there; look at the one it would be made in, if not."""
    for name, folder, use in _folders(s):
        trouble = _trouble(folder)
        if not trouble:
            yield Check(name, "can be written", str(folder))
            continue
        is_needed = name != "models"
        is_full = trouble == os.strerror(errno.ENOSPC)
        act = f"make room for {folder}" if is_full else f"make {folder} writable"
        remedy = f"{act}, or set {use} to another folder"
        severity = Severity.ERROR if is_needed else Severity.WARNING
        yield Check(name, "can be written", f"{folder}: {trouble}", severity, remedy)


def check_room(s: Surroundings) -> Iterator[Check]:
    """Hold what is free on the disk of each folder against what is wanted."""
    needs = {"data": s.needs.data, "cache": s.needs.cache, "models": s.needs.models}
    for name, folder, use in _folders(s):
        wanted = needs.get(name)
        if wanted is None:
            continue
        free = shutil.disk_usage(_nearest(folder)).free
        is_short = free < wanted
        severity = Severity.OK if not is_short else _SHORT[name]
        remedy = f"make room on the disk of {folder}, or set {use} to a folder on another one"
        yield Check(
            f"room for {name}",
            f"{in_bytes(wanted)} free",
            f"{in_bytes(free)} free",
            severity,
            remedy if is_short else "",
        )


_SHORT = {"data": Severity.ERROR, "cache": Severity.WARNING, "models": Severity.WARNING}
"""Without room for the cache the engine computes what it would keep; a model may not be wanted."""


def check_cache_size(s: Surroundings) -> Iterator[Check]:
    """Tell what the cache takes."""
    folder = s.own_places.cache
    size, is_whole = _size(folder)
    found = f"{in_bytes(size)}{'' if is_whole else ' and more'}"
    yield Check("cache size", f"can be deleted at any time: {folder}", found)


def _folders(s: Surroundings) -> Iterator[tuple[str, Path, str]]:
    """Give what each folder is for, where it is, and what moves it elsewhere."""
    if s.places is not None:
        for name, folder in (
            ("config", s.places.config),
            ("data", s.places.data),
            ("cache", s.places.cache),
        ):
            yield name, folder, "MTPLX_TUI_HOME"
    if s.hub_cache is not None:
        yield "models", s.hub_cache, "HF_HOME"
    if s.places is None and s.hub_cache is None:
        raise NotLookedAt("there is no home folder")


def _nearest(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that is there."""
    return next((place for place in (folder, *folder.parents) if place.exists()), Path("/"))


def _trouble(folder: Path) -> str:
    """Return why a folder can't be written; empty where it can."""
    try:
        nearest = _nearest(folder)
        if not nearest.is_dir():
            return f"{nearest.name} is no folder"
        if nearest != folder:
            return "" if os.access(nearest, os.W_OK | os.X_OK) else f"{nearest} can't be written"
        _write_something(folder)
    except OSError as error:
        return reason(error)
    return ""


def _write_something(folder: Path) -> None:
    """Write a file and take it away. Raises OSError."""
    probe = folder / f".doctor.{os.urandom(6).hex()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(probe, flags, 0o600)
    try:
        if os.write(descriptor, _PROBE) < len(_PROBE):
            raise OSError("no room for 4 kB")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
        with contextlib.suppress(FileNotFoundError):
            probe.unlink()


def _size(folder: Path) -> tuple[int, bool]:
    """Return the bytes of all files in a folder, and whether all were counted."""
    total = count = 0
    for place, _, names in os.walk(folder):
        for name in names:
            count += 1
            if count > _MAX_FILES:
                return total, False
            with contextlib.suppress(OSError):  # it may be gone by now
                total += os.lstat(os.path.join(place, name)).st_size
    return total, True
