"""An engine process that recites: any model loads, any question gets made-up words, as fast as told.

    python -m tests.fakes.reciting CYCLES_A_SECOND

No two answers are alike. Their cycles tell what windows were judged by where that is asked for.
"""

from __future__ import annotations

import os
import queue
import random
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

from engine import wire
from engine.protocol import (
    Cancel,
    Candidate,
    Command,
    CycleDone,
    DraftDetail,
    Event,
    Finish,
    Generate,
    LoadModel,
    ModelLoaded,
    RequestDone,
    SetDetail,
    Shutdown,
    WindowDetail,
)
from tests.fakes import streams

BATCH_S = 0.05
SYLLABLES = ("ka", "lo", "mi", "ren", "su", "ta", "vel", "wor", "zin", "光", "é")
CYCLES = 400
"""Of the longest answer."""


class Recital:
    """One answer under way."""

    def __init__(self, command: Generate) -> None:
        self._command = command
        self._cycles = iter(_cycles(command))
        self._told = 0
        self._begun = time.monotonic()
        self.has_detail = False

    def begin(self) -> Event:
        words = sum(len(message.content.split()) for message in self._command.messages)
        return replace(streams.started(self._command.request), prompt_tokens=1 + words)

    def next(self, count: int) -> list[Event]:
        """Return what comes next: so many cycles, and the end where there are no more."""
        events: list[Event] = []
        for cycle in self._cycles:
            self._told += len(cycle.emitted)
            events.append(replace(cycle, detail=_detail(cycle)) if self.has_detail else cycle)
            if len(events) == count:
                return events
        return [*events, self.end(Finish.STOP)]

    def end(self, finish: Finish) -> RequestDone:
        passed = time.monotonic() - self._begun
        return RequestDone(self._command.request, finish, self._told, 0.01, 0.02, passed)


def _cycles(command: Generate) -> Iterator[CycleDone]:
    """Give an answer's cycles, up to the tokens it may have."""
    chance = random.Random(command.request)
    left = command.max_tokens or 8_000
    for cycle in streams.cycles_of(command.request, CYCLES, chance.randrange(99), _text(chance)):
        left -= len(cycle.emitted)
        if left < 0:
            return
        yield cycle


def _text(chance: random.Random) -> str:
    """Return Markdown of words that no other answer has."""
    paragraphs = []
    for _ in range(12):
        words = ["".join(chance.choices(SYLLABLES, k=chance.randint(1, 4))) for _ in range(30)]
        begin = chance.choice(("", "", "- ", "1. ", "## ", "> ", "```python\n"))
        end = "\n```" if begin.startswith("```") else "."
        paragraphs.append(f"{begin}{' '.join(words)} **{words[0]}** `{words[1]}`{end}")
    return "\n\n".join(paragraphs)


def _detail(cycle: CycleDone) -> WindowDetail:
    tops = tuple(Candidate(number, f" {number}", 0.3 / (1 + number)) for number in range(5))
    draft = DraftDetail(0.31, 0.62, 0.4, None, None, tops, tops)
    return WindowDetail((draft,) * cycle.depth, 0.25, 0.4, tops)


def _read(commands: queue.SimpleQueue[Command]) -> None:
    for line in sys.stdin.buffer:
        for command in wire.decode(line):
            commands.put(command)
    commands.put(Shutdown())


def _tell(events: list[Event]) -> None:
    line = wire.encode(events)
    while line:
        line = line[os.write(1, line) :]


def main(cycles_per_s: str) -> None:
    """Recite until told to leave."""
    commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(commands,), daemon=True).start()
    at_once = max(1, round(float(cycles_per_s) * BATCH_S))
    running: dict[str, Recital] = {}
    _tell([replace(streams.STARTED, pid=os.getpid())])
    while True:
        try:
            command = commands.get(timeout=BATCH_S if running else None)
        except queue.Empty:
            for name, recital in list(running.items()):
                events = recital.next(at_once)
                if isinstance(events[-1], RequestDone):
                    del running[name]
                _tell(events)
            continue
        match command:
            case Shutdown():
                return
            case LoadModel():
                model = replace(streams.MODEL, name=command.name, path=command.path)
                _tell([ModelLoaded(command.request, model)])
            case Generate():
                running[command.request] = Recital(command)
                _tell([running[command.request].begin()])
            case Cancel() if command.request in running:
                _tell([running.pop(command.request).end(Finish.CANCELLED)])
            case SetDetail() if command.request in running:
                running[command.request].has_detail = command.is_on


if __name__ == "__main__":
    main(*sys.argv[1:])
