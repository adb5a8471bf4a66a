"""The kernel of distributions against an independent float64 reference, and its draws."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from engine.model.arrays import integers
from engine.protocol import Sampling
from engine.speculation import on_device
from engine.speculation.sampling import target_distribution
from kernels import distribution as kernel
from kernels.dispatch import backend_for
from kernels.distribution import Distribution
from kernels.drawing import chunk_sums
from tests.engine.test_sampling import reference
from tests.fakes import emulated_acceptance as emulated
from tests.fakes.emulation import needs_compiler

pytestmark = needs_compiler

LARGE = 248_320
LAST = 1 - 2**-24
"""The greatest uniform number."""


def made(
    logits: np.ndarray | mx.array,
    sampling: Sampling,
    uniform: mx.array | None = None,
    columns: mx.array | None = None,
) -> Distribution:
    return emulated.distribution(mx.array(logits), emulated.law_of(sampling), uniform, columns)


def wanted_of(logits: mx.array, sampling: Sampling) -> np.ndarray:
    return np.stack([reference(row, sampling) for row in np.array(logits.astype(mx.float32))])


def test_rows_equal_the_reference() -> None:
    rng = np.random.default_rng(3)
    for trial in range(240):
        size = int(rng.integers(2, 300))
        dtype = (mx.float32, mx.bfloat16, mx.float16)[trial % 3]
        logits = mx.array(rng.normal(0, 3, (2, size)).astype(np.float32)).astype(dtype)
        sampling = Sampling(
            temperature=float(rng.choice([0.0, 0.3, 0.6, 1.0, 1.7])),
            top_p=float(rng.choice([0.11, 0.5, 0.937, 1.0])),
            top_k=int(rng.choice([0, 1, 2, 7, 64, 100])),
            min_p=float(rng.choice([0.0, 0.0, 0.051])),
        )
        got, wanted = np.array(made(logits, sampling).probs), wanted_of(logits, sampling)
        assert np.array_equal(got > 0, wanted > 0), (sampling, size)
        assert np.abs(got - wanted).max() < 1e-6, sampling


@pytest.mark.parametrize(
    ("top_k", "kept"),
    [(1, [1]), (2, [1, 3]), (3, [0, 1, 3]), (4, [0, 1, 2, 3]), (6, [0, 1, 2, 3, 4, 5])],
)
def test_ties_at_the_border_keep_the_lower_token(top_k: int, kept: list[int]) -> None:
    logits = mx.array([[1.0, 2.0, 1.0, 2.0, 1.0, -0.0, 0.0]])
    probs = np.array(made(logits, Sampling(1.0, 1.0, top_k)).probs)[0]
    assert np.nonzero(probs)[0].tolist() == kept


@pytest.mark.parametrize("top_k", [1, 20, 700, 3_000])
def test_rows_of_one_number_keep_the_lowest_tokens(top_k: int) -> None:
    """All of them tie, and more than can be listed do."""
    probs = np.array(made(mx.zeros((1, 5_000)), Sampling(1.0, 1.0, top_k)).probs)[0]
    assert np.array_equal(np.nonzero(probs)[0], np.arange(top_k))
    assert np.allclose(probs[:top_k], 1 / top_k, rtol=1e-6)


@pytest.mark.parametrize(("top_p", "kept"), [(0.5, 2), (0.51, 3), (0.75, 3), (0.25, 1), (0.2, 1)])
def test_a_nucleus_ends_at_its_share_exactly(top_p: float, kept: int) -> None:
    probs = np.array(made(mx.zeros((1, 4)), Sampling(1.0, top_p, 0)).probs)[0]
    assert np.array_equal(np.nonzero(probs)[0], np.arange(kept))


def test_tokens_that_temperature_makes_equal_are_kept_by_id() -> None:
    """Two logits can be one number once they are divided."""
    low = np.float32(1.6)
    while low / np.float32(3) != (high := np.nextafter(low, np.float32(2))) / np.float32(3):
        low = high
    logits = np.full((1, 200), -5, np.float32)
    logits[0, [7, 150]] = low, high
    probs = np.array(made(logits, Sampling(3.0, 1.0, 1)).probs)[0]
    assert np.nonzero(probs)[0].tolist() == [7]


def test_what_is_forbidden_gets_nothing_and_is_never_drawn() -> None:
    logits = np.full((3, 50), -np.inf, np.float32)
    logits[0, 49] = 0
    logits[1, [3, 4]] = 5
    logits[2, ::2] = -1e38
    uniform = mx.array([LAST, 0.0, LAST])
    for sampling in (Sampling(1.0, 1.0, 0), Sampling(), Sampling(1.0, 0.9, 0), Sampling(0, 1, 0)):
        found = made(logits, sampling, uniform=uniform)
        probs, tokens = np.array(found.probs), np.array(found.tokens)
        assert not probs[np.isneginf(logits)].any()
        assert np.allclose(probs.sum(1), 1, atol=1e-6)
        assert (probs[np.arange(3), tokens] > 0).all()


def test_extremes_of_temperature_and_logits() -> None:
    logits = np.zeros((1, 40), np.float32)
    logits[0, :4] = 3e4, 3e4 - 1, -3e4, 88
    for temperature in (0.01, 1.0, 100.0):
        sampling = Sampling(temperature, 1.0, 0)
        got, wanted = np.array(made(logits, sampling).probs)[0], reference(logits[0], sampling)
        assert np.abs(got - wanted).max() < 1e-6


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
@pytest.mark.parametrize(
    "sampling",
    [Sampling(), Sampling(1.0, 0.9, 0), Sampling(0, 1, 0), Sampling(0.7, 0.8, 3_000)],
    ids=["default", "nucleus", "greedy", "many"],
)
def test_a_large_vocabulary(dtype: mx.Dtype, sampling: Sampling) -> None:
    rng = np.random.default_rng(1)
    logits = mx.array(rng.normal(0, 3, (1, LARGE)).astype(np.float32)).astype(dtype)
    found = emulated.distribution(
        logits, emulated.law_of(sampling), uniform=mx.array([0.7]), warps=32
    )
    got = np.array(found.probs)
    # The reference sorts by value and id, here all at once.
    x = np.array(logits.astype(mx.float32))[0]
    law = emulated.law_of(sampling)
    scaled = x / np.float32(law.temperature)
    order = np.lexsort((np.arange(LARGE), -scaled))[: law.top_k or LARGE]
    weights = np.exp(scaled[order].astype(np.float64) - scaled.max())
    before = (np.cumsum(weights) - weights) / weights.sum()
    wanted = np.zeros(LARGE)
    is_in = before < law.top_p if law.top_p < 1 else np.ones(len(order), bool)
    wanted[order[is_in]] = weights[is_in] / weights[is_in].sum()
    assert np.array_equal(got[0] > 0, wanted > 0)
    assert np.abs(got[0] - wanted).max() < 1e-6
    past = np.cumsum(wanted)
    (token,) = integers(found.tokens)
    assert wanted[token] > 0
    assert past[token] > 0.7 - 1e-5
    assert past[token] - wanted[token] < 0.7 + 1e-5
    assert np.allclose(np.array(found.sums), np.array(chunk_sums(found.probs)), atol=1e-6)


def test_draws_follow_the_probabilities_that_are_told() -> None:
    """Over a fine net of uniform numbers each token comes as often as it is probable."""
    net = 700
    uniform = mx.array(((np.arange(net) + 0.5) / net).astype(np.float32))
    rng = np.random.default_rng(4)
    for size in (4, 600):
        row = mx.array(rng.normal(0, 1.5, (1, size)).astype(np.float32))
        found = made(mx.repeat(row, net, 0), Sampling(1.0, 0.95, 0), uniform=uniform)
        shares = np.bincount(np.array(found.tokens), minlength=size) / net
        probs = np.array(found.probs[0])
        assert np.abs(shares - probs).max() < 2 / net
        assert not shares[probs == 0].any()


def test_a_bound_that_lets_too_many_through_is_not_listed() -> None:
    """One thread has unlikely tokens alone, and so many are asked for that they set the bound."""
    size, threads = 5_000, 32 * emulated.WARPS
    logits = np.random.default_rng(8).normal(0, 1, (1, size)).astype(np.float32)
    logits[0, np.arange(size) // 8 % threads == 0] = -20
    sampling = Sampling(1.0, 1.0, threads)
    got, wanted = np.array(made(logits, sampling).probs)[0], reference(logits[0], sampling)
    assert np.array_equal(got > 0, wanted > 0)


def test_the_ends_of_the_uniform_numbers() -> None:
    """Where rounding leaves nothing of a sum, too, a token that is kept is drawn."""
    rng = np.random.default_rng(5)
    for size in (4, 33, 600):
        logits = mx.array(rng.normal(0, 1, (60, size)).astype(np.float32))
        uniform = mx.where(mx.arange(60) < 30, 0.0, LAST)
        found = made(logits, Sampling(1.0, 0.9, 0), uniform=uniform)
        kept = [np.nonzero(row)[0] for row in np.array(found.probs)]
        wanted = [row[0] for row in kept[:30]] + [row[-1] for row in kept[30:]]
        assert np.array(found.tokens).tolist() == wanted


def test_columns_of_a_trimmed_head_are_the_same_numbers_in_their_places() -> None:
    rng = np.random.default_rng(6)
    logits = mx.array(rng.normal(0, 2, (2, 90)).astype(np.float32))
    tokens = np.sort(rng.choice(400, 90, replace=False))
    columns = np.full(400, -1, np.int32)
    columns[tokens] = np.arange(90)
    uniform = mx.array([0.2, 0.9])
    for sampling in (Sampling(), Sampling(1.0, 1.0, 0)):
        narrow = made(logits, sampling, uniform=uniform)
        wide = made(logits, sampling, uniform=uniform, columns=mx.array(columns))
        assert np.array_equal(np.array(wide.probs)[:, tokens], np.array(narrow.probs))
        assert not np.delete(np.array(wide.probs), tokens, 1).any()
        assert np.array_equal(tokens[np.array(narrow.tokens)], np.array(wide.tokens))


def test_bits_depend_on_the_row_alone() -> None:
    rng = np.random.default_rng(7)
    logits = mx.array(rng.normal(0, 2, (3, 3_001)).astype(np.float32))
    law, uniform = emulated.law_of(Sampling(1.0, 0.97, 900)), mx.array([0.1, 0.5, 0.9])
    found = emulated.distribution(logits, law, uniform=uniform)
    again = emulated.distribution(logits[1:], law, uniform=uniform[1:], warps=5)
    for one, other in ((found.probs, again.probs), (found.sums, again.sums)):
        assert mx.array_equal(one[1:], other)
    assert mx.array_equal(found.tokens[1:], again.tokens)


def test_on_a_cpu_the_definition_runs() -> None:
    if mx.default_device() != mx.cpu:
        pytest.skip("there is a GPU")
    assert on_device.kernel_note() == ""
    assert on_device.distribution(mx.zeros((1, 8)), Sampling()) is None


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16, mx.float16])
def test_the_kernel_runs_on_this_gpu(dtype: mx.Dtype) -> None:
    if mx.default_device() != mx.gpu:
        pytest.skip("MLX has no GPU here")
    assert on_device.distribution_note() == ""
    logits = (4 * mx.random.normal((3, LARGE), key=mx.random.key(1))).astype(dtype)
    for sampling in (Sampling(), Sampling(0.0, 1.0, 0), Sampling(1.0, 1.0, 0)):
        law = emulated.law_of(sampling)
        found = kernel.distribution(backend_for("distribution"), logits, law)
        right = target_distribution(logits, sampling)
        assert mx.all(mx.abs(found.probs - right) < 1e-6).item()
