"""When the fans are wanted faster than the machine runs them: pure functions of times and heat."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Facts", "Policy", "wants_fans"]

DEBOUNCE_S = 3.0
"""So long after a token the next one may come: an answer isn't over."""
COOL_CELSIUS = 75.0
COOLING_CAP_S = 180.0
"""After the last token the fans are kept until it is cool, but no longer than this."""
LEAST_S = 20.0
"""The shortest hold: fans that go on and off are worse than either."""
IDLE_LIMIT_S = 600.0
"""For so long without a token the fans are kept at maximum."""


class Policy(StrEnum):
    """What is done about the fans."""

    AUTOMATIC = "automatic"
    """Nothing is ever written."""
    BOOST = "boost"
    """Faster while answers are made, and until it is cool again."""
    MAXIMUM = "maximum"
    """Faster for as long as answers are made now and then."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a policy decides on; all times are of the monotonic clock."""

    chosen_s: float
    """When the policy was chosen."""
    token_s: float | None = None
    """When the last token came, since the policy was chosen."""
    held_s: float | None = None
    """Since when the fans are held; None while they are not."""
    celsius: float | None = None
    """The hottest processor's; None where nothing fresh is known."""


def wants_fans(policy: Policy, facts: Facts, now: float) -> bool:
    """Return whether the fans should be held now."""
    if policy is Policy.MAXIMUM:
        return now - max(facts.token_s or facts.chosen_s, facts.chosen_s) <= IDLE_LIMIT_S
    if policy is not Policy.BOOST or facts.token_s is None:
        return False
    idle_s = now - facts.token_s
    if idle_s <= DEBOUNCE_S:
        return True
    if facts.held_s is None:
        return False
    if now - facts.held_s < LEAST_S:
        return True
    is_cool = facts.celsius is not None and facts.celsius < COOL_CELSIUS
    return not is_cool and idle_s <= COOLING_CAP_S
