"""A kernel held to its plain definition when it is first wanted: what is told where it differs."""

from __future__ import annotations

from collections.abc import Callable, Iterable

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


def off_by(pairs: Iterable[tuple[mx.array, mx.array]], tolerance: float) -> str:
    """Return how far the first wrong result is off; empty where all are right.

    Args:
        pairs: of a result and what is right.
        tolerance: how far it may be off, as a share of the largest entry.
    """
    for mine, right in pairs:
        wide = right.astype(mx.float32)
        apart = mx.abs(mine.astype(mx.float32) - wide).max() / mx.abs(wide).max()
        if not (apart < tolerance).item():
            return f"is off by {apart.item():.2g}"
    return ""
