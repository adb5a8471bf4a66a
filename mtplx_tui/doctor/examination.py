"""All checks in their order, each run so that none keeps the next from running."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from mtplx_tui.doctor import (
    engine_side,
    folders,
    install,
    leftovers,
    machine_side,
    network,
    own_files,
    terminal_side,
)
from mtplx_tui.doctor.check import Check, NotLookedAt, Severity
from mtplx_tui.doctor.surroundings import Surroundings

__all__ = ["EXAMINATIONS", "Begun", "Examination", "examine"]


@dataclass(frozen=True, slots=True)
class Examination:
    """A check that may say several things."""

    group: str
    name: str
    """What it is about, where it can't say so itself."""
    run: Callable[[Surroundings], Iterator[Check]]
    slow: str = ""
    """Why it may take long."""

    @property
    def about(self) -> str:
        """What is looked at, for whoever waits."""
        return f"{self.group}, {self.name}" + (f" ({self.slow})" if self.slow else "")


Begun = Callable[[Examination], None]
"""Told of an examination before it runs."""


EXAMINATIONS = (
    Examination("install", "Python", install.check_python),
    Examination("install", "packages", install.check_packages),
    Examination("install", "MLX backend", install.check_backend),
    Examination("install", "demo model", install.check_demo),
    Examination("engine", "MLX", engine_side.check_engine, "a GPU compiles its kernels"),
    Examination("machine", "GPU", machine_side.check_gpu),
    Examination("machine", "memory", machine_side.check_memory),
    Examination("machine", "sensors", machine_side.check_sensors),
    Examination("machine", "fan guard", machine_side.check_fans),
    Examination("disk", "home folder", folders.check_home),
    Examination("disk", "folders", folders.check_folders),
    Examination("disk", "room", folders.check_room),
    Examination("disk", "cache size", folders.check_cache_size),
    Examination("network", "login", network.check_login),
    Examination("network", "hub", network.check_hub),
    Examination("network", "server port", network.check_port),
    Examination("terminal", "terminal", terminal_side.check_terminal),
    Examination("your files", "own files", own_files.check_own_files),
    Examination("your files", "chats", own_files.check_chats),
    Examination("leftovers", "downloads", leftovers.check_downloads),
    Examination("leftovers", "half-written chats", leftovers.check_torn_chats),
    Examination("leftovers", "temporary files", leftovers.check_temporary),
)


def _untold(_: Examination) -> None:
    """Tell nobody."""


def examine(
    s: Surroundings,
    examinations: tuple[Examination, ...] = EXAMINATIONS,
    begun: Begun = _untold,
) -> Iterator[Check]:
    """Give what each check says, as soon as it says it. Slow: asks the hub and the engine's process.

    Ends early where `s.is_over` is set.
    """
    for examination in examinations:
        if s.is_over.is_set():
            return
        begun(examination)
        for check in _checked(s, examination):
            yield replace(check, group=examination.group)


def _checked(s: Surroundings, examination: Examination) -> Iterator[Check]:
    try:
        yield from examination.run(s)
    except NotLookedAt as why:
        yield Check(examination.name, "", f"not looked at: {why}", Severity.NOTE)
    except Exception as error:  # noqa: BLE001 - the seam to every check: told as a failure of its own
        found = " ".join(f"the check failed: {type(error).__name__}: {error}".split())
        remedy = "this is a fault of the doctor: please report it with a bundle"
        yield Check(examination.name, "can be checked", found[:300], Severity.ERROR, remedy)
