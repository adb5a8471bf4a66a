"""The view of the engine: counts from facts, versions that stay valid, and what a cut leaves."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import pytest
from scipy.stats import binomtest

from engine.protocol import (
    Channel,
    CycleDone,
    DepthSet,
    Ended,
    ErrorInfo,
    Event,
    Finish,
    LoadCancelled,
    LoadFailed,
    LoadProgress,
    PrefillProgress,
    RequestDone,
    RequestFailed,
    TextRun,
)
from mtplx_tui.view import (
    KEPT,
    EngineState,
    EngineView,
    Log,
    RequestView,
    apply,
    engine_died,
    engine_starting,
    wilson_interval,
)
from tests.fakes import streams

CYCLE = streams.cycles_of(count=1)[0]


def view_of(*events: Event) -> EngineView:
    return reduce(apply, events, EngineView())


def judged(depth: int, accepted: int, ended: Ended) -> CycleDone:
    """Return a cycle that drafted to a depth."""
    return replace(CYCLE, depth=depth, accepted=accepted, ended=ended)


def newest(view: EngineView) -> RequestView:
    assert view.newest is not None
    return view.newest


class TestCounts:
    @pytest.mark.parametrize(
        ("depth", "accepted", "ended", "reached_at", "accepted_at"),
        [
            (0, 0, Ended.PLAIN, [0, 0, 0, 0], [0, 0, 0, 0]),
            (3, 0, Ended.RESIDUAL, [1, 0, 0, 0], [0, 0, 0, 0]),
            (3, 2, Ended.RESIDUAL, [1, 1, 1, 0], [1, 1, 0, 0]),
            (3, 3, Ended.BONUS, [1, 1, 1, 0], [1, 1, 1, 0]),
            (3, 1, Ended.STOP, [1, 1, 0, 0], [1, 0, 0, 0]),
        ],
    )
    def test_a_draft_behind_a_rejected_one_was_not_reached(
        self,
        depth: int,
        accepted: int,
        ended: Ended,
        reached_at: list[int],
        accepted_at: list[int],
    ) -> None:
        request = newest(view_of(streams.started(), judged(depth, accepted, ended)))
        assert list(request.reached_at[:4]) == reached_at
        assert list(request.accepted_at[:4]) == accepted_at

    def test_counts_of_an_answer_are_those_of_its_cycles(self) -> None:
        cycles = streams.cycles_of(count=200)
        request = newest(view_of(streams.started(), *cycles))
        for depth in range(1, 9):
            reached = sum(c.depth >= depth and c.accepted >= depth - 1 for c in cycles)
            assert request.reached_at[depth - 1] == reached
            assert request.accepted_at[depth - 1] == sum(c.accepted >= depth for c in cycles)
        assert request.emitted == sum(len(c.emitted) for c in cycles)

    def test_rates_are_made_of_tokens_and_seconds(self) -> None:
        request = newest(view_of(streams.started()))
        assert request.tokens_per_s is None
        assert request.tokens_per_cycle is None
        first = replace(CYCLE, emitted=(1, 2, 3), total_s=0.03)
        second = replace(CYCLE, emitted=(4,), total_s=0.01)
        request = newest(view_of(streams.started(), first, second))
        assert request.tokens_per_s == pytest.approx(100)
        assert request.tokens_per_cycle == 2

    def test_text_is_kept_by_channel_to_the_last_held_back_piece(self) -> None:
        thought = replace(CYCLE, runs=(TextRun(Channel.REASONING, "hm"),))
        said = replace(CYCLE, runs=(TextRun(Channel.ANSWER, "a"), TextRun(Channel.ANSWER, "b")))
        tail = RequestDone("r1", Finish.STOP, 2, 0, 0, 0, (TextRun(Channel.ANSWER, "c"),))
        request = newest(view_of(streams.started(), thought, said, tail))
        assert (request.reasoning, request.answer) == ("hm", "abc")


class TestInterval:
    @pytest.mark.parametrize(
        ("accepted", "reached"), [(0, 1), (1, 1), (0, 7), (3, 7), (7, 7), (49, 55), (500, 1000)]
    )
    def test_it_is_wilsons(self, accepted: int, reached: int) -> None:
        known = binomtest(accepted, reached).proportion_ci(0.95, method="wilson")
        assert wilson_interval(accepted, reached, z=1.959963984540054) == pytest.approx(
            (known.low, known.high), abs=1e-12
        )
        assert wilson_interval(accepted, reached) == pytest.approx(
            (known.low, known.high), abs=1e-4
        )

    def test_before_anything_was_judged_all_is_possible(self) -> None:
        assert wilson_interval(0, 0) == (0, 1)


class TestRequests:
    def test_a_recorded_stream_gives_the_same_view_again(self) -> None:
        one, other = (newest(view_of(*streams.recorded())) for _ in range(2))
        assert list(one.cycles) == list(other.cycles)
        assert list(one.events) == list(other.events) == streams.answer()
        assert replace(one, cycles=other.cycles, events=other.events) == other

    def test_an_older_view_stays_what_it_was(self) -> None:
        events = streams.recorded()
        older = view_of(*events[:30])
        count, last = len(newest(older).cycles), newest(older).cycles[-1]
        newer = reduce(apply, events[30:], older)
        assert len(newest(newer).cycles) > count
        assert len(newest(older).cycles) == count
        assert newest(older).cycles[-1] is last

    def test_depth_and_prompt_are_followed(self) -> None:
        view = view_of(streams.started(depth=3), PrefillProgress("r1", 20, 40), DepthSet("r1", 6))
        assert (newest(view).depth, newest(view).prefilled) == (6, 20)

    def test_only_the_newest_are_kept(self) -> None:
        view = view_of(*(streams.started(f"r{number}") for number in range(KEPT + 3)))
        assert [r.request for r in view.requests] == [f"r{n}" for n in range(3, KEPT + 3)]

    def test_two_in_flight_are_counted_apart(self) -> None:
        events = [streams.started("a"), streams.started("b")]
        pairs = zip(streams.cycles_of("a", 9), streams.cycles_of("b", 9, seed=8), strict=True)
        view = view_of(*events, *(cycle for pair in pairs for cycle in pair))
        for name, seed in (("a", 3), ("b", 8)):
            request = view.request(name)
            assert request is not None
            assert list(request.cycles) == streams.cycles_of(name, 9, seed=seed)

    def test_a_dead_engine_cuts_what_was_running_and_nothing_else(self) -> None:
        view = view_of(*streams.loading(), *streams.answer("done"), streams.started("open"), CYCLE)
        view = engine_died(view, ErrorInfo("gone", ""))
        assert [(r.request, r.was_cut) for r in view.requests] == [
            ("done", False),
            ("open", True),
            ("r1", True),
        ]
        assert view.state is EngineState.DEAD
        assert not any(r.is_running for r in view.requests)
        assert [r.was_cut for r in engine_starting(view).requests] == [False, True, True]

    def test_a_failed_request_runs_no_more(self) -> None:
        view = view_of(
            *streams.loading(), streams.started(), RequestFailed("r1", ErrorInfo("no", ""))
        )
        assert not newest(view).is_running
        assert view.state is EngineState.READY


class TestState:
    def test_it_follows_the_events(self) -> None:
        view, seen = EngineView(), []
        for event in streams.recorded():
            view = apply(view, event)
            if not seen or seen[-1] is not view.state:
                seen.append(view.state)
        assert seen == [
            EngineState.EMPTY,
            EngineState.LOADING,
            EngineState.READY,
            EngineState.GENERATING,
            EngineState.READY,
        ]

    @pytest.mark.parametrize(
        "ending", [LoadFailed("l", ErrorInfo("bad file", "")), LoadCancelled("l")]
    )
    def test_a_load_that_came_to_nothing_leaves_no_model(self, ending: Event) -> None:
        view = view_of(*streams.loading(), LoadProgress("l", "reading", 1, 2), ending)
        assert view.state is EngineState.EMPTY
        assert view.model is None
        assert (view.error is None) == isinstance(ending, LoadCancelled)


class TestLog:
    def test_versions_share_one_list(self) -> None:
        log = Log[int]()
        versions = [log := log.appended(number) for number in range(100)]
        assert [len(version) for version in versions] == list(range(1, 101))
        assert len({id(version._items) for version in versions}) == 1

    def test_two_ways_on_from_one_version_know_nothing_of_each_other(self) -> None:
        base = Log[int]().appended(1)
        one, other = base.appended(2), base.appended(3)
        assert (list(base), list(one), list(other)) == ([1], [1, 2], [1, 3])
        assert list(one.appended(4)) == [1, 2, 4]
        assert list(other) == [1, 3]

    def test_an_index_beyond_a_version_is_an_error_though_a_newer_one_has_it(self) -> None:
        older = Log[int]().appended(1)
        newer = older.appended(2)
        assert (newer[1], newer[-1], older[-1]) == (2, 2, 1)
        for index in (1, -2):
            with pytest.raises(IndexError):
                older[index]

    def test_since_ends_where_the_version_ends(self) -> None:
        older = Log[int]().appended(1).appended(2)
        older.appended(3)
        assert older.since(1) == [2]
