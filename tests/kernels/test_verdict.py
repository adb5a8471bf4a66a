"""The kernel of verdicts against the rules, and the law it keeps."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from engine.protocol import Sampling
from engine.speculation import on_device
from engine.speculation.acceptance import Verdict, block_rule, residual, token_rule
from engine.speculation.sampling import draw, target_distribution
from kernels.drawing import chunk_sums
from kernels.verdict import MOST_DEPTH, Judged
from tests.fakes import emulated_acceptance as emulated
from tests.fakes.emulation import needs_compiler

pytestmark = needs_compiler

RULES = {"token": token_rule, "block": block_rule}
LAST = 1 - 2**-24
LAWS = [Sampling(1.0, 1.0, 0), Sampling(1.0, 0.95, 20), Sampling(0, 1, 0)]


def window(
    rng: np.random.Generator, size: int, depth: int, sampling: Sampling
) -> tuple[mx.array, mx.array, mx.array]:
    """Return target rows, draft rows and drafted tokens."""
    logits = rng.normal(0, 2, (depth + 1, size)).astype(np.float32)
    own = logits[:depth] + rng.normal(0, 0.7, (depth, size)).astype(np.float32)
    target, draft = (target_distribution(mx.array(rows), sampling) for rows in (logits, own))
    uniform = mx.array(rng.random(depth).astype(np.float32))
    return target, draft, draw(draft, uniform) if depth else mx.zeros((0,), mx.uint32)


def by_kernel(
    rule: str, target: mx.array, draft: mx.array, drafted: mx.array, noise: mx.array
) -> Judged:
    pair = (draft, drafted) if drafted.shape[0] else None
    is_block = rule == "block"
    return emulated.judged((target, chunk_sums(target)), pair, noise, is_block=is_block)


def by_rule(
    rule: str, target: mx.array, draft: mx.array, drafted: mx.array, noise: mx.array
) -> Verdict:
    depth = drafted.shape[0]
    return RULES[rule](target, draft, drafted, noise[:depth], noise[depth:])


def assert_alike(mine: Judged, right: Verdict, noise: mx.array) -> None:
    """Tokens may part where a sum's rounding decides; there both are next to each other."""
    depth = noise.shape[0] // 2
    accepted, token = np.array(mine.outcome).tolist()
    assert accepted == right.accepted.item()
    assert right.next_probs is not None
    probs = np.array(right.next_probs, np.float64)
    probs /= probs.sum()
    past, uniform = np.cumsum(probs), noise[depth + accepted].item()
    assert probs[token] > 0
    assert past[token] > uniform - 1e-5
    assert past[token] - probs[token] < uniform + 1e-5
    if right.chances is not None:
        wanted = mx.concatenate([right.chances.reach, right.chances.stop])
        assert mx.allclose(mine.numbers, wanted, 0, 1e-5)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("size", [4, 37, 1_500])
def test_verdicts_are_the_rules(rule: str, size: int) -> None:
    rng = np.random.default_rng(size)
    for trial in range(90):
        depth = trial % (MOST_DEPTH + 1)
        if rule == "block" and depth == 0:
            continue
        rows = window(rng, size, depth, LAWS[trial % len(LAWS)])
        numbers = rng.choice([0.0, LAST, *rng.random(4)], 2 * depth + 1, p=[0.1, 0.1] + [0.2] * 4)
        noise = mx.array(numbers.astype(np.float32))
        assert_alike(by_kernel(rule, *rows, noise), by_rule(rule, *rows, noise), noise)


@pytest.mark.parametrize("rule", RULES)
def test_a_large_vocabulary(rule: str) -> None:
    rng = np.random.default_rng(9)
    for sampling in LAWS[:2]:
        rows = window(rng, 248_320, 2, sampling)
        noise = mx.array(rng.random(5).astype(np.float32))
        assert_alike(by_kernel(rule, *rows, noise), by_rule(rule, *rows, noise), noise)


def test_one_distribution_accepts_all_and_draws_from_the_last_row() -> None:
    rng = np.random.default_rng(10)
    for rule in RULES:
        target, _, _ = window(rng, 50, 3, LAWS[0])
        drafted = draw(target[:3], mx.array([0.1, 0.5, 0.9]))
        noise = mx.array([LAST, LAST, LAST, 0.5, 0.5, 0.5, 0.5])
        accepted, token = np.array(by_kernel(rule, target, target[:3], drafted, noise).outcome)
        assert accepted == 3
        assert token == draw(target[3:], mx.array([0.5])).item()


def test_an_excess_that_rounding_left_empty_is_the_target() -> None:
    """Told of a draft that is nowhere below the target: nothing but rounding leads there."""
    target = mx.array([[0.25, 0.75, 0.0], [0.0, 0.0, 1.0]])
    draft = mx.array([[0.25, 0.75, 0.5]])
    noise = mx.array([0.9, 0.3, 0.5])
    found = by_kernel("token", target, draft, mx.array([2], mx.uint32), noise)
    assert np.array(found.outcome).tolist() == [0, 1]


@pytest.mark.parametrize("accepted", range(4))
def test_the_next_token_follows_the_residual(accepted: int) -> None:
    """Over a fine net of uniform numbers, for every number of accepted drafts."""
    rng, net = np.random.default_rng(11), 400
    target, draft, drafted = window(rng, 6, 3, LAWS[0])
    accept = [0.0 if place < accepted else LAST for place in range(3)]
    draft = mx.array(np.array(draft))
    for place in range(3):  # a draft that is rejected with the last number has to be too likely
        likely = int(np.argmax(np.array(draft[place] - target[place])))
        drafted = mx.where(mx.arange(3) == place, likely, drafted).astype(mx.uint32)
    tokens = []
    for at in (np.arange(net) + 0.5) / net:
        noise = mx.array([*accept, *([float(at)] * 4)])
        outcome = np.array(by_kernel("token", target, draft, drafted, noise).outcome)
        assert outcome[0] == accepted
        tokens.append(outcome[1])
    row = target[accepted]
    wanted = np.array(row if accepted == 3 else residual(row, draft[accepted]))
    assert np.abs(np.bincount(tokens, minlength=6) / net - wanted).max() < 2 / net


def test_on_a_cpu_the_definition_runs() -> None:
    if mx.default_device() != mx.cpu:
        pytest.skip("there is a GPU")
    noise = mx.array([0.5])
    assert on_device.verdict(mx.ones((1, 1)), None, noise, is_block=False, is_told=False) is None


@pytest.mark.gpu
def test_the_kernel_runs_on_this_gpu() -> None:
    if mx.default_device() != mx.gpu:
        pytest.skip("MLX has no GPU here")
    assert on_device.verdict_note() == ""
