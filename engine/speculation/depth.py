"""Which depth the next cycle drafts to. Pure: knows numbers only."""

from __future__ import annotations

__all__ = ["next_depth"]


def next_depth(chosen: int, tokens_left: int, positions_left: int) -> int:
    """Return the chosen depth, shortened so that a cycle can't run past a limit.

    Args:
        chosen: what the person or the policy set.
        tokens_left: emitted tokens the request may still have; 1 or more.
        positions_left: positions the context still has behind the last token; 1 or more.
    """
    return max(0, min(chosen, tokens_left - 1, positions_left - 1))
