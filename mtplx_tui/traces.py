"""Traces: recorded events, one a line, behind a header that names what made them.

A trace replays every screen; `view.apply` reads it like a live stream. A file is a stranger's:
what is no trace of this version is refused in one line, and what is read can be shown.
"""

from __future__ import annotations

import dataclasses
import json
import math
import platform
import tempfile
import typing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path

from engine import wire
from engine.protocol import (
    EVENTS,
    MAX_DEPTH,
    PROTOCOL_VERSION,
    CycleDone,
    DepthSet,
    EngineStarted,
    Event,
    RequestDone,
    RequestFailed,
    RequestStarted,
    check_depth,
)
from mtplx_tui.files import write_atomically
from mtplx_tui.machine.heat import Heat, heat_from_plain, heat_to_plain, heat_words

__all__ = ["Trace", "TraceError", "TraceHeader", "check_trace_path", "read_trace", "write_trace"]

LINE_LIMIT = 2**20
"""Bytes; a cycle with all its detail has less than 20,000."""
EVENT_LIMIT = 1_000_000
NUMBER_LIMIT = 2**64
SECONDS_LIMIT = 1e7


class TraceError(ValueError):
    """A file that can't be read as a trace; the message is one line."""


@dataclass(frozen=True, slots=True)
class TraceHeader:
    """What made a trace, in words; empty where it is not known."""

    mtplx_tui: str = ""
    machine: str = ""
    python: str = ""
    engine: str = ""
    """Device and versions."""
    model: str = ""
    sampling: str = ""
    heat: str = ""
    """How warm the machine was while the answer came."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace that was read."""

    name: str
    """Of its file."""
    header: TraceHeader
    events: tuple[Event, ...]
    note: str
    """What is missing of it; empty where it is whole."""


def check_trace_path(path: Path) -> None:
    """Raise ValueError, one line, unless a trace can be written there."""
    if not path.name or (path.exists() and not path.is_file()):
        raise ValueError(f"{path} can't be a trace: it is no ordinary file")
    try:
        with tempfile.TemporaryFile(dir=path.resolve().parent) as trial:
            trial.write(b"\n")
    except OSError as error:
        raise ValueError(f"{path} can't be written: {error.strerror}") from error


def write_trace(path: Path, events: Sequence[Event], heat: Heat | None = None) -> None:
    """Write a trace whole: until then, what was there stays.

    Args:
        path: of the file, which is replaced.
        events: of one request, behind the engine's and the model's own.
        heat: of the machine while the request ran; None where it is not known.

    Raises:
        OSError: it could not be written.
    """
    head = {"trace": PROTOCOL_VERSION, **wire.plain_fields(_header(events))}
    head["heat"] = None if heat is None else heat_to_plain(heat)
    lines = [head, *(wire.to_plain(event) for event in events)]
    write_atomically(path, "".join(json.dumps(line) + "\n" for line in lines))


def read_trace(path: Path) -> Trace:
    """Return a trace: of one that was cut, all before the cut.

    Raises:
        TraceError: the file can't be read, is no trace, or one of another version.
    """
    events: list[Event] = []
    note = ""
    try:
        with path.open("rb") as file:
            header = _read_header(path.name, file.readline(LINE_LIMIT + 1))
            for number, line in enumerate(_lines(file), 2):
                try:
                    events.append(_event(line))
                except TraceError as error:
                    if line.endswith(b"\n") or len(line) > LINE_LIMIT:
                        raise TraceError(f"{path.name}, line {number}: {error}") from error
                    note = f"cut in line {number}: what came before it is shown"
                if len(events) > EVENT_LIMIT:
                    raise TraceError(f"{path.name} has more than {EVENT_LIMIT:,} events")
    except OSError as error:
        raise TraceError(f"{path.name} can't be read: {error.strerror or error}") from error
    if not any(isinstance(event, RequestStarted) for event in events):
        raise TraceError(f"{path.name} holds no answer{': it was cut too early' if note else ''}")
    return Trace(path.name, header, tuple(events), note or _missing_end(events))


def _missing_end(events: Sequence[Event]) -> str:
    begun = {event.request for event in events if isinstance(event, RequestStarted)}
    ended = {e.request for e in events if isinstance(e, (RequestDone, RequestFailed))}
    return "it ends before its answer does" if begun - ended else ""


