"""Randomness: uniform, independent by purpose, and no key used twice."""

from __future__ import annotations

import itertools

import mlx.core as mx
import numpy as np
import pytest
from scipy import stats

from engine.protocol import Mode
from engine.speculation import noise
from engine.speculation.noise import Purpose
from tests.conformance.decoding import VOCABULARY, begun, cycles
from tests.conformance.toys import SUITE_P
from tests.fakes import tiny

NUMBERS = 20_000
CELLS = 16


def table() -> np.ndarray:
    """Return numbers of the same positions, a column a purpose."""
    return np.array(
        [
            [noise.uniform(1, cycle, cycle + 7, purpose) for purpose in Purpose]
            for cycle in range(NUMBERS)
        ]
    )


def test_noise_is_uniform() -> None:
    for column in table().T:
        assert stats.kstest(column, "uniform").statistic * NUMBERS**0.5 < 2.69
        assert column.min() >= 0
        assert column.max() < 1
        assert np.array_equal(column, column.astype(np.float32).astype(np.float64))


def test_purposes_are_independent() -> None:
    columns = table().T
    for one, other in itertools.combinations(columns, 2):
        assert abs(np.corrcoef(one, other)[0, 1]) < 5.5 / NUMBERS**0.5
        cells = np.histogram2d(one, other, CELLS, [[0, 1], [0, 1]])[0]
        chi2 = float(((cells - NUMBERS / CELLS**2) ** 2 / (NUMBERS / CELLS**2)).sum())
        assert stats.chi2.sf(chi2, CELLS**2 - 1) > SUITE_P


def test_neighbouring_seeds_cycles_and_positions_are_independent() -> None:
    base = [noise.uniform(5, 9, place, Purpose.DRAFT) for place in range(NUMBERS)]
    for seed, cycle, step in ((6, 9, 0), (5, 10, 0), (5, 9, 1)):
        other = [
            noise.uniform(seed, cycle, place + step, Purpose.DRAFT) for place in range(NUMBERS)
        ]
        assert abs(np.corrcoef(base, other)[0, 1]) < 5.5 / NUMBERS**0.5


def test_every_part_of_the_key_counts() -> None:
    base = (3, 5, 7, Purpose.DRAFT)
    others = [(4, 5, 7, Purpose.DRAFT), (3, 6, 7, Purpose.DRAFT), (3, 5, 8, Purpose.DRAFT)]
    numbers = {noise.uniform(*key) for key in (base, *others, (3, 5, 7, Purpose.ACCEPT))}
    assert len(numbers) == 5


@pytest.mark.parametrize("mode", [Mode.TOKEN, Mode.BLOCK])
def test_a_request_uses_no_key_twice(mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cycle is part of every key, so the same position drafted again gets new numbers."""
    keys: list[tuple[int, ...]] = []
    draw = noise.uniform

    def noted(seed: int, cycle: int, position: int, purpose: Purpose) -> float:
        keys.append((seed, cycle, position, purpose))
        return draw(seed, cycle, position, purpose)

    monkeypatch.setattr(noise, "uniform", noted)
    model = tiny.trunk_and_head(VOCABULARY)
    results = cycles(model, begun(model, 1), 30, lambda number: number % 5, mode=mode)
    assert len(keys) == len(set(keys))
    assert {key[1] for key in keys} == set(range(len(results)))


def test_seeded_noise_is_gumbel_and_knows_no_cycle() -> None:
    rows = mx.concatenate([noise.gumbel(5, place, 8) for place in range(4000)])
    statistic = stats.kstest(np.array(rows), "gumbel_r").statistic
    assert statistic * rows.size**0.5 < 2.69
    one, other = (noise.CycleNoise(5, cycle, 9, 3).gumbel(2, 8) for cycle in (1, 4))
    assert np.array_equal(np.array(one), np.array(other))
