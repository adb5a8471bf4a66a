"""Traces: recorded events, one a line, with a header that names what made them.

A trace replays every screen; `view.apply` reads it like a live stream.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import TextIO

from engine import wire
from engine.protocol import PROTOCOL_VERSION, Event

__all__ = ["TraceWriter", "read_trace"]


class TraceWriter:
    """Writes one request's events.

    Args:
        path: of the file, which is replaced; completion 1 and later add their number to it.
        number: of the completion.
        before: what led here, the engine's and the model's own events.
    """

    def __init__(self, path: Path, number: int, before: Iterable[Event]) -> None:
        name = f"{path.stem}-{number}{path.suffix}" if number else path.name
        self._file: TextIO = path.with_name(name).open("w", encoding="utf-8")
        self._line(
            {
                "trace": PROTOCOL_VERSION,
                "mtplx_tui": version("mtplx-tui"),
                "machine": f"{platform.system()} {platform.machine()}",
                "python": platform.python_version(),
            }
        )
        for event in before:
            self.put(event)

    def put(self, event: Event) -> None:
        """Write an event."""
        self._line(wire.to_plain(event))

    def close(self) -> None:
        """End the file."""
        self._file.close()

    def _line(self, content: dict[str, object]) -> None:
        self._file.write(json.dumps(content, ensure_ascii=False) + "\n")


def read_trace(path: Path) -> list[Event]:
    """Return the events of a trace; the header's lines are left out.

    Raises:
        wire.WireError: a line that is no event of this version.
    """
    events: list[Event] = []
    for line in path.read_text("utf-8").splitlines():
        content = json.loads(line)
        if "is" in content:
            events.append(wire.from_plain(content))
    return events
