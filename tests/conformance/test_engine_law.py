"""The law through the engine itself: caches, rollback, noise keys and all, on a tiny model.

Run here at the size that a few minutes allow; `benchmarks/conformance_full.py` runs the same
functions at full size.
"""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from engine.certify.divergence import Kind, classify, excess_of_ties, noise_limit, row_noise
from engine.certify.replay import Window, regrouped, replayed_rows, single_rows
from engine.protocol import Mode, Sampling
from tests.conformance.checks import check
from tests.conformance.decoding import (
    DEPTHS,
    LAST,
    PROMPT,
    SAMPLING,
    VOCABULARY,
    Model,
    begun,
    cycles,
    decoded,
    teacher_forced,
)
from tests.conformance.toys import Fit, fit
from tests.fakes import tiny

LENGTH = 3
GREEDY = Sampling(0)


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny.trunk_and_head(VOCABULARY)


def wandering(cycle: int) -> int:
    """A controller: deep at first, then shallower, with plain cycles between."""
    return (2, 3, 0, 1)[cycle % 4]


def engine_fit(model: Model, mode: Mode, sequences: int, seed: int) -> Fit:
    """Return how the first LENGTH tokens of many seeds fit the plain law."""
    drawn = [
        decoded(model, LENGTH, wandering, seed=seed * 2**20 + number, mode=mode)
        for number in range(sequences)
    ]
    return fit(np.array(drawn), teacher_forced(model[0], LENGTH), VOCABULARY)


SIZES = {Mode.TOKEN: 1000, Mode.BLOCK: 1200, Mode.SEEDED: 800}


@pytest.mark.parametrize("mode", list(Mode))
def test_the_engine_draws_from_the_plain_law(model: Model, mode: Mode) -> None:
    check(
        f"engine, {mode} mode, 3 tokens of 8, changing depth",
        lambda seed: engine_fit(model, mode, SIZES[mode], seed),
    )


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("sampling", [Sampling(1, 1, 0), Sampling(0.7, 0.9, 5), GREEDY])
def test_seeded_text_depends_on_the_seed_alone(
    model: Model, depth: str, sampling: Sampling
) -> None:
    plain = decoded(model, 40, lambda _: 0, seed=7, mode=Mode.SEEDED, sampling=sampling)
    drafted = decoded(model, 40, DEPTHS[depth], seed=7, mode=Mode.SEEDED, sampling=sampling)
    assert drafted == plain


def test_another_seed_gives_another_text(model: Model) -> None:
    texts = {tuple(decoded(model, 20, lambda _: 3, seed=seed)) for seed in range(8)}
    assert len(texts) == 8


@pytest.mark.parametrize("mode", list(Mode))
def test_the_same_seed_and_depth_repeat(model: Model, mode: Mode) -> None:
    first = decoded(model, 30, lambda _: 3, seed=9, mode=mode)
    assert decoded(model, 30, lambda _: 3, seed=9, mode=mode) == first


@pytest.mark.parametrize(
    ("sampling", "is_soft"), [(SAMPLING, True), (Sampling(0.39), False), (GREEDY, False)]
)
def test_drafts_are_drawn_above_a_temperature_and_likeliest_below(
    model: Model, sampling: Sampling, *, is_soft: bool
) -> None:
    from engine.speculation.draft import draft
    from engine.speculation.noise import CycleNoise

    stream = begun(model, 0)
    made = draft(stream, 3, sampling, Mode.TOKEN, CycleNoise(0, 0, stream.position + 1, 3))
    assert made.is_drawn == is_soft
    assert made.probs is not None
    assert made.probs.dtype == mx.float32
    rows = np.array(made.probs)
    assert np.allclose(rows.sum(1), 1, atol=1e-6)
    assert ((rows > 0).sum(1) == 1).all() == (not is_soft)
    assert (rows[np.arange(3), np.array(made.tokens)] > 0).all()


def windows_of(model: Model, tokens: int, depth: str) -> tuple[list[Window], list[int]]:
    """Return the windows of a greedy speculative text, and the text after LAST."""
    results = cycles(model, begun(model, 0), tokens, DEPTHS[depth], sampling=GREEDY)
    last, windows, text = LAST, [], []
    for result in results:
        windows.append(Window((last, *result.drafted), len(result.emitted)))
        text += result.emitted
        last = text[-1]
    return windows, text


def greedy_audit(model: Model, tokens: int, depths: list[str]) -> tuple[int, float]:
    """Return errors among greedy divergences, and the p-value of too many ties.

    Speculative text is forced through the trunk row by row, in the windows used, and in windows
    of the same widths over the text itself; a divergence is a place where row by row
    another token would have been chosen.
    """
    noises: list[float] = []
    places: list[tuple[np.ndarray, np.ndarray]] = []
    ties = [0, 0]
    total = [0, 0]
    for depth in depths:
        windows, text = windows_of(model, tokens, depth)
        fed = [LAST, *text[:-1]]
        alone = replayed_rows(model[0], PROMPT, single_rows(fed))
        used = replayed_rows(model[0], PROMPT, windows)
        control = replayed_rows(model[0], PROMPT, regrouped(windows, fed))
        assert used.argmax(1).tolist() == text
        noises += [row_noise(a, c) for a, c in zip(alone, control, strict=True)]
        parted = np.flatnonzero(alone.argmax(1) != used.argmax(1))
        places += [(alone[at], used[at]) for at in parted]
        ties[0] += len(parted)
        ties[1] += int((alone.argmax(1) != control.argmax(1)).sum())
        total[0] += len(alone)
        total[1] += len(control)
    limit = noise_limit(noises)
    kinds = [classify(a, u, limit) for a, u in places]
    return kinds.count(Kind.ERROR), excess_of_ties(ties[0], total[0], ties[1], total[1])


def test_greedy_text_parts_from_plain_greedy_text_at_ties_alone(model: Model) -> None:
    errors, p = greedy_audit(model, 120, ["1", "3", "6", "changing"])
    assert errors == 0
    assert p > 1e-6


@pytest.mark.parametrize("depth", DEPTHS)
def test_greedy_text_is_plain_greedy_text(model: Model, depth: str) -> None:
    plain = decoded(model, 40, lambda _: 0, sampling=GREEDY)
    assert decoded(model, 40, DEPTHS[depth], sampling=GREEDY) == plain
