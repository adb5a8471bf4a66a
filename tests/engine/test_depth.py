"""The depth policy on made-up models: costs with steps, acceptance that changes, noisy clocks."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from engine.protocol import MAX_DEPTH
from engine.speculation.costs import CycleCosts
from engine.speculation.depth import AcceptanceOdds, DepthPolicy, DepthProfile, next_depth

COSTS = {
    "a CPU": [1 + 0.1 * depth for depth in range(9)],
    "steps": [1, 1.05, 1.1, 1.15, 1.6, 1.65, 1.7, 1.75, 2.2],
    "many experts": [1, 1.5, 1.9, 2.2, 2.5, 2.8, 3.1, 3.4, 3.7],
    "cheap from 8 rows on": [1, 1.9, 2.5, 3.2, 3.9, 4.5, 5, 1.6, 1.7],
    "nearly free": [1 + 0.02 * depth for depth in range(9)],
}
ACCEPTED = {
    "falling": [0.84, 0.7, 0.6, 0.5, 0.45, 0.4, 0.4, 0.4],
    "middling": [0.6] * 8,
    "border": [0.45] * 8,
    "low": [0.3] * 8,
    "nearly none": [0.02] * 8,
    "high": [0.95] * 8,
}
SURE = (0.07,) * (MAX_DEPTH + 1)
"""Doubts of ratios that many answers have taught."""
Level = Callable[[int], float]


def known(costs: Sequence[float], accepted: Sequence[float] = ()) -> DepthProfile:
    """Return what answers have taught."""
    return DepthProfile(tuple(costs), tuple(accepted), SURE)


@dataclass
class Run:
    """What a policy did."""

    policy: DepthPolicy
    tokens: int = 0
    seconds: float = 0.0
    depths: list[int] = field(default_factory=list)
    settled: list[int] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds

    @property
    def switches(self) -> int:
        return sum(one != other for one, other in itertools.pairwise(self.settled))


def ran(
    policy: DepthPolicy,
    costs: Sequence[float],
    accepted: Sequence[float],
    tokens: int,
    *,
    seed: int = 0,
    level: Level = lambda _: 1.0,
) -> Run:
    """Run cycles of a model with these costs and this acceptance; the clock has 5 % noise."""
    random_numbers = random.Random(seed)
    run = Run(policy)
    while run.tokens < tokens:
        depth = policy.depth
        passed = itertools.takewhile(lambda p: random_numbers.random() < p, accepted[:depth])
        count = sum(1 for _ in passed)
        noise = math.exp(random_numbers.gauss(0, 0.05))
        seconds = 0.04 * costs[depth] * level(len(run.depths)) * noise
        policy.learn(depth, count, count + 1, seconds)
        run.tokens += count + 1
        run.seconds += seconds
        run.depths.append(depth)
        run.settled.append(policy.settled)
    return run


def rates(costs: Sequence[float], accepted: Sequence[float]) -> list[float]:
    """Return the true tokens a second of every depth."""
    emitted = [1 + sum(itertools.accumulate(accepted[:d], lambda a, b: a * b)) for d in range(9)]
    return [tokens / (0.04 * cost) for tokens, cost in zip(emitted, costs, strict=True)]


@pytest.mark.parametrize("accepted", ACCEPTED)
@pytest.mark.parametrize("costs", COSTS)
def test_it_stays_within_3_percent_of_the_best_depth(costs: str, accepted: str) -> None:
    curve, shares = COSTS[costs], ACCEPTED[accepted]
    best = max(rates(curve, shares))
    runs = [ran(DepthPolicy(known(curve)), curve, shares, 4000, seed=seed) for seed in range(3)]
    assert 1 - sum(run.rate for run in runs) / len(runs) / best < 0.03
    for run in runs:
        assert run.rate > 0.98 * rates(curve, shares)[0]
        assert run.switches < MAX_DEPTH + len(run.depths) / 50


@pytest.mark.parametrize("costs", ["a CPU", "steps", "many experts", "nearly free"])
@pytest.mark.parametrize("accepted", ACCEPTED)
def test_a_model_never_measured_is_learnt_on_the_way(costs: str, accepted: str) -> None:
    curve, shares = COSTS[costs], ACCEPTED[accepted]
    best = max(rates(curve, shares))
    runs = [ran(DepthPolicy(), curve, shares, 4000, seed=seed) for seed in range(3)]
    assert 1 - sum(run.rate for run in runs) / len(runs) / best < 0.04
    assert runs[0].depths[0] == 1


@pytest.mark.parametrize("costs", ["many experts", "cheap from 8 rows on", "a CPU"])
def test_probes_cost_at_most_a_hundredth_and_a_half_once_plain_decoding_is_best(
    costs: str,
) -> None:
    curve, shares = COSTS[costs], ACCEPTED["nearly none"]
    policy = DepthPolicy(DepthProfile(tuple(curve)))
    ran(policy, curve, shares, 300)
    assert policy.settled == 0
    run = ran(policy, curve, shares, 4000, seed=1)
    assert run.settled.count(0) > 0.97 * len(run.settled)
    assert run.seconds / (0.04 * run.tokens) < 1.015
    assert set(run.depths) != {0}


def test_a_text_that_turns_easy_is_noticed_while_nothing_is_drafted() -> None:
    curve = COSTS["a CPU"]
    policy = DepthPolicy(DepthProfile(tuple(curve)))
    ran(policy, curve, ACCEPTED["nearly none"], 400)
    assert policy.settled == 0
    run = ran(policy, curve, ACCEPTED["falling"], 1500, seed=1)
    assert run.settled[-1] in (2, 3, 4)


def test_a_text_that_turns_hard_ends_drafting() -> None:
    curve = COSTS["many experts"]
    policy = DepthPolicy(DepthProfile(tuple(curve)))
    assert ran(policy, curve, ACCEPTED["falling"], 400).settled[-1] > 0
    run = ran(policy, curve, ACCEPTED["low"], 600, seed=1)
    assert run.settled[-1] == 0


def test_a_machine_that_slows_down_changes_no_choice() -> None:
    curve, shares = COSTS["a CPU"], ACCEPTED["falling"]
    policy = DepthPolicy(known(curve, shares))
    run = ran(policy, curve, shares, 3000, level=lambda cycle: 1 + 2 * (cycle // 200 % 2))
    assert run.switches <= 8
    assert set(run.settled) <= {2, 3, 4, 5}


def test_single_hiccups_change_no_choice() -> None:
    curve, shares = COSTS["steps"], ACCEPTED["falling"]
    policy = DepthPolicy(known(curve, shares))
    run = ran(policy, curve, shares, 3000, level=lambda cycle: 10 if cycle % 37 == 0 else 1)
    assert run.settled.count(3) > 0.95 * len(run.settled)


@pytest.mark.parametrize("accepted", ["border", "middling"])
def test_trap_30_costs_that_grow_midway_are_noticed(accepted: str) -> None:
    """A context that became long: rows of a window that were nearly free are dear from now on."""
    before, after, shares = COSTS["nearly free"], COSTS["many experts"], ACCEPTED[accepted]
    policy = DepthPolicy(DepthProfile(tuple(before)))
    assert ran(policy, before, shares, 1000).settled[-1] >= 3
    ran(policy, after, shares, 600, seed=1)
    run = ran(policy, after, shares, 2000, seed=2)
    assert run.rate > 0.97 * rates(after, shares)[0] > 1.3 * rates(after, shares)[8]


def test_trap_30_costs_from_another_day_are_noticed() -> None:
    """A profile from another day: depth 1 is dear in it, but is not any more."""
    stale = tuple(COSTS["many experts"])
    run = ran(DepthPolicy(DepthProfile(stale)), COSTS["a CPU"], ACCEPTED["middling"], 4000)
    assert run.settled[-1] in (2, 3, 4)


def test_the_same_past_gives_the_same_choices() -> None:
    runs = [ran(DepthPolicy(), COSTS["a CPU"], ACCEPTED["border"], 500) for _ in range(2)]
    assert runs[0].depths == runs[1].depths


def test_a_catching_up_cycle_teaches_no_cost() -> None:
    policy = DepthPolicy(DepthProfile((1.0, 1.1) + (0.0,) * 7))
    policy.learn(0, 0, 1, 0.04)
    before = policy.profile().ratios
    policy.learn(1, 1, 2, 0.4, is_typical=False)
    assert policy.profile().ratios == before


def test_a_profile_starts_at_its_best_depth() -> None:
    assert DepthPolicy(known(COSTS["steps"], (0.6,) * 8)).depth == 3
    assert DepthPolicy(known(COSTS["steps"])).depth == 1
    assert DepthPolicy(DepthProfile(tuple(COSTS["many experts"]), (0.2,) * 8)).depth == 0


def test_what_a_request_learnt_warms_the_next() -> None:
    run = ran(DepthPolicy(), COSTS["a CPU"], ACCEPTED["falling"], 2000)
    profile = run.policy.profile()
    assert profile.ratios[0] == 1
    assert profile.ratios[3] == pytest.approx(1.3, rel=0.1)
    assert profile.accepted[0] == pytest.approx(0.84, abs=0.1)
    assert DepthPolicy(profile).depth in (2, 3, 4)


def test_drafts_behind_a_rejected_one_are_not_counted() -> None:
    odds = AcceptanceOdds((0.5,) * 8)
    for _ in range(500):
        odds.learn(3, 1)
    first, second, third, *_ = odds.shares()
    assert first > 0.95
    assert second < 0.05
    assert odds.weight(3) == odds.weight(8)
    assert third < 0.05


def test_tokens_expected_of_a_cycle_are_one_and_the_runs() -> None:
    odds = AcceptanceOdds((0.5, 0.25, 0.5))
    assert odds.all_emitted()[0] == 1
    assert odds.all_emitted()[3] == pytest.approx(1 + 0.5 + 0.125 + 0.0625)


def test_a_depth_never_seen_is_as_dear_as_its_neighbour() -> None:
    cheap, dear = CycleCosts((1.0, 1.1)), CycleCosts((1.0, 1.5))
    for costs in (cheap, dear):
        costs.learn(0, 2.0)
        assert costs.at(2) > costs.at(1)
    assert dear.at(2) > 1.1 * cheap.at(2)
    costs = dear
    assert [costs.is_measured(depth) for depth in (0, 1, 2)] == [True, True, False]


def test_a_clock_that_stands_still_teaches_nothing() -> None:
    costs = CycleCosts()
    costs.learn(0, 0.0)
    costs.learn(1, -1.0)
    assert costs.ratios() == (0.0,) * (MAX_DEPTH + 1)


def test_a_limit_shortens_a_depth() -> None:
    assert next_depth(5, 3, 100) == 2
    assert next_depth(5, 100, 1) == 0
    assert next_depth(5, 100, 100) == 5
