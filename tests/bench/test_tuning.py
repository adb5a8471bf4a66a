"""Tuning walks the depths, and weighs what each costs against what it brings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.protocol import MAX_DEPTH, Finish, Generate, RequestDone, SetDepth
from mtplx_tui.bench.tuning import Tuning, best_of
from tests.bench.streams import cycle
from tests.fakes.streams import MODEL, PLAIN_MODEL


def answer(work: Tuning, command: Generate, cycles: int) -> list[int | None]:
    """Answer as an engine that does as it is told; return the depths it was told."""
    told: list[int | None] = []
    for number in range(cycles):
        reply = work.take(cycle(command, number))
        assert isinstance(reply, SetDepth)
        assert reply.request == command.request
        told.append(reply.depth)
        command = replace(command, depth=reply.depth)
    work.take(RequestDone(command.request, Finish.LENGTH, cycles, 0.1, 0.1, 1.0))
    return told


def test_every_depth_is_walked_to_up_and_down() -> None:
    work = Tuning(MODEL)
    command = work.next()
    assert command is not None
    assert command.depth == 0
    told = answer(work, command, 2 * MAX_DEPTH)
    up, down = [*range(MAX_DEPTH + 1)], [*range(MAX_DEPTH - 1, 0, -1)]
    assert told == [*up, *down]


def test_one_answer_at_a_time_until_all_are_through() -> None:
    work, names = Tuning(MODEL, tokens=30, prefix="tune-"), []
    while command := work.next():
        assert work.next() is None
        assert command.max_tokens == 30
        names.append(command.request)
        answer(work, command, 20)
    assert names == [f"tune-{number}" for number in range(work.answers)]
    assert (work.done, work.running) == (8, "")


def test_what_a_depth_costs_is_weighed_against_what_it_brings() -> None:
    work = Tuning(MODEL)
    command = work.next()
    assert command is not None
    for number in range(10):
        for depth in (0, 3):
            work.take(cycle(replace(command, depth=depth), number))
    plain, deep = work.found()
    assert (plain.depth, plain.cycles, plain.against_plain) == (0, 10, 1)
    assert deep.tokens_per_cycle == 2
    assert deep.against_plain == pytest.approx(2 * plain.ms_per_cycle / deep.ms_per_cycle)
    assert best_of(work.found()) is not plain


def test_events_of_others_are_let_be() -> None:
    work = Tuning(MODEL)
    command = work.next()
    assert command is not None
    assert work.take(cycle(replace(command, request="another"), 0)) is None
    assert work.found() == ()


def test_without_a_head_there_is_nothing_to_tune() -> None:
    with pytest.raises(ValueError, match="tiny has no head"):
        Tuning(PLAIN_MODEL)
