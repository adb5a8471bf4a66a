"""What a check says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Check", "NotLookedAt", "Severity", "counts", "worst_first"]


class Severity(StrEnum):
    """How much it matters, the least first."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing; nothing is wrong."""
    WARNING = "warning"
    """Something works worse than it could."""
    ERROR = "error"
    """Something does not work."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; every text is one line."""

    name: str
    expected: str
    found: str
    severity: Severity = Severity.OK
    remedy: str = ""
    """What to do about it; empty where there is nothing to do."""
    own: tuple[str, ...] = ()
    """Names of a person's own files or models that it is about; in no bundle."""
    group: str = ""
    """Filled in by whoever runs the checks."""

    @property
    def is_problem(self) -> bool:
        """Whether something should be done."""
        return self.severity in (Severity.WARNING, Severity.ERROR)


class NotLookedAt(Exception):
    """A check has nothing to look at; the message says why in one line."""


def counts(checks: Iterable[Check]) -> dict[Severity, int]:
    """Return how many there are of each severity."""
    found = Counter(check.severity for check in checks)
    return {severity: found[severity] for severity in Severity}


def worst_first(checks: Iterable[Check]) -> tuple[Check, ...]:
    """Return the problems, errors before warnings."""
    order = {Severity.ERROR: 0, Severity.WARNING: 1}
    problems = (check for check in checks if check.is_problem)
    return tuple(sorted(problems, key=lambda check: order[check.severity]))
