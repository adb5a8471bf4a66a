"""The depth policy where what it was told of costs is wrong, as when a busy machine was measured.

Each depth's cost is off by a factor of its own, from 0.6 to 1.6. The loss is what cycles take, by
their true cost, beyond what the same tokens take at the depth that is truly best.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence

import pytest

from engine.protocol import MAX_DEPTH
from engine.speculation.costs import CycleCosts
from engine.speculation.depth import DepthPolicy, DepthProfile

COSTS = {
    "the demo": [1, 1.17, 1.25, 1.33, 1.42, 1.5, 1.58, 1.66, 1.75],
    "steps": [1, 1.05, 1.1, 1.15, 1.6, 1.65, 1.7, 1.75, 2.2],
    "many experts": [1, 1.5, 1.9, 2.2, 2.5, 2.8, 3.1, 3.4, 3.7],
}
ACCEPTED = {
    "the demo's": [0.56, 0.54, 0.52, 0.5, 0.5, 0.5, 0.5, 0.5],
    "falling": [0.84, 0.7, 0.6, 0.5, 0.45, 0.4, 0.4, 0.4],
    "low": [0.3] * 8,
    "nearly none": [0.02] * 8,
}
WRONG = (math.log(0.6), math.log(1.6))
SEEDS = 24
SURE = (0.07,) * (MAX_DEPTH + 1)
Load = Callable[[random.Random], Iterator[float]]


def calm(_: random.Random) -> Iterator[float]:
    """Nothing else runs."""
    return itertools.repeat(1.0)


def busy(numbers: random.Random) -> Iterator[float]:
    """Others take the machine's time for a while, again and again."""
    while True:
        yield from itertools.repeat(1.0, int(numbers.expovariate(1 / 50)))
        yield from itertools.repeat(numbers.uniform(1.2, 2.2), numbers.randrange(1, 25))


def wrong(curve: Sequence[float], numbers: random.Random) -> tuple[float, ...]:
    """Return ratios as a measurement of each depth by itself would have them on a bad day."""
    seen = [cost * math.exp(numbers.uniform(*WRONG)) for cost in curve]
    return tuple(cost / seen[0] for cost in seen)


def emitted(shares: Sequence[float]) -> list[float]:
    """Return the tokens a cycle truly gives, by depth."""
    return [*itertools.accumulate(math.prod(shares[:depth]) for depth in range(MAX_DEPTH + 1))]


def chosen(
    policy: DepthPolicy,
    curve: Sequence[float],
    shares: Sequence[float],
    numbers: random.Random,
    load: Load = calm,
) -> Iterator[tuple[int, int]]:
    """Run cycles; the clock has 5 % noise. Gives each one's depth and tokens."""
    for slowness in load(numbers):
        depth = policy.depth
        passed = itertools.takewhile(lambda share: numbers.random() < share, shares[:depth])
        accepted = sum(1 for _ in passed)
        seconds = 0.06 * curve[depth] * slowness * math.exp(numbers.gauss(0, 0.05))
        policy.learn(depth, accepted, accepted + 1, seconds)
        yield depth, accepted + 1


def loss(curve: Sequence[float], shares: Sequence[float], load: Load, window: slice) -> float:
    """Return the loss over some cycles of a request, all seeds together."""
    tokens = emitted(shares)
    best = max(each / cost for each, cost in zip(tokens, curve, strict=True))
    taken = needed = 0.0
    for seed in range(SEEDS):
        numbers = random.Random(seed)
        policy = DepthPolicy(DepthProfile(wrong(curve, numbers)))
        run = itertools.islice(chosen(policy, curve, shares, numbers, load), window.stop)
        for depth in [depth for depth, _ in run][window]:
            taken += curve[depth]
            needed += tokens[depth] / best
    return 1 - needed / taken


@pytest.mark.parametrize("accepted", ACCEPTED)
@pytest.mark.parametrize("costs", COSTS)
def test_wrong_costs_are_unlearnt_within_40_cycles(costs: str, accepted: str) -> None:
    assert loss(COSTS[costs], ACCEPTED[accepted], calm, slice(40, 100)) < 0.05


@pytest.mark.parametrize("costs", COSTS)
def test_wrong_costs_are_unlearnt_on_a_busy_machine_too(costs: str) -> None:
    assert loss(COSTS[costs], ACCEPTED["the demo's"], busy, slice(60, 160)) < 0.07


@pytest.mark.parametrize("accepted", ["low", "nearly none"])
@pytest.mark.parametrize("costs", COSTS)
def test_200_tokens_are_never_much_slower_than_plain_decoding(costs: str, accepted: str) -> None:
    """Acceptance is known and low: wrong costs make no depth look good for long."""
    curve, shares = COSTS[costs], ACCEPTED[accepted]
    speeds = sorted(_speed(curve, shares, seed) for seed in range(SEEDS))
    assert sum(speeds) / SEEDS > 0.97
    assert speeds[0] > 0.94


def _speed(curve: Sequence[float], shares: Sequence[float], seed: int) -> float:
    """Return 200 tokens' speed against plain decoding's."""
    numbers = random.Random(seed)
    policy = DepthPolicy(DepthProfile(wrong(curve, numbers), tuple(shares)))
    tokens, seconds = 0, 0.0
    for depth, count in chosen(policy, curve, shares, numbers):
        tokens += count
        seconds += curve[depth]
        if tokens >= 200:
            break
    return tokens / seconds


@pytest.mark.parametrize("accepted", ["low", "nearly none"])
def test_where_costs_are_known_200_tokens_keep_98_percent_of_plain_decoding(accepted: str) -> None:
    curve, shares = COSTS["many experts"], ACCEPTED[accepted]
    for seed in range(SEEDS):
        numbers = random.Random(seed)
        policy = DepthPolicy(DepthProfile(tuple(curve), tuple(shares), SURE))
        run = list(itertools.islice(chosen(policy, curve, shares, numbers), 200))
        tokens = sum(count for _, count in run)
        assert tokens / sum(curve[depth] for depth, _ in run) > 0.98


def test_a_spike_that_hits_all_depths_alike_changes_no_ranking() -> None:
    curve = COSTS["the demo"]
    costs = CycleCosts(curve, SURE)
    walk = [0, 1, 2, 3, 4, 3, 2, 1] * 20
    for index, depth in enumerate(walk):
        costs.learn(depth, 0.06 * curve[depth] * (2.5 if 60 <= index < 90 else 1.0))
        assert costs.ratios() == pytest.approx(curve, rel=0.1)
        assert sorted(range(5), key=costs.at) == [0, 1, 2, 3, 4]


def test_one_look_corrects_a_depth_and_its_neighbours_follow() -> None:
    """What was measured at load says each draft is dear; depth 3 is seen to be nearly free."""
    costs = CycleCosts(COSTS["many experts"])
    before = costs.ratios()
    for depth in (0, 3, 0):
        costs.learn(depth, 0.06 * COSTS["steps"][depth])
    after = costs.ratios()
    assert after[3] == pytest.approx(1.15, rel=0.15)
    assert all(new < old for new, old in zip(after[2:5], before[2:5], strict=True))


def test_a_jump_of_one_depth_is_believed_when_it_shows_again() -> None:
    costs = CycleCosts(COSTS["steps"], SURE)
    for _ in range(40):
        costs.learn(3, 0.06 * 1.15)
    calm_cost = costs.at(3)
    costs.learn(3, 10 * calm_cost)
    assert costs.at(3) == pytest.approx(calm_cost)
    costs.learn(3, 10 * calm_cost)
    assert costs.at(3) > 1.05 * calm_cost
