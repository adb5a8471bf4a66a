"""Which requests come next, and what came of them; no engine anywhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.protocol import ErrorInfo, Finish, RequestFailed
from mtplx_tui.bench.suite import Plan, Sweep, SweepBroken, about
from tests.bench.streams import answered, cycle, done, in_turn, started
from tests.fakes.streams import MODEL

PLAN = Plan(kinds=("chat", "code"), depths=(0, 2, None), prompts=3, max_tokens=20)


def test_depths_answer_each_prompt_side_by_side_and_move_on_in_turn() -> None:
    sweep = Sweep(MODEL, PLAN, "bench-1 ")
    orders, texts = [], set()
    while commands := sweep.next():
        assert sweep.next() == []
        assert all(command.request.startswith("bench-1 ") for command in commands)
        assert len({(c.messages, c.seed, c.max_tokens) for c in commands}) == 1
        orders.append(tuple(command.depth for command in commands))
        texts.add(commands[0].messages)
        assert [sweep.take(event) for event in answered(commands)].count(True) == 1
    assert orders == [(0, 2, None), (2, None, 0), (None, 0, 2)] * 2
    assert len(texts) == sweep.prompts == sweep.done == 6
    assert sweep.share == 1
    assert len(sweep.answers) == 18


def test_an_answer_is_what_its_cycles_were() -> None:
    sweep = Sweep(MODEL, replace(PLAN, kinds=("chat",), prompts=1))
    commands = sweep.next()
    for event in answered(commands, cycles=4):
        sweep.take(event)
    deep = next(answer for answer in sweep.answers if answer.depth == 2)
    cycles = [cycle(commands[1], number) for number in range(4)]
    assert (deep.tokens, deep.cycles) == (6, 4)
    assert deep.seconds == pytest.approx(sum(each.total_s for each in cycles))
    assert deep.draft_s == pytest.approx(sum(each.draft_s for each in cycles))
    assert deep.reached_at[:3] == (4, 2, 0)
    assert deep.accepted_at[:2] == (2, 0)


def test_a_prompt_at_hand_counts_once_every_depth_has_begun() -> None:
    sweep = Sweep(MODEL, PLAN)
    commands = sweep.next()
    for command in commands:
        sweep.take(started(command))
    for command in commands[:2]:
        sweep.take(cycle(command, 0))
    assert sweep.so_far() == []
    sweep.take(cycle(commands[2], 0))
    assert [answer.depth for answer in sweep.so_far()] == [0, 2, None]
    assert sweep.answers == []
    assert 0 < sweep.share < 1 / 6


def test_other_requests_are_not_the_sweeps() -> None:
    sweep = Sweep(MODEL, PLAN, "bench-1 ")
    other = replace(sweep.next()[0], request="chat")
    assert not any(sweep.take(event) for event in answered([other]))
    assert sweep.share == 0
    assert sweep.so_far() == []


def test_more_depths_than_a_view_holds_requests_are_no_trouble() -> None:
    sweep = Sweep(MODEL, Plan(depths=(*range(9), None), prompts=2))
    while commands := sweep.next():
        for event in answered(commands):
            sweep.take(event)
    assert len(sweep.answers) == 20


def test_without_a_head_plain_decoding_alone_is_measured() -> None:
    sweep = Sweep(replace(MODEL, head=None), PLAN)
    assert [command.depth for command in sweep.next()] == [0]


def test_a_cancelled_answer_is_no_measurement() -> None:
    sweep = Sweep(MODEL, PLAN)
    commands = sweep.next()
    for event in in_turn(commands, 3):
        sweep.take(event)
    with pytest.raises(SweepBroken, match="ended"):
        sweep.take(done(commands[0], Finish.CANCELLED))
    assert sweep.answers == []


def test_a_failed_answer_says_why() -> None:
    sweep = Sweep(MODEL, PLAN)
    name = sweep.next()[0].request
    with pytest.raises(SweepBroken, match="out of memory"):
        sweep.take(RequestFailed(name, ErrorInfo("out of memory", "")))


def test_a_result_tells_what_it_was_measured_on() -> None:
    told = about(MODEL, PLAN, None)
    assert told["model"] == "demo"
    assert told["max_tokens"] == 20
    assert isinstance(told["machine"], dict)
