"""Traces: recorded events, one a line, with a header that names what made them.

A trace replays every screen; `view.apply` reads it like a live stream.
"""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from engine import wire
from engine.protocol import PROTOCOL_VERSION, Event
from mtplx_tui.files import write_atomically

__all__ = ["check_trace_path", "read_trace", "write_trace"]


def check_trace_path(path: Path) -> None:
    """Raise ValueError, one line, unless a trace can be written there."""
    if not path.name or (path.exists() and not path.is_file()):
        raise ValueError(f"{path} can't be a trace: it is no ordinary file")
    try:
        with tempfile.TemporaryFile(dir=path.resolve().parent) as trial:
            trial.write(b"\n")
    except OSError as error:
        raise ValueError(f"{path} can't be written: {error.strerror}") from error


def write_trace(path: Path, events: Iterable[Event]) -> None:
    """Write a trace whole: until then, what was there stays.

    Args:
        path: of the file, which is replaced.
        events: of one request, behind the engine's and the model's own.

    Raises:
        OSError: it could not be written.
    """
    header = {
        "trace": PROTOCOL_VERSION,
        "mtplx_tui": version("mtplx-tui"),
        "machine": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
    lines = [header, *(wire.to_plain(event) for event in events)]
    write_atomically(path, "".join(json.dumps(line) + "\n" for line in lines))


def read_trace(path: Path) -> list[Event]:
    """Return the events of a trace; its header is left out.

    Raises:
        wire.WireError: it is no trace, or one of another version.
        OSError: it can't be read.
    """
    try:
        header, *events = (json.loads(line) for line in path.read_bytes().splitlines())
    except ValueError as error:
        raise wire.WireError(f"{path} is no trace: {error}") from error
    made_by = header.get("trace") if isinstance(header, dict) else None
    if made_by != PROTOCOL_VERSION:
        raise wire.WireError(f"{path} is no trace of version {PROTOCOL_VERSION}")
    return [wire.from_plain(event) for event in events]
