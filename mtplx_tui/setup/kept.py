"""The set-up's progress on disk: one small file, whole at any moment."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from mtplx_tui.files import write_atomically
from mtplx_tui.setup.flow import Progress, progress_from, progress_to_plain

__all__ = ["Kept", "keep", "read"]

_MAX_FILE = 2**16


@dataclass(frozen=True, slots=True)
class Kept:
    """What was found."""

    progress: Progress
    problem: str = ""
    """What is wrong with the file, in one line; its set-up begins anew."""


def read(path: Path) -> Kept:
    """Return the progress that was kept; none of it where there is no file that can be read."""
    try:
        if path.stat().st_size > _MAX_FILE:
            return _begun_anew(path, "is too large")
        return Kept(progress_from(json.loads(path.read_text("utf-8"))))
    except FileNotFoundError:
        return Kept(Progress())
    except OSError as error:
        return _begun_anew(path, f"can't be read: {error.strerror}")
    except (ValueError, RecursionError):
        return _begun_anew(path, "makes no sense")


def keep(path: Path, progress: Progress) -> str:
    """Write the progress; return why it could not be, in one line, empty where it was."""
    try:
        write_atomically(path, json.dumps(progress_to_plain(progress)) + "\n")
    except OSError as error:
        return f"how far the set-up is can't be kept: {path}: {error.strerror}"
    except UnicodeEncodeError:
        return "how far the set-up is can't be kept: the model's name can't be written"
    return ""


def _begun_anew(path: Path, why: str) -> Kept:
    return Kept(Progress(), f"{path} {why}; the set-up begins anew")
