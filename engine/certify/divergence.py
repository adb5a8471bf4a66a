"""Where two greedy texts part: a numeric tie, or an error. Pure: numbers only.

A verification has more rows than a step of plain decoding, and kernels round differently by the
number of rows, so near-equal logits may change places. That is a tie: another won whose margin lies
within what the two logits moved, and they moved no more than such windows move them without any
speculation. Of two near-equal tokens the other is the runner-up; a flat law has more of them than
two. All else is an error of state, cache, position or mask.
"""

from __future__ import annotations

import math
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

__all__ = ["Kind", "classify", "excess_of_ties", "noise_limit", "row_noise"]

Rows = NDArray[np.float32]
_QUANTILE = 0.999


class Kind(StrEnum):
    """What a divergence is."""

    TIE = "tie"
    ERROR = "error"


def classify(alone: Rows, grouped: Rows, limit: float) -> Kind:
    """Return what a place is where greedy plain decoding and greedy speculation chose differently.

    Args:
        alone: float32 [vocabulary], logits of the place from a pass over one row.
        grouped: float32 [vocabulary], logits of the same place from the window that was used.
        limit: from `noise_limit`.
    """
    choice, other = int(alone.argmax()), int(grouped.argmax())
    moved = np.abs(alone[[choice, other]] - grouped[[choice, other]])
    return Kind.TIE if float(moved.max()) <= limit else Kind.ERROR


def row_noise(alone: Rows, grouped: Rows) -> float:
    """Return how far a window moved the logits of its likeliest token and of the two before, at most."""
    candidates = [*_two_likeliest(alone), int(grouped.argmax())]
    return float(np.abs(alone[candidates] - grouped[candidates]).max())


def noise_limit(noises: list[float]) -> float:
    """Return the most that windows move logits without speculation: their 99.9 % quantile.

    Args:
        noises: `row_noise` of single rows against windows of plain decoding's own tokens.
    """
    return float(np.quantile(noises, _QUANTILE)) if noises else 0.0


def excess_of_ties(ties: int, places: int, control_ties: int, control_places: int) -> float:
    """Return the chance of so many ties, or more, if speculation had no more than the control.

    The one-sided exact test of two rates: given all ties, each fell to either side by its number
    of places. A cache bug shows here even where each of its events looks like a tie.
    """
    total = ties + control_ties
    if ties == 0 or places == 0:
        return 1.0
    share = places / (places + control_places)
    return min(1.0, sum(_binomial(total, hits, share) for hits in range(ties, total + 1)))


def _binomial(trials: int, hits: int, share: float) -> float:
    if share in (0.0, 1.0):
        return float(hits == trials * share)
    log = math.lgamma(trials + 1) - math.lgamma(hits + 1) - math.lgamma(trials - hits + 1)
    return math.exp(log + hits * math.log(share) + (trials - hits) * math.log1p(-share))


def _two_likeliest(logits: Rows) -> tuple[int, int]:
    """Return the likeliest token and its runner-up, ties by lower id."""
    first = int(logits.argmax())
    rest = logits.copy()
    rest[first] = -np.inf
    return first, int(rest.argmax())
