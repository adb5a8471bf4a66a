"""The law through the engine itself: caches, rollback, noise keys and all, on a tiny model."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pytest

from engine.model.cache import Cache, LayerCache
from engine.model.heads.demo import DemoHead
from engine.model.trunk import Trunk
from engine.protocol import Mode, Sampling
from engine.speculation import acceptance, cycle
from engine.speculation.cycle import read_prompt, run_cycle
from engine.speculation.sampling import target_distribution
from engine.speculation.stream import Stream
from tests.conformance.toys import SUITE_P, Fit, fit
from tests.fakes import tiny

PROMPT, LAST = [1, 2, 3], 4
VOCABULARY = 8
SAMPLING = Sampling(temperature=0.8, top_p=1, top_k=0)


@pytest.fixture(scope="module")
def model() -> tuple[Trunk, DemoHead]:
    return tiny.trunk_and_head(VOCABULARY)


def decoded(
    model: tuple[Trunk, DemoHead],
    tokens: int,
    depth: Callable[[int], int],
    *,
    seed: int = 0,
    mode: Mode = Mode.TOKEN,
    sampling: Sampling = SAMPLING,
) -> list[int]:
    trunk, head = model
    stream = Stream(trunk.make_cache(), head, seed)
    read_prompt(trunk, stream, PROMPT, LAST)
    out: list[int] = []
    while len(out) < tokens:
        out += run_cycle(trunk, stream, depth(stream.cycle), sampling, mode).emitted
        assert stream.position == len(PROMPT) + len(out)
    return out[:tokens]


def teacher_forced(trunk: Trunk, length: int) -> np.ndarray:
    """Return the plain law of all sequences of a length, from one pass over each."""
    cells = []
    for sequence in itertools.product(range(VOCABULARY), repeat=length):
        tokens = mx.array([*PROMPT, LAST, *sequence])
        logits = trunk.forward(tokens, trunk.make_cache()).logits
        rows = np.array(target_distribution(logits, SAMPLING), np.float64)[len(PROMPT) :]
        cells.append(np.prod([rows[i, token] for i, token in enumerate(sequence)]))
    return np.array(cells)


def engine_fit(model: tuple[Trunk, DemoHead], mode: Mode, sequences: int) -> Fit:
    drawn = [decoded(model, 2, lambda _: 2, seed=seed, mode=mode) for seed in range(sequences)]
    probabilities = teacher_forced(model[0], 2)
    return fit(np.array(drawn), probabilities / probabilities.sum(), VOCABULARY)


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(Mode))
def test_the_engine_draws_from_the_plain_law(model: tuple[Trunk, DemoHead], mode: Mode) -> None:
    result = engine_fit(model, mode, 3000)
    assert result.p > SUITE_P, str(result)


def bonus_row_shifted(
    probs: mx.array, drafts: mx.array, drafted: mx.array, u: mx.array, following: mx.array
) -> acceptance.Verdict:
    """Judge every row by the one before it, as a window off by one would."""
    shifted = mx.concatenate([probs[:1], probs[:-1]])
    return acceptance.token_rule(shifted, drafts, drafted, u, following)


@pytest.mark.slow
def test_a_window_off_by_one_is_seen(
    model: tuple[Trunk, DemoHead], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cycle, "token_rule", bonus_row_shifted)
    assert engine_fit(model, Mode.TOKEN, 1500).p < SUITE_P


DEPTHS: dict[str, Callable[[int], int]] = {
    **{str(depth): (lambda _, depth=depth: depth) for depth in (1, 2, 3, 4, 5, 6, 8)},
    "changing": lambda number: number % 5,
    "parked, then 3": lambda number: 3 if number > 20 else 0,
}


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("sampling", [Sampling(1, 1, 0), Sampling(0.7, 0.9, 5), Sampling(0)])
def test_seeded_text_depends_on_the_seed_alone(
    model: tuple[Trunk, DemoHead], depth: str, sampling: Sampling
) -> None:
    plain = decoded(model, 40, lambda _: 0, seed=7, mode=Mode.SEEDED, sampling=sampling)
    drafted = decoded(model, 40, DEPTHS[depth], seed=7, mode=Mode.SEEDED, sampling=sampling)
    assert drafted == plain


@pytest.mark.parametrize("depth", DEPTHS)
def test_greedy_text_is_plain_greedy_text(model: tuple[Trunk, DemoHead], depth: str) -> None:
    plain = decoded(model, 40, lambda _: 0, sampling=Sampling(0))
    assert decoded(model, 40, DEPTHS[depth], sampling=Sampling(0)) == plain


def test_another_seed_gives_another_text(model: tuple[Trunk, DemoHead]) -> None:
    texts = {tuple(decoded(model, 20, lambda _: 3, seed=seed)) for seed in range(8)}
    assert len(texts) == 8


def test_the_same_seed_and_depth_repeat(model: tuple[Trunk, DemoHead]) -> None:
    first = decoded(model, 30, lambda _: 3, seed=9)
    assert decoded(model, 30, lambda _: 3, seed=9) == first


def test_caches_after_cycles_equal_sequential_ones(model: tuple[Trunk, DemoHead]) -> None:
    """Trunk and head hold what one pass over the emitted text would have put there."""
    trunk, head = model
    stream = Stream(trunk.make_cache(), head, 3)
    read_prompt(trunk, stream, PROMPT, LAST)
    out: list[int] = []
    while len(out) < 30:
        out += run_cycle(trunk, stream, 1 + stream.cycle % 4, SAMPLING, Mode.TOKEN).emitted
    text = mx.array([*PROMPT, LAST, *out])
    once = trunk.make_cache()
    output = trunk.forward(text[:-1], once)
    once.commit(text.shape[0] - 1)
    assert_same_state(stream.trunk_cache, once)

    stream.absorb()
    head_once = head.make_cache()
    assert output.hidden is not None
    head.forward(output.hidden, text[1:], head_once)
    head_once.commit(text.shape[0] - 1)
    assert stream.head_cache is not None
    assert_same_state(stream.head_cache, head_once)


def assert_same_state(one: Cache, other: Cache) -> None:
    assert one.length == other.length
    for mine, theirs in zip(one.layers, other.layers, strict=True):
        for a, b in zip(arrays(mine), arrays(theirs), strict=True):
            assert np.abs(a[..., : one.length, :] - b[..., : one.length, :]).max() < 1e-5


def arrays(layer: LayerCache) -> list[np.ndarray]:
    keys, values, *_ = layer.state
    return [np.array(keys), np.array(values)]
