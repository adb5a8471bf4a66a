"""What the caches of a request hold at a committed place, and the same put into empty caches.

Rows of keys and values are taken from one place to the next, so snapshots along a text share
what they have in common; a recurrent state and a sliding window are taken whole. All that is
taken is a copy of its own: caches write into their buffers, and would change what they lent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
from mlx_lm.models.cache import ArraysCache, KVCache

from engine.model.cache import Cache, LayerCache, leaves_of
from engine.model.recurrent import RecurrentCache
from engine.model.sliding import SlidingCache

__all__ = ["Snapshot", "can_cut", "can_keep", "put", "taken"]

Arrays = tuple[mx.array | None, ...]

_ROOM = 256
"""Positions that restored caches can grow by before they are moved."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is new since the snapshot before; the first one's is all there is."""

    length: int
    """Committed positions of the caches' owner."""
    ends: tuple[int, ...]
    """By leaf: positions up to here."""
    arrays: tuple[Arrays, ...]
    """By leaf: new rows of keys and values, [B, heads, n, head], or a whole state."""
    waiting: Arrays
    """Rows that are in no leaf yet."""

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        every = (*self.arrays, self.waiting)
        return sum(a.nbytes for arrays in every for a in arrays if a is not None)


def can_keep(cache: Cache) -> bool:
    """Return whether all of a cache is of a kind that can be taken and put."""
    kinds = (KVCache, SlidingCache, ArraysCache)
    return all(isinstance(leaf, kinds) for leaf in leaves_of(cache.layers))


def can_cut(cache: Cache) -> bool:
    """Return whether snapshots of a cache serve any place before them too."""
    is_plain = all(isinstance(leaf, KVCache) for leaf in leaves_of(cache.layers))
    return is_plain and not cache.waiting_rows()


def taken(cache: Cache, before: Snapshot | None) -> Snapshot:
    """Return what a cache holds, copied and in memory.

    Args:
        cache: nothing in it is open.
        before: of an earlier place of the same text; its rows are left out.

    Raises:
        ValueError: positions are open, or the earlier place is not behind.
    """
    if cache.open or (before is not None and before.length > cache.length):
        raise ValueError("a snapshot is taken of committed positions, onwards")
    leaves = leaves_of(cache.layers)
    begins = before.ends if before else (0,) * len(leaves)
    arrays = tuple(_taken(leaf, begin) for leaf, begin in zip(leaves, begins, strict=True))
    waiting = tuple(None if row is None else _copy(row) for row in cache.waiting_rows())
    mx.eval(arrays, waiting)
    return Snapshot(cache.length, tuple(_end(leaf) for leaf in leaves), arrays, waiting)


def put(cache: Cache, path: Sequence[Snapshot], length: int) -> None:
    """Fill an empty cache with what snapshots hold.

    Args:
        cache: empty, of the same model.
        path: one or more, each taken behind the one before it.
        length: positions wanted; fewer than the last snapshot's only where `can_cut`.
    """
    last = path[-1]
    surplus = last.length - length
    for index, leaf in enumerate(leaves_of(cache.layers)):
        pieces = [snapshot.arrays[index] for snapshot in path]
        _put(leaf, pieces, last.ends[index] - surplus)
    cache.restored(length, last.waiting)


def _end(leaf: LayerCache) -> int:
    return leaf.offset if isinstance(leaf, (KVCache, SlidingCache)) else 0


def _taken(leaf: LayerCache, begin: int) -> Arrays:
    if isinstance(leaf, KVCache):
        return _rows(leaf.keys, begin, leaf.offset), _rows(leaf.values, begin, leaf.offset)
    if isinstance(leaf, SlidingCache):
        return tuple(_copy(array) for array in leaf.kept_rows())
    if isinstance(leaf, ArraysCache):
        slots = leaf.plain_slots() if isinstance(leaf, RecurrentCache) else leaf.cache
        return tuple(None if array is None else _copy(array) for array in slots)
    raise ValueError(f"a {type(leaf).__name__} can't be kept")


def _rows(array: mx.array | None, begin: int, end: int) -> mx.array | None:
    """Return a copy of some positions, whatever the layout: a slice might share the buffer."""
    if array is None or begin == end:
        return None
    return mx.take(array, mx.arange(begin, end), axis=2)


def _copy(array: mx.array) -> mx.array:
    return mx.take(array, mx.arange(array.shape[0]), axis=0)


def _put(leaf: LayerCache, pieces: list[Arrays], end: int) -> None:
    if isinstance(leaf, KVCache):
        leaf.keys, leaf.values = (_whole([piece[i] for piece in pieces], end) for i in (0, 1))
        leaf.offset = end
    elif isinstance(leaf, SlidingCache):
        leaf.restore(pieces[-1], end)
    elif isinstance(leaf, ArraysCache):
        leaf.cache = list(pieces[-1])
    else:
        raise ValueError(f"a {type(leaf).__name__} can't be restored")


def _whole(pieces: list[mx.array | None], end: int) -> mx.array | None:
    """Return the rows of all pieces up to an end, with room behind them."""
    parts = [piece for piece in pieces if piece is not None]
    if not parts or not end:
        return None
    surplus = sum(part.shape[2] for part in parts) - end
    while surplus >= parts[-1].shape[2]:
        surplus -= parts.pop().shape[2]
    parts[-1] = parts[-1][..., : parts[-1].shape[2] - surplus, :]
    shape = parts[0].shape
    return mx.concatenate([*parts, mx.zeros((*shape[:2], _ROOM, shape[3]), parts[0].dtype)], axis=2)
