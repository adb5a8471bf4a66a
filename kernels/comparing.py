"""A kernel held to its plain definition when it is first wanted: what is told where it differs."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx

__all__ = ["note_of", "off_by"]


def note_of(what: str, wrong: Callable[[], str]) -> str:
    """Return why a kernel is left out; empty where it is right.

    Args:
        what: the kernel, at the beginning of a sentence.
        wrong: runs it, and returns how it differs, as the sentence goes on, or nothing.
    """
    try:
        found = wrong()
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        return f"{what} can't run here: {reason}"
    return f"{what} {found}; plain MLX runs" if found else ""


def off_by(mine: mx.array, right: mx.array, tolerance: float) -> str:
    """Return how far a result is off, where that is more than a share of the largest entry."""
    wide = right.astype(mx.float32)
    apart = mx.abs(mine.astype(mx.float32) - wide).max() / mx.abs(wide).max()
    return "" if (apart < tolerance).item() else f"is off by {apart.item():.2g}"
