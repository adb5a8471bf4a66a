"""Toy models whose laws are known exactly, and the statistics to hold a sample against them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from scipy import stats

START = -1
"""The row used before the first token."""

TARGET_A = np.array(
    [
        [0.40, 0.30, 0.20, 0.10],
        [0.10, 0.40, 0.30, 0.20],
        [0.25, 0.25, 0.40, 0.10],
        [0.50, 0.10, 0.10, 0.30],
        [0.35, 0.30, 0.20, 0.15],
    ]
)
DRAFT_A = np.array(
    [
        [0.20, 0.50, 0.20, 0.10],
        [0.30, 0.20, 0.40, 0.10],
        [0.10, 0.40, 0.30, 0.20],
        [0.30, 0.30, 0.20, 0.20],
        [0.50, 0.20, 0.10, 0.20],
    ]
)
"""Row = previous token, the last row is the start's."""

SUITE_P = 2.5e-8
"""A check fails below this p-value: about 40 checks share a family-wise error of 1e-6."""


@dataclass(frozen=True)
class Fit:
    """How a sample fits a law."""

    chi2: float
    degrees: int
    p: float

    def __str__(self) -> str:
        return f"chi2 {self.chi2:.1f} on {self.degrees} degrees of freedom, p {self.p:.3g}"


def law(target: np.ndarray, length: int) -> np.ndarray:
    """Return the probability of every sequence of an order-1 chain, in lexicographic order."""
    vocabulary = target.shape[1]
    cells = []
    for sequence in itertools.product(range(vocabulary), repeat=length):
        probability, previous = 1.0, START
        for token in sequence:
            probability *= target[previous, token]
            previous = token
        cells.append(probability)
    return np.array(cells)


def fit(sequences: np.ndarray, probabilities: np.ndarray, vocabulary: int) -> Fit:
    """Return Pearson's test of sequences [N, length] against a law; small cells are merged."""
    length = sequences.shape[1]
    codes = sequences @ (vocabulary ** np.arange(length - 1, -1, -1))
    counts = np.bincount(codes, minlength=vocabulary**length)
    expected = probabilities * len(sequences)
    order = np.argsort(expected)
    merged_counts, merged_expected = [], []
    count = expectation = 0.0
    for cell in order:
        count, expectation = count + counts[cell], expectation + expected[cell]
        if expectation >= 10:
            merged_counts.append(count)
            merged_expected.append(expectation)
            count = expectation = 0.0
    merged_counts[-1] += count
    merged_expected[-1] += expectation
    observed, wanted = np.array(merged_counts), np.array(merged_expected)
    chi2 = float(((observed - wanted) ** 2 / wanted).sum())
    degrees = len(wanted) - 1
    return Fit(chi2, degrees, float(stats.chi2.sf(chi2, degrees)))
