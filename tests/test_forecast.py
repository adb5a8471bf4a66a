"""What each depth would give and what was saved: against made-up machines whose truth is known."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import reduce

import pytest
from scipy.stats import t as students

from engine.protocol import MAX_DEPTH, CycleDone, Ended
from mtplx_tui.forecast import LEAST_CYCLES, Quantity, forecasts, saving, student
from mtplx_tui.view import DepthSums, EngineView, RequestView, apply
from tests.fakes import streams

SHAPE = streams.cycles_of(count=1)[0]
SHARES = (0.85, 0.7, 0.6, 0.5, 0.45, 0.4, 0.35, 0.3)
PLAIN_S, DRAFT_S, ROW_S = 0.010, 0.0012, 0.0008
NOISE = 0.05


def time_of(depth: int) -> float:
    """Return the true seconds of a cycle."""
    return PLAIN_S + depth * (DRAFT_S + ROW_S)


def tokens_of(depth: int) -> float:
    """Return the true tokens a cycle."""
    total, run = 1.0, 1.0
    for share in SHARES[:depth]:
        run *= share
        total += run
    return total


def made(number: int, depth: int, chance: random.Random, slower: float = 1.0) -> CycleDone:
    """Return a cycle of the made-up machine; `slower` is how much more drafting costs."""
    accepted = 0
    while accepted < depth and chance.random() < SHARES[accepted]:
        accepted += 1
    total = time_of(depth) * chance.gauss(1, NOISE) * (slower if depth else 1.0)
    return replace(
        SHAPE,
        cycle=number,
        depth=depth,
        accepted=accepted,
        emitted=tuple(range(accepted + 1)),
        ended=Ended.BONUS,
        draft_s=depth * DRAFT_S,
        verify_s=PLAIN_S + depth * ROW_S,
        total_s=total,
    )


def request_of(cycles: list[CycleDone]) -> RequestView:
    view = reduce(apply, [streams.started(), *cycles], EngineView())
    assert view.newest is not None
    return view.newest


def answer(counts: dict[int, int], seed: int = 1, slower: float = 1.0) -> RequestView:
    """Return the sums of so many cycles of each depth, as the view would make them."""
    chance = random.Random(seed)
    sums = [DepthSums()] * (MAX_DEPTH + 1)
    reached, accepted = [0] * MAX_DEPTH, [0] * MAX_DEPTH
    for depth, count in counts.items():
        for at in range(count):
            cycle = made(at, depth, chance, slower)
            sums[depth] = sums[depth].and_one(cycle)
            for place in range(depth):
                reached[place] += place <= cycle.accepted
                accepted[place] += place < cycle.accepted
    return RequestView(
        "r", at_depth=tuple(sums), reached_at=tuple(reached), accepted_at=tuple(accepted)
    )


def holds(quantity: Quantity, truth: float) -> bool:
    return quantity.low <= truth <= quantity.high


class TestForecast:
    def test_the_sums_are_those_of_the_cycles(self) -> None:
        chance = random.Random(1)
        depths = [0] * 5 + [2] * 9 + [8] * 4
        request = request_of([made(at, depth, chance) for at, depth in enumerate(depths)])
        same = answer({0: 5, 2: 9, 8: 4})
        assert (request.reached_at, request.accepted_at) == (same.reached_at, same.accepted_at)
        for depth in range(MAX_DEPTH + 1):
            own = [cycle for cycle in request.cycles if cycle.depth == depth]
            sums = request.at_depth[depth]
            assert sums.cycles == len(own)
            assert sums.tokens == sum(len(cycle.emitted) for cycle in own)
            assert sums.total_s == pytest.approx(sum(cycle.total_s for cycle in own))
            assert sums.total_s2 == pytest.approx(sum(cycle.total_s**2 for cycle in own))

    def test_with_every_depth_measured_it_finds_the_truth(self) -> None:
        request = answer(dict.fromkeys(range(MAX_DEPTH + 1), 1_000))
        for each in forecasts(request):
            truth = tokens_of(each.depth) / time_of(each.depth)
            assert each.tokens_per_s.is_measured
            assert each.tokens_per_s.value == pytest.approx(truth, rel=0.03)
            assert each.measured_tokens_per_s == pytest.approx(truth, rel=0.06)
            assert each.cycles == 1_000

    def test_the_interval_holds_the_truth_as_often_as_it_says(self) -> None:
        depths = (0, 1, 3, 5)
        hits = dict.fromkeys(depths, 0)
        runs = 300
        for seed in range(runs):
            known = forecasts(answer({0: 12, 1: 20, 3: 40, 5: 40}, seed))
            for depth in depths:
                truth = tokens_of(depth) / time_of(depth)
                hits[depth] += holds(known[depth].tokens_per_s, truth)
        for depth in depths:
            assert 0.90 <= hits[depth] / runs <= 1.0, (depth, hits)
        widths = [
            (own.high - own.low) / own.value
            for own in (forecasts(answer({0: 12, 3: n}))[3].tokens_per_s for n in (20, 2_000))
        ]
        assert widths[1] < widths[0] / 3

    def test_what_was_not_measured_is_an_estimate_whose_bounds_hold_the_truth(self) -> None:
        for counts in ({0: 40, 3: 400}, {3: 400}, {2: 200, 6: 400}, {8: 400}, {0: 9, 1: 400}):
            known = forecasts(answer(counts))
            assert len(known) == MAX_DEPTH + 1
            for each in known:
                own = each.tokens_per_s
                is_judged = each.depth <= max(counts)
                assert own.is_measured == (each.depth in counts and is_judged), counts
                truth = tokens_of(each.depth) / time_of(each.depth)
                assert own.is_measured or holds(own, truth), (counts, each)
                assert (each.measured_tokens_per_s is None) == (each.depth not in counts)

    def test_an_estimate_is_never_surer_than_what_it_comes_from(self) -> None:
        known = [each.tokens_per_s for each in forecasts(answer({3: 400}))]
        widths = [own.high / own.low for own in known]
        assert widths[3] == min(widths)
        assert widths[4:] == sorted(widths[4:])

    def test_few_cycles_of_a_depth_are_no_measurement(self) -> None:
        request = answer({3: 60, 5: LEAST_CYCLES - 1})
        assert forecasts(request)[3].tokens_per_s.is_measured
        assert not forecasts(request)[5].tokens_per_s.is_measured

    def test_plain_decoding_alone_says_nothing_of_drafting(self) -> None:
        (only,) = forecasts(answer({0: 50}))
        assert only.depth == 0
        assert only.tokens_per_s.value == pytest.approx(1 / PLAIN_S, rel=0.05)

    def test_before_anything_is_measured_there_is_nothing(self) -> None:
        assert forecasts(RequestView("r")) == ()
        assert forecasts(answer({3: LEAST_CYCLES - 1})) == ()

    def test_clocks_that_stand_still_break_nothing(self) -> None:
        frozen = replace(SHAPE, total_s=0.0, draft_s=0.0, verify_s=0.0)
        assert forecasts(request_of([frozen] * 9)) == ()


class TestSaving:
    def test_it_is_tokens_at_plain_pace_less_the_seconds_taken(self) -> None:
        plain = [replace(SHAPE, depth=0, emitted=(1,), total_s=s) for s in (0.010, 0.011, 0.012)]
        drafted = [replace(SHAPE, depth=3, emitted=(1, 2, 3), total_s=0.020)] * 4
        found = saving(request_of([*plain, *drafted]))
        assert found is not None
        assert found.seconds == pytest.approx(12 * 0.011 - 0.080)
        assert found.doubt_s == pytest.approx(
            12 * students.ppf(0.975, 2) * 0.001 / 3**0.5, rel=0.01
        )

    @pytest.mark.parametrize("slower", [1.0, 2.5])
    def test_the_interval_holds_the_truth_as_often_as_it_says(self, slower: float) -> None:
        runs, hits, signs = 400, 0, 0
        for seed in range(runs):
            request = answer({0: 8, 3: 150}, seed, slower)
            found = saving(request)
            assert found is not None
            drafted = request.at_depth[3]
            truth = drafted.tokens * PLAIN_S - drafted.total_s
            hits += abs(found.seconds - truth) <= found.doubt_s
            signs += (found.seconds > 0) == (truth > 0)
        assert 0.925 <= hits / runs <= 0.975
        assert signs == runs

    def test_where_drafting_cost_time_it_is_negative(self) -> None:
        found = saving(answer({0: 20, 3: 100}, slower=2.5))
        assert found is not None
        assert found.seconds + found.doubt_s < 0

    @pytest.mark.parametrize(
        "counts", [{3: 100}, {0: LEAST_CYCLES - 1, 3: 100}, {0: 100}, {}], ids=str
    )
    def test_without_plain_cycles_between_it_is_not_measured(self, counts: dict[int, int]) -> None:
        assert saving(answer(counts) if counts else RequestView("r")) is None

    @pytest.mark.parametrize("freedom", [2, 3, 5, 10, 30, 200, 5_000])
    def test_the_quantile_is_students(self, freedom: int) -> None:
        assert student(freedom) == pytest.approx(students.ppf(0.975, freedom), rel=0.01)

    def test_sums_of_nothing_are_zero(self) -> None:
        assert RequestView("r").at_depth == (DepthSums(),) * (MAX_DEPTH + 1)
