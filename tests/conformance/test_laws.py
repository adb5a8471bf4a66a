"""The law at full size: text made with drafts has the very distribution of text made without.

Two million sequences a check, through the production functions of drafting and acceptance; the
fast set draws the first quarter of them, which sees biases of twice the size.
"""

from __future__ import annotations

import itertools

import mlx.core as mx
import numpy as np
import pytest

from engine.protocol import Sampling
from engine.speculation import acceptance
from engine.speculation.noise import gumbel
from engine.speculation.sampling import draw_with_gumbel
from tests.conformance.checks import check
from tests.conformance.toys import START, A, B, C, Toy, fit_counts
from tests.conformance.windows import (
    Process,
    Submitted,
    greedy,
    run,
    sure_ones,
    up_to_an_unlikely_one,
)

FULL = 2_000_000
sized = pytest.mark.parametrize("samples", [FULL // 4, pytest.param(FULL, marks=pytest.mark.slow)])
TOYS = {toy.name: toy for toy in (A, B, C)}
EXACT = Process()
STOPPING_TIMES: dict[str, Submitted] = {
    "while the head is sure": sure_ones,
    "up to an unlikely draft": up_to_an_unlikely_one,
}


@sized
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("toy", TOYS.values(), ids=TOYS)
def test_the_token_rule_keeps_the_law(
    toy: Toy, depth: int, samples: int, process: Process = EXACT
) -> None:
    check(
        f"token rule, toy {toy.name}, depth {depth}",
        lambda seed: run(toy, depth, samples, process=process, seed=seed).fit(toy),
    )


@sized
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("toy", TOYS.values(), ids=TOYS)
def test_the_block_rule_keeps_the_law(
    toy: Toy, depth: int, samples: int, process: Process = EXACT
) -> None:
    check(
        f"block rule, toy {toy.name}, depth {depth}",
        lambda seed: run(toy, depth, samples, rule="block_rule", process=process, seed=seed).fit(
            toy
        ),
    )


@sized
@pytest.mark.parametrize("submitted", STOPPING_TIMES)
@pytest.mark.parametrize("rule", ["token_rule", "block_rule"])
def test_a_depth_that_is_a_stopping_time_keeps_the_law(
    rule: str, submitted: str, samples: int, process: Process | None = None
) -> None:
    made = process or Process(submitted=STOPPING_TIMES[submitted])
    check(
        f"{rule}, toy A, submitted {submitted}",
        lambda seed: run(A, 3, samples, rule=rule, process=made, seed=seed).fit(A),
    )


KINDS = {
    "soft": EXACT,
    "top-k": Process(Sampling(1.0, 1.0, 3)),
    "top-p": Process(Sampling(1.0, 0.6, 0)),
    "hotter": Process(Sampling(1.6, 1.0, 0)),
    "colder": Process(Sampling(0.6, 1.0, 0)),
    "arg max, one-hot": greedy(EXACT),
    "drawn, one-hot": Process(claims_one_hot=True),
    "masked vocabulary": Process(masked=(1, 3)),
}


@sized
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_draft_keeps_the_law(
    kind: str, samples: int, process: Process | None = None
) -> None:
    made = process or KINDS[kind]
    check(
        f"token rule, toy A, depth 2, draft {kind}",
        lambda seed: run(A, 2, samples, process=made, seed=seed).fit(A),
    )


@sized
@pytest.mark.parametrize("kind", ["top-k", "colder", "arg max, one-hot"])
def test_the_block_rule_takes_every_kind_of_draft(kind: str, samples: int) -> None:
    check(
        f"block rule, toy C, depth 2, draft {kind}",
        lambda seed: run(C, 2, samples, rule="block_rule", process=KINDS[kind], seed=seed).fit(C),
    )


def expected_tokens(toy: Toy, depth: int, rule: str) -> float:
    """Return tokens of a first cycle: 1 + the sum of the chances that i drafts are accepted."""
    total = 1.0
    for length in range(1, depth + 1):
        for drafts in itertools.product(range(toy.vocabulary), repeat=length):
            drawn, reach, previous = 1.0, 1.0, START
            for token in drafts:
                ratio = toy.target[previous, token] / toy.draft[previous, token]
                reach = min(1, reach * ratio) if rule == "block_rule" else reach * min(1, ratio)
                drawn *= toy.draft[previous, token]
                previous = token
            total += drawn * reach
    return total


LENGTHS = [
    (B, 2, "block_rule", 2.2222),
    (B, 3, "block_rule", 2.6667),
    (A, 2, "block_rule", 2.4550),
    (C, 2, "block_rule", 2.4700),
    (B, 2, "token_rule", 2.1111),
    (B, 3, "token_rule", 2.4074),
    (C, 2, "token_rule", 2.4056),
]


@pytest.mark.parametrize(("toy", "depth", "rule", "published"), LENGTHS)
def test_cycles_are_as_long_as_they_should_be(
    toy: Toy, depth: int, rule: str, published: float, samples: int = FULL // 4
) -> None:
    wanted = expected_tokens(toy, depth, rule)
    assert abs(wanted - published) < 5e-5
    tokens = run(toy, depth, samples, rule=rule, seed=13).first_cycle
    assert abs(tokens.mean() - wanted) < 6 * tokens.std() / np.sqrt(samples)


def test_the_block_rule_is_the_token_rule_where_it_should_be() -> None:
    """At depth 1, and for one-hot drafts in the length of cycles."""
    one, other = (run(A, 1, 100_000, rule=r, seed=5) for r in ("token_rule", "block_rule"))
    assert np.array_equal(one.sequences, other.sequences)
    lengths = [
        run(A, 3, 1_000_000, rule=rule, process=greedy(EXACT), seed=5).first_cycle
        for rule in ("token_rule", "block_rule")
    ]
    spread = np.sqrt(sum(tokens.var() for tokens in lengths) / 1_000_000)
    assert abs(lengths[0].mean() - lengths[1].mean()) < 6 * spread


def test_the_first_token_keeps_its_law_with_gumbel_noise(
    samples: int = 1_000_000, is_noise_shared: bool = False
) -> None:
    """Draft and residual drawn as arg max of log-probability plus noise; depth 1, toy A."""
    target, claimed = mx.array(A.target[START], mx.float32), mx.array(A.draft[START], mx.float32)
    excess = acceptance.residual(target, claimed)

    def drawn(seed: int) -> np.ndarray:
        keys = mx.random.split(mx.random.key(seed), 3)
        noises = [mx.random.gumbel((samples, 4), key=key) for key in keys[:2]]
        uniform = mx.random.uniform(shape=(samples,), key=keys[2])
        draft = draw_with_gumbel(mx.broadcast_to(claimed, (samples, 4)), noises[0])
        passed = acceptance._passes(uniform, target[draft], claimed[draft])
        noise = noises[0] if is_noise_shared else noises[1]
        other = draw_with_gumbel(mx.broadcast_to(excess, (samples, 4)), noise)
        return np.bincount(np.array(mx.where(passed, draft, other)), minlength=4)

    check("Gumbel draws, toy A, first token", lambda s: fit_counts(drawn(s), A.target[START]))


def test_seeded_drafts_match_as_often_as_the_theory_says() -> None:
    """Of toy A's rows: at least (1 - TV) / (1 + TV), and the target's own draw is emitted."""
    noise = mx.stack([gumbel(9, place, 4) for place in range(20_000)])
    for row in range(5):
        target, draft = (mx.array(table[row][None], mx.float32) for table in (A.target, A.draft))
        drafted = draw_with_gumbel(mx.broadcast_to(draft, noise.shape), noise)
        drawn = draw_with_gumbel(mx.broadcast_to(target, noise.shape), noise)
        match = float(mx.mean(drawn == drafted))
        variation = float(np.abs(A.target[row] - A.draft[row]).sum() / 2)
        assert match > (1 - variation) / (1 + variation) - 6 * 0.5 / np.sqrt(20_000)


def test_the_comparison_never_accepts_what_the_target_excludes() -> None:
    target = mx.array([[0.0, 1.0], [0.5, 0.5]])
    drafts = mx.array([[1.0, 0.0]])
    for rule in (acceptance.token_rule, acceptance.block_rule):
        verdict = rule(target, drafts, mx.array([0], mx.uint32), mx.zeros((1,)), mx.zeros((2,)))
        assert int(verdict.accepted) == 0
        assert int(verdict.token) == 1


def test_equal_distributions_are_always_accepted() -> None:
    row = mx.array([[0.25, 0.25, 0.5]])
    target, drafts = mx.concatenate([row] * 4), mx.concatenate([row] * 3)
    nearly_one = mx.full((3,), 1 - 2**-24)
    for rule in (acceptance.token_rule, acceptance.block_rule):
        drafted = mx.array([2, 0, 1], mx.uint32)
        assert int(rule(target, drafts, drafted, nearly_one, mx.zeros((4,))).accepted) == 3
