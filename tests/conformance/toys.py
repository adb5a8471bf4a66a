"""Toy models whose laws are known exactly, and the statistics to hold a sample against them.

Every law check must have both its p-values above SUITE_P. With at most CHECKS of them the whole
suite raises a false alarm less than once in a million runs. A check also knows the smallest bias,
as a total variation, that it sees 999 times in 1,000 whatever the bias looks like.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import optimize, stats

START = -1
"""The row used before the first token."""
FAMILY_P = 1e-6
CHECKS = 80
SUITE_P = FAMILY_P / CHECKS
POWER = 0.999


@dataclass(frozen=True)
class Toy:
    """An order-1 chain and a drafter for it; row = previous token, the last is the start's."""

    name: str
    target: np.ndarray
    draft: np.ndarray

    @property
    def vocabulary(self) -> int:
        return self.target.shape[1]


A = Toy(
    "A",
    np.array(
        [
            [0.40, 0.30, 0.20, 0.10],
            [0.10, 0.40, 0.30, 0.20],
            [0.25, 0.25, 0.40, 0.10],
            [0.50, 0.10, 0.10, 0.30],
            [0.35, 0.30, 0.20, 0.15],
        ]
    ),
    np.array(
        [
            [0.20, 0.50, 0.20, 0.10],
            [0.30, 0.20, 0.40, 0.10],
            [0.10, 0.40, 0.30, 0.20],
            [0.30, 0.30, 0.20, 0.20],
            [0.50, 0.20, 0.10, 0.20],
        ]
    ),
)
B = Toy("B", np.array([[1 / 3, 2 / 3]] * 3), np.array([[2 / 3, 1 / 3]] * 3))
C = Toy(
    "C",
    np.array(
        [
            [3 / 10, 3 / 10, 4 / 10],
            [5 / 14, 8 / 14, 1 / 14],
            [3 / 19, 8 / 19, 8 / 19],
            [8 / 13, 4 / 13, 1 / 13],
        ]
    ),
    np.array(
        [
            [4 / 8, 1 / 8, 3 / 8],
            [1 / 16, 7 / 16, 8 / 16],
            [4 / 7, 2 / 7, 1 / 7],
            [4 / 9, 4 / 9, 1 / 9],
        ]
    ),
)


@dataclass(frozen=True)
class Fit:
    """How a sample fits a law: Pearson's statistic and G, over the same cells."""

    chi2: float
    g: float
    degrees: int
    samples: int

    @property
    def p(self) -> float:
        """The smaller of the two p-values."""
        return float(stats.chi2.sf(max(self.chi2, self.g), self.degrees))

    @property
    def is_lawful(self) -> bool:
        return self.p > SUITE_P

    @property
    def least_bias(self) -> float:
        """The smallest total variation that is sure to be seen."""
        return least_bias(self.degrees, self.samples)

    def __str__(self) -> str:
        return (
            f"chi2 {self.chi2:.1f}, G {self.g:.1f} on {self.degrees} degrees of freedom, "
            f"p {self.p:.2g}, {self.samples:,} samples, sees a bias from {self.least_bias:.2%}"
        )


@cache
def noncentrality(degrees: int) -> float:
    """Return what the statistic must be shifted by to exceed its critical value at POWER."""
    critical = stats.chi2.isf(SUITE_P, degrees)
    return float(
        optimize.brentq(
            lambda shift: stats.ncx2.sf(critical, degrees, shift) - POWER, 1, 10 * critical
        )
    )


def least_bias(degrees: int, samples: int) -> float:
    """Return the smallest total variation sure to be seen: sum of delta^2 / p >= 4 TV^2."""
    return 0.5 * (noncentrality(degrees) / samples) ** 0.5


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
    """Return the fit of sequences [N, length] to a law; cells that expect under 10 are merged.

    Where a cell of probability 0 was hit, the fit is as bad as can be.
    """
    length = sequences.shape[1]
    codes = sequences @ (vocabulary ** np.arange(length - 1, -1, -1))
    counts = np.bincount(codes, minlength=vocabulary**length)
    is_possible = probabilities > 0
    if counts[~is_possible].any():
        return Fit(np.inf, np.inf, 1, len(sequences))
    return fit_counts(counts[is_possible], probabilities[is_possible])


def fit_counts(counts: np.ndarray, probabilities: np.ndarray) -> Fit:
    """Return the fit of counts to a law over the same cells."""
    samples = int(counts.sum())
    expected = probabilities / probabilities.sum() * samples
    order = np.argsort(expected)
    observed, wanted = merged(expected[order], counts[order], expected[order])
    chi2, g = statistics(observed, wanted)
    return Fit(chi2, g, len(wanted) - 1, samples)


def merged(expected: np.ndarray, *columns: np.ndarray, least: float = 10) -> tuple[np.ndarray, ...]:
    """Return columns with cells joined, in their order, until each expects at least `least`."""
    groups = np.zeros(len(expected), int)
    group, total = 0, 0.0
    for cell, expectation in enumerate(expected):
        groups[cell] = group
        total += expectation
        if total >= least:
            group, total = group + 1, 0.0
    groups = np.minimum(groups, max(0, group - 1))
    return tuple(np.bincount(groups, column) for column in columns)


def two_samples(ours: np.ndarray, theirs: np.ndarray) -> Fit:
    """Return whether two samples of counts have one law, as a contingency table.

    `samples` is the size of a one-sample test of the same power.
    """
    both = (ours + theirs).astype(float)
    n, m = ours.sum(), theirs.sum()
    order = np.argsort(both)
    smaller = both[order] * (min(n, m) / (n + m))
    mine, joint = merged(smaller, ours[order], both[order])
    observed = np.stack([mine, joint - mine])
    wanted = np.array([[n], [m]]) / (n + m) * joint
    chi2, g = statistics(observed, wanted)
    return Fit(chi2, g, len(joint) - 1, int(n * m / (n + m)))


def statistics(observed: np.ndarray, wanted: np.ndarray) -> tuple[float, float]:
    """Return Pearson's chi2 and G of cells."""
    logs = np.log(np.maximum(observed, 1e-300) / wanted)
    return float(((observed - wanted) ** 2 / wanted).sum()), float(2 * (observed * logs).sum())
