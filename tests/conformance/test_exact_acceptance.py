"""The rules integrated exactly over their uniform numbers, in float64: no sampling, no luck.

An acceptance is a step function of its uniform number. That the step is where it should be is
seen from both of its sides; what is emitted then follows by adding up.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pytest

from engine.speculation import acceptance

SIDE = 1e-13
"""How far from a step, relative to it, both of its sides are looked at."""


def in_float64(test: Callable[..., None]) -> Callable[..., None]:
    """Let a test compute on the CPU: no GPU has float64."""

    @functools.wraps(test)
    def run(*given: object, **named: object) -> None:
        with mx.stream(mx.cpu):
            test(*given, **named)

    return run


def rows(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    """Return [count, size] distributions, some with zeros."""
    made = rng.dirichlet(np.full(size, 0.7), count)
    made[rng.random(made.shape) < 0.15] = 0
    made[made.sum(1) == 0, 0] = 1
    return made / made.sum(1, keepdims=True)


def wide(values: np.ndarray) -> mx.array:
    return mx.array(values.astype(np.float64), mx.float64)


def residuals(target: np.ndarray, claimed: np.ndarray) -> np.ndarray:
    return np.array(mx.vmap(acceptance.residual)(wide(target), wide(claimed)))


def accepts(
    target: np.ndarray, claimed: np.ndarray, drafts: np.ndarray, uniform: np.ndarray
) -> np.ndarray:
    """Return whether the token rule accepts; rows [n, V], drafts and uniforms [n]."""
    windows = np.stack([target, target], axis=1)
    rule = mx.vmap(lambda *window: acceptance.token_rule(*window).accepted)
    return np.array(
        rule(
            wide(windows),
            wide(claimed[:, None]),
            mx.array(drafts[:, None].astype(np.uint32)),
            wide(uniform[:, None]),
            wide(np.full((len(drafts), 2), 0.5)),
        )
    ).astype(bool)


def token_rule_error(target: np.ndarray, drawn: np.ndarray, claimed: np.ndarray) -> float:
    """Return how far the law of the emitted token is from the target, at most over all rows."""
    count, size = target.shape
    excess = residuals(target, claimed)
    law = np.zeros_like(target)
    for token in range(size):
        drafts = np.full(count, token)
        with np.errstate(divide="ignore", invalid="ignore"):
            step = np.where(drawn[:, token] > 0, target[:, token] / claimed[:, token], 0.0)
        step = np.minimum(1, step)
        is_drawn = drawn[:, token] > 0
        below = accepts(target, claimed, drafts, np.maximum(0, step * (1 - SIDE)))
        above = accepts(target, claimed, drafts, np.minimum(1 - 2**-53, step * (1 + SIDE)))
        assert below[is_drawn & (step > 0)].all()
        assert not above[is_drawn & (step < 1 - SIDE)].any()
        law[:, token] += drawn[:, token] * step
        law += (drawn[:, token] * (1 - step))[:, None] * excess
    return float(np.abs(law - target).max())


@in_float64
def test_the_token_rule_is_exact_for_ten_thousand_pairs() -> None:
    rng = np.random.default_rng(5)
    for size in range(2, 13):
        target, drafts = rows(rng, 910, size), rows(rng, 910, size)
        drafts[:50] = target[:50]
        assert token_rule_error(target, drafts, drafts) < 1e-12


@in_float64
def test_half_precision_drafts_are_seen() -> None:
    """A claimed distribution rounded to bfloat16 is too small a fault for any sample to show."""
    rng = np.random.default_rng(6)
    target, drafts = rows(rng, 100, 8), rows(rng, 100, 8)
    rounded = np.array(mx.array(drafts, mx.float32).astype(mx.bfloat16).astype(mx.float32))
    assert token_rule_error(target, drafts, np.where(drafts > 0, rounded, 0.0)) > 1e-6


def block_rule_error(rng: np.random.Generator, size: int, depth: int) -> float:
    """Return how far the joint law of depth + 1 tokens is from the plain one, on random chains."""
    target, claimed = rows(rng, size + 1, size), rng.dirichlet(np.ones(size), size + 1)
    windows = np.array(list(itertools.product(range(size), repeat=depth)))
    contexts = np.concatenate([np.full((len(windows), 1), -1), windows], axis=1)
    targets, claims = wide(target[contexts]), wide(claimed[contexts[:, :-1]])
    drafted = mx.array(windows.astype(np.uint32))
    chances = mx.vmap(lambda *w: unpacked(acceptance.block_chances(*w)))(targets, claims, drafted)
    reach, stop = (np.array(part) for part in chances)
    assert_steps(targets, claims, drafted, stop)
    law = np.zeros((size,) * (depth + 1))
    for number, window in enumerate(windows):
        drawn = np.prod(claimed[contexts[number, :-1], window])
        for accepted in range(depth + 1):
            chance = drawn * run_chance(stop[number], accepted)
            context = contexts[number, accepted]
            row = target[context]
            if accepted < depth:
                row = np.array(
                    acceptance.residual(
                        wide(row), wide(claimed[context]), wide(reach[number, accepted])
                    )
                )
            add_plain(law, target, tuple(window[:accepted]), chance * row)
    plain = np.zeros_like(law)
    add_plain(plain, target, (), target[-1].copy())
    return float(np.abs(law - plain).max())


def unpacked(chances: acceptance.BlockChances) -> tuple[mx.array, mx.array]:
    return chances.reach, chances.stop


def run_chance(stop: np.ndarray, accepted: int) -> float:
    """Return the chance that the longest passing run is `accepted` long."""
    passing = stop[accepted - 1] if accepted else 1.0
    return float(passing * np.prod(1 - stop[accepted:]))


def add_plain(
    law: np.ndarray, target: np.ndarray, before: tuple[int, ...], row: np.ndarray
) -> None:
    """Add a next-token row behind a beginning, and what plain decoding makes of it."""
    for token, chance in enumerate(row):
        sequence = (*before, token)
        if len(sequence) == law.ndim:
            law[sequence] += chance
        elif chance:
            add_plain(law, target, sequence, chance * target[token])


def assert_steps(targets: mx.array, claims: mx.array, drafted: mx.array, stop: np.ndarray) -> None:
    """The rule accepts the longest run whose number is below its chance, on all sides."""
    rule = mx.vmap(lambda *window: acceptance.block_rule(*window).accepted)
    depth = stop.shape[1]
    following = wide(np.full((len(stop), depth + 1), 0.5))
    for sides in itertools.product((False, True), repeat=depth):
        is_below = np.array(sides) & (stop > 0) | (stop >= 1)
        uniform = np.where(is_below, stop * (1 - SIDE), np.minimum(1 - 2**-53, stop * (1 + SIDE)))
        wanted = (is_below * np.arange(1, depth + 1)).max(1)
        got = np.array(rule(targets, claims, drafted, wide(uniform), following))
        assert np.array_equal(got, wanted)


@pytest.mark.parametrize(("size", "depth"), [(2, 1), (3, 2), (4, 2), (2, 3), (3, 3), (2, 4)])
@in_float64
def test_the_block_rule_is_exact_on_random_chains(size: int, depth: int) -> None:
    rng = np.random.default_rng([7, size, depth])
    for _ in range(12):
        assert block_rule_error(rng, size, depth) < 1e-12
