"""Do the tokens of a text follow the rows they were drawn from? Pure: numbers only.

Each token falls into a cell by its rank in its row, and each row gives every cell a chance. Summed
over a text, counts minus chances are a martingale, whatever the rows were; so the text needs no
repeats, every token counts, and whole texts can be judged.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.certify.statistics import Fit

__all__ = ["RankFit"]

_ENDS = (1, 2, 4, 8)
"""Ranks at which the next cell begins: the likeliest, the second, two, four, all others."""
_LEAST_VARIANCE = 10.0
"""Of a cell, before it stands for itself; a smaller one is joined to the one before."""


class RankFit:
    """Counts of tokens by rank against what their rows expect."""

    def __init__(self) -> None:
        cells = len(_ENDS) + 1
        self.tokens = 0
        self._surplus = np.zeros(cells)
        self._covariance = np.zeros((cells, cells))

    def add(self, rows: NDArray[np.float32], tokens: list[int]) -> None:
        """Take in a text.

        Args:
            rows: float32 [tokens, vocabulary]: what plain decoding would have drawn each from.
            tokens: ids.
        """
        ordered = -np.sort(-rows.astype(np.float64), axis=1)
        chances = np.stack([cell.sum(axis=1) for cell in np.split(ordered, _ENDS, axis=1)], axis=1)
        chances /= chances.sum(axis=1, keepdims=True)
        ranks = [_rank(row, token) for row, token in zip(rows, tokens, strict=True)]
        found = np.eye(len(_ENDS) + 1)[np.searchsorted(_ENDS, ranks, side="right")]
        self.tokens += len(tokens)
        self._surplus += (found - chances).sum(axis=0)
        self._covariance += np.diag(chances.sum(axis=0)) - chances.T @ chances

    def fit(self) -> Fit:
        """Return the surplus as a chi-squared: d' S^-1 d, one cell left out.

        Its shift under a bias is at least `tokens * sum(delta^2 / law)` of the mean law, for the
        mean covariance is no more than that of the mean law; so `least_bias` holds here too.
        """
        join = _joining(np.diag(self._covariance))
        surplus = (join @ self._surplus)[:-1]
        covariance = (join @ self._covariance @ join.T)[:-1, :-1]
        if not len(surplus) or np.linalg.matrix_rank(covariance) < len(surplus):
            return Fit(samples=self.tokens)
        chi2 = float(surplus @ np.linalg.solve(covariance, surplus))
        return Fit(chi2, len(surplus), self.tokens)


def _rank(row: NDArray[np.float32], token: int) -> int:
    """Return how many tokens are likelier, or as likely with a lower id."""
    own = row[token]
    return int((row > own).sum() + (row[:token] == own).sum())


def _joining(variances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return [groups, cells] of 0 and 1 that joins cells too sure to be judged alone."""
    groups: list[list[int]] = []
    for cell, variance in enumerate(variances):
        if groups and variance < _LEAST_VARIANCE:
            groups[-1].append(cell)
        else:
            groups.append([cell])
    join = np.zeros((len(groups), len(variances)))
    for group, cells in enumerate(groups):
        join[group, cells] = 1
    return join
