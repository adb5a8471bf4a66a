"""Two answers side by side: where their tokens part, acceptance by depth, speed. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from engine.protocol import MAX_DEPTH
from mtplx_tui.view import RequestView, wilson_interval

__all__ = ["DepthRow", "Share", "Side", "TraceDiff", "compare"]


@dataclass(frozen=True, slots=True)
class Side:
    """One of two answers."""

    tokens: int
    cycles: int
    tokens_per_s: float | None
    tokens_per_cycle: float | None
    at_parting: str | None
    """Its token where they part; None where it has ended."""


@dataclass(frozen=True, slots=True)
class Share:
    """Acceptance at a depth."""

    accepted: int
    reached: int

    @property
    def interval(self) -> tuple[float, float]:
        """Of 95 %."""
        return wilson_interval(self.accepted, self.reached)


@dataclass(frozen=True, slots=True)
class DepthRow:
    """Acceptance at one depth, left and right."""

    depth: int
    left: Share
    right: Share


@dataclass(frozen=True, slots=True)
class TraceDiff:
    """What two answers have in common, and what not."""

    parts_at: int | None
    """Number of the first token that differs, counted from 1; None where all are the same."""
    left: Side
    right: Side
    depths: tuple[DepthRow, ...]

    @property
    def speed_ratio(self) -> float | None:
        """Of the right one's tokens a second to the left one's."""
        left, right = self.left.tokens_per_s, self.right.tokens_per_s
        if left is None or right is None or left <= 0:
            return None
        return right / left


def compare(left: RequestView, right: RequestView) -> TraceDiff:
    """Return what two answers have in common, and what not."""
    tokens = [_tokens(side) for side in (left, right)]
    shorter = min(len(side) for side in tokens)
    parted = next((at for at in range(shorter) if tokens[0][at][0] != tokens[1][at][0]), None)
    if parted is None and len(tokens[0]) != len(tokens[1]):
        parted = shorter
    rows = [_row(depth, left, right) for depth in range(1, MAX_DEPTH + 1)]
    return TraceDiff(
        None if parted is None else parted + 1,
        _side(left, tokens[0], parted),
        _side(right, tokens[1], parted),
        tuple(row for row in rows if row.left.reached or row.right.reached),
    )


def _tokens(request: RequestView) -> list[tuple[int, str]]:
    return [
        pair
        for cycle in request.cycles
        for pair in zip(cycle.emitted, cycle.emitted_pieces, strict=True)
    ]


def _side(request: RequestView, tokens: list[tuple[int, str]], parted: int | None) -> Side:
    here = tokens[parted][1] if parted is not None and parted < len(tokens) else None
    return Side(
        request.emitted, len(request.cycles), request.tokens_per_s, request.tokens_per_cycle, here
    )


def _row(depth: int, left: RequestView, right: RequestView) -> DepthRow:
    shares = [Share(r.accepted_at[depth - 1], r.reached_at[depth - 1]) for r in (left, right)]
    return DepthRow(depth, *shares)
