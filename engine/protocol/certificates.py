"""What a certificate of exactness says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from engine.protocol.values import Sampling

__all__ = [
    "Certificate",
    "CheckResult",
    "LawCheck",
    "Verdict",
]


class CheckResult(StrEnum):
    """What one check of a certificate came to."""

    KEPT = "kept"
    BROKEN = "broken"
    UNDECIDED = "undecided"


class Verdict(StrEnum):
    """What a certificate says."""

    EXACT = "exact"
    BROKEN = "broken"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class LawCheck:
    """One law, and how the engine was held to it."""

    name: str
    claim: str
    """What holds where the check is kept; one sentence."""
    result: CheckResult
    samples: int
    statistic: float
    """Chi-squared, a z-score, or a count of errors, as `claim` says."""
    degrees: int
    """Degrees of freedom; 0 where the statistic is none of chi-squared."""
    p: float
    """Chance of such a statistic where the law is kept; 1 where nothing was sampled."""
    least_bias: float
    """Smallest total variation that was sure to be seen; 0 where the check is no sample."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """Whether drafting changes what this model says, on this machine, and what that rests on."""

    verdict: Verdict
    summary: str
    checks: tuple[LawCheck, ...]
    least_bias: float
    """Smallest bias of the rules of acceptance that is excluded; 1 where nothing is."""
    passing_p: float
    """Below it a check is broken."""
    model: str
    path: str
    weights_bytes: int
    sampling: Sampling
    depth: int
    seed: int
    budget_s: float
    took_s: float
    protocol: int
    device: str
    mlx: str
    mlx_lm: str
