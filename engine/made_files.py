"""Files that are made here and loaded later, code among them: whole, or not there. Standard library only."""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["clear_unfinished", "in_memory", "made_whole"]

_UNFINISHED = re.compile(r"\.(\d+)-(.+)")
"""What is being made, with the process that makes it, and what it is to be."""


@contextmanager
def made_whole(target: Path) -> Generator[Path]:
    """Give a place beside a file to make it at; what was made there takes the file's place.

    It is on the disk before, so that neither a kill nor a power cut leaves half of one: code that
    is loaded from half a file ends its process.

    Raises:
        OSError: the folder can't be written to.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{os.getpid()}-{target.name}")
    try:
        yield partial
        with partial.open("rb") as made:
            os.fsync(made.fileno())
        partial.replace(target)
    finally:
        # A folder that can't be written to refuses this too, whether or not there is a file.
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def in_memory(name: str, content: bytes) -> Path:
    """Return the place of a file that lies on no disk, and lasts as long as its descriptor, which nobody closes.

    Linux only. Raises OSError.
    """
    descriptor = os.memfd_create(name)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    return Path(f"/proc/self/fd/{descriptor}")


def clear_unfinished(folder: Path, name: str | None = None) -> None:
    """Remove what processes that are gone had not finished in a folder.

    Args:
        folder: where it lies.
        name: of the file it was to be; None for any, in a folder of ours.

    Raises:
        OSError: the folder can't be read, or a file not removed.
    """
    for file in list(folder.iterdir()):
        found = _UNFINISHED.fullmatch(file.name)
        if found is not None and name in (None, found[2]) and not _runs(int(found[1])):
            file.unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
