"""The tokens of a text against their rows: sound ones fit, a bias shows."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from engine.certify.ranks import RankFit

RNG = np.random.default_rng(5)
ROWS = RNG.dirichlet(np.full(30, 0.15), 3000).astype(np.float32)


def drawn(rows: NDArray[np.float32]) -> list[int]:
    """Draw a token a row."""
    ends = np.cumsum(rows, axis=1)
    return [
        int(np.searchsorted(end, u * end[-1]))
        for end, u in zip(ends, np.random.default_rng(6).random(len(rows)), strict=True)
    ]


def test_tokens_drawn_from_their_rows_fit() -> None:
    found = RankFit()
    found.add(ROWS, drawn(ROWS))
    assert found.fit().p > 1e-3
    assert found.fit().samples == 3000


@pytest.mark.parametrize("power", [0.8, 1.25])
def test_tokens_of_flatter_or_steeper_rows_do_not(power: float) -> None:
    bent = ROWS**power
    bent /= bent.sum(axis=1, keepdims=True)
    found = RankFit()
    found.add(ROWS, drawn(bent))
    assert found.fit().p < 1e-7


def test_the_statistic_is_chi_squared_over_many_sound_texts() -> None:
    statistics, degrees = [], set()
    for seed in range(400):
        rng = np.random.default_rng(seed)
        rows = rng.dirichlet(np.full(20, 0.3), 200).astype(np.float32)
        exact = rows.astype(np.float64) / rows.sum(axis=1, keepdims=True, dtype=np.float64)
        tokens = [int(rng.choice(20, p=row)) for row in exact]
        found = RankFit()
        found.add(rows, tokens)
        statistics.append(found.fit().chi2)
        degrees.add(found.fit().degrees)
    assert len(degrees) == 1
    assert stats.kstest(statistics, stats.chi2(degrees.pop()).cdf).pvalue > 1e-4


def test_a_sure_text_judges_nothing() -> None:
    found = RankFit()
    found.add(np.eye(5, dtype=np.float32), [0, 1, 2, 3, 4])
    assert found.fit().degrees == 0


def test_a_token_outside_its_row_is_counted_not_fatal() -> None:
    found = RankFit()
    found.add(ROWS, drawn(ROWS))
    sound = found.fit().chi2
    found.add(ROWS[:1], [int(ROWS[0].argmin())])
    assert np.isfinite(found.fit().chi2)
    assert found.fit().chi2 != sound
