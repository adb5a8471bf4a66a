"""Chi-squared tests and their power, with no library beyond numpy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Fit", "chi2_sf", "fit", "least_bias", "normal_p", "two_samples"]

Counts = NDArray[np.float64]
_LEAST_EXPECTED = 10.0
_POWER = 0.999


@dataclass(frozen=True, slots=True)
class Fit:
    """A chi-squared statistic; those of independent samples add up."""

    chi2: float = 0.0
    degrees: int = 0
    samples: int = 0

    def __add__(self, other: Fit) -> Fit:
        return Fit(
            self.chi2 + other.chi2, self.degrees + other.degrees, self.samples + other.samples
        )

    @property
    def p(self) -> float:
        """Chance of such a statistic where the law is kept."""
        return chi2_sf(self.chi2, self.degrees) if self.degrees else 1.0


def fit(counts: Counts, law: Counts) -> Fit:
    """Return how counts fit a law over the same cells; small cells are joined.

    A count in a cell of probability 0 makes the fit as bad as can be.
    """
    if counts[law <= 0].any():
        return Fit(math.inf, 1, int(counts.sum()))
    total = counts.sum()
    wanted, found = _joined(law[law > 0] * total, counts[law > 0])
    return Fit(float(((found - wanted) ** 2 / wanted).sum()), len(wanted) - 1, int(total))


def two_samples(ours: Counts, theirs: Counts) -> Fit:
    """Return whether two samples of counts have one law, as a contingency table.

    `samples` is the size of a one-sample test of the same power.
    """
    n, m = ours.sum(), theirs.sum()
    if not n or not m:
        return Fit()
    smaller, mine, both = _joined((ours + theirs) * min(n, m) / (n + m), ours, ours + theirs)
    chi2 = 0.0
    for found, share in ((mine, n / (n + m)), (both - mine, m / (n + m))):
        chi2 += float(((found - share * both) ** 2 / (share * both)).sum())
    return Fit(chi2, len(smaller) - 1, int(n * m / (n + m)))


def _joined(expected: Counts, *columns: Counts) -> tuple[Counts, ...]:
    """Return columns, `expected` first, with cells joined until each expects enough."""
    order = np.argsort(expected, kind="stable")
    groups = np.zeros(len(expected), int)
    group, total = 0, 0.0
    for place, cell in enumerate(order):
        groups[place] = group
        total += expected[cell]
        if total >= _LEAST_EXPECTED:
            group, total = group + 1, 0.0
    groups = np.minimum(groups, max(0, group - 1))
    return tuple(
        np.bincount(groups, column[order]).astype(np.float64) for column in (expected, *columns)
    )


def normal_p(z: float) -> float:
    """Return the two-sided chance of a z-score."""
    return math.erfc(abs(z) / math.sqrt(2))


def chi2_sf(x: float, degrees: int) -> float:
    """Return the chance that chi-squared exceeds x.

    Source:
        Abramowitz and Stegun, 6.5.29 (series) and 6.5.31 (continued fraction).
    """
    if x == math.inf:
        return 0.0
    a, half = degrees / 2, x / 2
    if half <= 0:
        return 1.0
    scale = math.exp(a * math.log(half) - half - math.lgamma(a))
    return 1 - scale * _series(a, half) if half < a + 1 else scale * _fraction(a, half)


def _series(a: float, x: float) -> float:
    term = total = 1 / a
    n = a
    while term > total * 1e-16:
        n += 1
        term *= x / n
        total += term
    return total


def _fraction(a: float, x: float) -> float:
    b = x + 1 - a
    c, d = 1e300, 1 / b
    h = d
    for i in range(1, 100_000):
        an = -i * (i - a)
        b += 2
        d = 1 / (an * d + b)
        c = b + an / c
        h *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return h


def least_bias(degrees: int, samples: int, p: float) -> float:
    """Return the smallest total variation that a test at level p sees 999 times in 1,000.

    The statistic's shift is samples * sum(delta^2 / law), which is at least 4 TV^2 * samples.
    """
    if not degrees or not samples:
        return 1.0
    critical = _bisected(lambda x: chi2_sf(x, degrees) > p, 20.0 * degrees + 400)
    shift = _bisected(lambda s: _shifted_sf(critical, degrees, s) < _POWER, 20.0 * critical)
    return min(1.0, 0.5 * math.sqrt(shift / samples))


def _bisected(is_below: Callable[[float], bool], high: float) -> float:
    low = 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return high


def _shifted_sf(x: float, degrees: int, shift: float) -> float:
    """Return the chance that chi-squared with a shift exceeds x: a mixture over Poisson."""
    mean = shift / 2
    spread = 9 * math.sqrt(mean) + 12
    begin, end = max(0, int(mean - spread)), int(mean + spread)
    total = 0.0
    for j in range(begin, end + 1):
        weight = math.exp(j * math.log(mean) - mean - math.lgamma(j + 1)) if mean else float(j == 0)
        total += weight * chi2_sf(x, degrees + 2 * j)
    return total
