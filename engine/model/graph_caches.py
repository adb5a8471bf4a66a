"""What a layer's cache is to a graph: arrays that go in, and those that come out.

While a graph is traced, a stand-in whose position is an input takes the place of a KV cache. Its
arrays are a bucket long, so that one graph serves many lengths. Knows no pass.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import KVCache

from engine.model.recurrent import RecurrentCache
from kernels.dialect import FEWEST, scalar

__all__ = [
    "OpenKV",
    "Place",
    "bucket_of",
    "held_by",
    "is_filled",
    "keeps_all",
    "kind_of",
    "make_room",
    "position_of",
    "put_into",
    "refilled",
    "written_by",
    "written_places",
]

_LEAST = 256
"""Positions of the smallest bucket; each next one is twice as long."""


class Place:
    """Where the rows of a pass go, worked out once for all layers.

    Args:
        written: positions that are; of `kernels.dialect.scalar`.
    """

    def __init__(self, written: mx.array) -> None:
        self._positions = {0: written}
        self._offsets: dict[int, mx.array] = {}
        self._places: dict[tuple[int, int], mx.array] = {}

    def position(self, rows: int) -> mx.array:
        """Return how many positions are written behind so many rows, for kernels to read; int32 [4]."""
        if rows not in self._positions:
            self._positions[rows] = self._positions[0] + rows
        return self._positions[rows]

    def behind(self, rows: int) -> mx.array:
        """Return the same; int32 [1], in the memory of the other."""
        if rows not in self._offsets:
            self._offsets[rows] = self.position(rows)[:1]
        return self._offsets[rows]

    def of(self, before: int, rows: int) -> mx.array:
        """Return the places of rows that come behind so many others; int32 [1, 1, rows, 1]."""
        if (before, rows) not in self._places:
            places = self.behind(before) + mx.arange(max(rows, FEWEST))
            self._places[before, rows] = places[:rows].reshape(1, 1, rows, 1)
        return self._places[before, rows]


class OpenKV:
    """Stands in for a KV cache while a graph is traced.

    Args:
        keys: [B, heads, bucket, width].
        values: alike.
        place: of the pass; all layers share it.
    """

    def __init__(self, keys: mx.array, values: mx.array, place: Place) -> None:
        self.keys = keys
        self.values = values
        self._place = place
        self._rows = 0

    @property
    def offset(self) -> mx.array:
        """Where the next row goes."""
        return self._place.behind(self._rows)

    @property
    def position(self) -> mx.array:
        """The same, for kernels to read; int32 [4]."""
        return self._place.position(self._rows)

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Write rows; return the whole bucket, of which the mask lets through what is written."""
        rows = keys.shape[2]
        # Row by row: a slice whose place is an array takes MLX on CUDA a thread for each number of the bucket.
        places = self._place.of(self._rows, rows)
        self._rows += rows
        self.keys = mx.put_along_axis(self.keys, places, keys, axis=2)
        self.values = mx.put_along_axis(self.values, places, values, axis=2)
        return self.keys, self.values

    def make_mask(self, rows: int, window_size: int | None = None, **_: object) -> mx.array:
        """Return which places each of the next rows may look at; bool [rows, bucket]."""
        places = mx.arange(self.keys.shape[2])
        own = self.offset + mx.arange(rows)[:, None]
        mask = places <= own
        return mask if window_size is None else mask & (places > own - window_size)


def is_filled(layer: object) -> bool:
    """Return whether a layer keeps its state in arrays that a graph can take, and they are there."""
    if isinstance(layer, RecurrentCache):
        return all(isinstance(part, mx.array) for part in layer.cache)
    return type(layer) is KVCache and layer.keys is not None


def written_places(layers: Sequence[object]) -> int:
    """Return how many places are written; 0 where no layer keeps keys and values."""
    return next((layer.offset for layer in layers if isinstance(layer, KVCache)), 0)


def position_of(cache: Any) -> mx.array:
    """Return where a cache's next row goes, for kernels to read; int32, its first item."""
    if isinstance(cache, OpenKV):
        return cache.position
    offset = cache.offset
    return offset if isinstance(offset, mx.array) else _position(offset)


@functools.lru_cache(maxsize=4)
def _position(offset: int) -> mx.array:
    """Return a position as an array; all layers of a pass share it."""
    return scalar(offset)


def keeps_all(cache: object) -> bool:
    """Return whether a cache's keys and values are arrays of all its places in order, and room behind them."""
    return type(cache) in (KVCache, OpenKV)


def bucket_of(positions: int) -> int:
    """Return how long the bucket of so many positions is."""
    bucket = _LEAST
    while bucket < positions:
        bucket *= 2
    return bucket


def make_room(layer: KVCache, bucket: int) -> None:
    """Bring a cache to its bucket's length."""
    keys, values = layer.keys, layer.values
    if keys is None or values is None or keys.shape[2] == bucket:
        return
    layer.keys, layer.values = (_resized(part, bucket, layer.offset) for part in (keys, values))


def _resized(part: mx.array, bucket: int, used: int) -> mx.array:
    spare = mx.zeros((*part.shape[:2], bucket - used, part.shape[3]), part.dtype)
    return mx.concatenate([part[:, :, :used], spare], axis=2)


def held_by(layer: Any) -> list[mx.array]:
    """Return what goes into a graph: a recurrent layer's states, or keys and values."""
    return list(layer.cache) if isinstance(layer, RecurrentCache) else [layer.keys, layer.values]


def written_by(layer: Any) -> list[mx.array]:
    """Return what comes out of a graph, for `put_into`."""
    return layer.written() if isinstance(layer, RecurrentCache) else held_by(layer)


def put_into(layer: Any, written: list[mx.array], rows: int) -> None:
    """Put what came out of a graph over so many rows into a layer's cache."""
    if isinstance(layer, RecurrentCache):
        layer.put_written(written, rows)
        return
    layer.keys, layer.values = written
    layer.offset += rows


def kind_of(layer: object) -> RecurrentCache | None:
    """Return an empty cache that stands in for a recurrent layer's; None where keys and values are kept."""
    return layer.like() if isinstance(layer, RecurrentCache) else None


def refilled(kind: RecurrentCache, state: list[mx.array]) -> RecurrentCache:
    """Return a recurrent layer's stand-in that holds a state."""
    cache = kind.like()
    cache.cache = list(state)
    return cache
