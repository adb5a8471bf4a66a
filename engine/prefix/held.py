"""The state of a request between two turns of its own, taken and taken up again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

from engine.model.cache import evaluate
from engine.model.snapshot import Snapshot, can_cut, can_keep, put, taken
from engine.speculation.stream import Stream

__all__ = ["Held", "can_go_back_anywhere", "can_hold", "hold", "take_up"]


@dataclass(frozen=True, slots=True)
class Held:
    """What trunk and head hold at a place of a text, as far as it is new since the place before."""

    trunk: Snapshot
    head: Snapshot | None
    """Of one position less than the trunk's: its newest row waits for a token."""
    boundary: mx.array | None
    """That row, [1, 1, hidden]."""

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        parts = (self.trunk, self.head, self.boundary)
        return sum(part.nbytes for part in parts if part is not None)


def can_hold(stream: Stream) -> bool:
    """Return whether the state of a request can be taken at all."""
    return stream.is_whole and all(can_keep(cache) for cache in stream.caches())


def can_go_back_anywhere(stream: Stream) -> bool:
    """Return whether what was taken at a place serves every place before it too."""
    return all(can_cut(cache) for cache in stream.caches())


def hold(stream: Stream, before: Held | None) -> Held:
    """Take the state of a request; its head takes in all rows but the newest first.

    Args:
        stream: between two cycles or chunks; a pass ahead of its cycle is given up.
        before: what was taken at an earlier place of the same text.

    Raises:
        ValueError: a window is open.
    """
    stream.give_up_ahead()
    stream.prime()
    evaluate(*stream.caches())
    trunk = taken(stream.trunk_cache, before.trunk if before else None)
    head = None
    if stream.head_cache is not None:
        head = taken(stream.head_cache, before.head if before else None)
    boundary = stream.boundary
    if boundary is not None:
        boundary = mx.take(boundary, mx.arange(1), axis=1)
        mx.eval(boundary)
    return Held(trunk, head, boundary)


def take_up(stream: Stream, path: Sequence[Held], length: int, following: int) -> None:
    """Put what was taken into a request that has read nothing yet.

    Args:
        stream: of the request.
        path: of the places up to the one to go on from, or to one behind it.
        length: trunk positions to go on from; fewer than the last place's only where
            `can_go_back_anywhere`.
        following: the token after them.
    """
    is_at_place = path[-1].trunk.length == length
    put(stream.trunk_cache, [held.trunk for held in path], length)
    heads = [held.head for held in path if held.head is not None]
    if stream.head_cache is not None and heads:
        # At a place the row before it waits for the token that comes now. Anywhere else there is
        # no such row, but the pair that it made with the token that came then, which is the same.
        put(stream.head_cache, heads, heads[-1].length if is_at_place else length)
    stream.resume(path[-1].boundary if is_at_place else None, following)
    evaluate(*stream.caches())
