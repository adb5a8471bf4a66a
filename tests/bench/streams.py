"""What an engine says to a sweep: answers made up from depths and seconds, the same each time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.protocol import (
    CycleDone,
    Ended,
    Event,
    Finish,
    Generate,
    RequestDone,
    RequestStarted,
)

COSTS = (1.0, 1.15, 1.3, 1.5, 1.75, 2.0, 2.3, 2.6, 3.0)
"""Of a cycle at each depth, in plain steps."""
TOKENS = (1, 2, 2, 3, 3, 3, 4, 4, 4)
"""That every second cycle emits; the others emit one."""
STEP_S = 0.02


def started(command: Generate) -> RequestStarted:
    return RequestStarted(
        command.request,
        "demo",
        40,
        command.sampling,
        command.seed,
        command.depth,
        command.mode,
        command.max_tokens or 8_000,
    )


def cycle(command: Generate, number: int, speed: float = 1.0) -> CycleDone:
    """Return a cycle; an automatic depth drafts two."""
    depth = 2 if command.depth is None else command.depth
    emitted = TOKENS[depth] if number % 2 else 1
    uneven = 1 + (command.seed % 3) / 20 + (command.seed * 7 + depth * depth) % 5 / 40
    total = STEP_S * COSTS[depth] * uneven / speed
    return CycleDone(
        request=command.request,
        cycle=number,
        depth=depth,
        drafted=tuple(range(depth)),
        drafted_pieces=("x",) * depth,
        accepted=emitted - 1,
        emitted=tuple(range(emitted)),
        emitted_pieces=("x",) * emitted,
        ended=Ended.RESIDUAL if depth else Ended.PLAIN,
        runs=(),
        draft_s=0.03 * total * depth,
        verify_s=0.7 * total,
        accept_s=0.05 * total,
        total_s=total,
    )


def done(command: Generate, finish: Finish = Finish.LENGTH) -> RequestDone:
    return RequestDone(command.request, finish, 0, 0.1, 0.2, 1.0)


def in_turn(commands: Sequence[Generate], cycles: int, speed: float = 1.0) -> Iterator[Event]:
    """Yield so many cycles of each request, one after the other, as an engine takes turns."""
    for command in commands:
        yield started(command)
    for number in range(cycles):
        for command in commands:
            yield cycle(command, number, speed)


def answered(commands: Sequence[Generate], cycles: int = 20, speed: float = 1.0) -> Iterator[Event]:
    """Yield all that is said until each request has ended."""
    yield from in_turn(commands, cycles, speed)
    for command in commands:
        yield done(command)