def _header(events: Iterable[Event]) -> TraceHeader:
    engine = model = sampling = ""
    for event in events:
        if isinstance(event, EngineStarted):
            engine = f"{event.device}, mlx {event.mlx}, mlx-lm {event.mlx_lm}, {event.blas} blas"
        elif isinstance(event, RequestStarted):
            own = event.sampling
            model = event.model
            sampling = (
                f"temperature {own.temperature:g}, top_p {own.top_p:g}, top_k {own.top_k}, "
                f"min_p {own.min_p:g}, {event.mode} rule, seed {event.seed}"
            )
    machine = f"{platform.system()} {platform.machine()}"
    return TraceHeader(
        version("mtplx-tui"), machine, platform.python_version(), engine, model, sampling
    )


def _lines(file: typing.BinaryIO) -> Iterator[bytes]:
    while line := file.readline(LINE_LIMIT + 1):
        if line.strip():
            yield line


def _read_header(name: str, line: bytes) -> TraceHeader:
    if not line.strip():
        raise TraceError(f"{name} is empty" if not line else f"{name} is no trace")
    try:
        content = _parsed(line)
    except TraceError as error:
        raise TraceError(f"{name} is no trace: {error}") from error
    made = content.get("trace")
    if not isinstance(made, int) or isinstance(made, bool):
        raise TraceError(f"{name} is no trace: its first line names no version")
    if made != PROTOCOL_VERSION:
        raise TraceError(
            f"{name} is a trace of version {made:.0f}; this program reads {PROTOCOL_VERSION}"
        )
    named = {each.name: content.get(each.name, "") for each in fields(TraceHeader)}
    named["heat"] = heat_words(heat_from_plain(content.get("heat")))
    return TraceHeader(**{name: str(value)[:200] for name, value in named.items()})


def _event(line: bytes) -> Event:
    """Return a line's event, of which every part can be shown. Raises TraceError."""
    try:
        event = wire.from_plain(_parsed(line))
    except (wire.WireError, OverflowError) as error:
        raise TraceError(" ".join(str(error).split())[:200]) from error
    if not isinstance(event, EVENTS):
        raise TraceError(f"{type(event).__name__} is no event")
    _check_numbers(event)
    if isinstance(event, CycleDone):
        _check_cycle(event)
    if isinstance(event, (RequestStarted, DepthSet)):
        try:
            check_depth(event.depth)
        except ValueError as error:
            raise TraceError(str(error)) from error
    return event


def _parsed(line: bytes) -> dict[str, object]:
    if len(line) > LINE_LIMIT:
        raise TraceError(f"longer than {LINE_LIMIT:,} bytes")
    try:
        content = json.loads(line.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else "not JSON"
        raise TraceError(reason) from error
    if not isinstance(content, dict):
        raise TraceError("not an object")
    return content


def _refuse(constant: str) -> typing.NoReturn:
    raise ValueError(f"{constant} is no number")


def _check_numbers(value: object) -> None:
    """Refuse numbers that no engine counts or measures. Raises TraceError."""
    if isinstance(value, float) and not (math.isfinite(value) and abs(value) <= SECONDS_LIMIT):
        raise TraceError(f"{value:g} is beyond what is measured")
    if isinstance(value, int) and not -NUMBER_LIMIT < value < NUMBER_LIMIT:
        raise TraceError("a number is beyond what is counted")
    if isinstance(value, tuple):
        for part in value:
            _check_numbers(part)
    elif dataclasses.is_dataclass(value):
        for each in fields(value):
            _check_numbers(getattr(value, each.name))


def _check_cycle(cycle: CycleDone) -> None:
    """Refuse a cycle whose counts contradict each other. Raises TraceError."""
    is_whole = (
        0 <= cycle.accepted <= cycle.depth <= MAX_DEPTH
        and len(cycle.drafted) == len(cycle.drafted_pieces) == cycle.depth
        and len(cycle.emitted) == len(cycle.emitted_pieces) <= cycle.accepted + 1
        and cycle.cycle >= 0
        and cycle.graphs_built >= 0
    )
    if not is_whole:
        raise TraceError("a cycle whose counts contradict each other")
    if min(cycle.draft_s, cycle.verify_s, cycle.accept_s, cycle.total_s) < 0:
        raise TraceError("a cycle that took less than no time")
    if cycle.detail is not None and len(cycle.detail.drafts) != cycle.depth:
        raise TraceError("a cycle whose detail tells of other drafts than its own")
