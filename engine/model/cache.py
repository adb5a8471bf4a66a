"""The caches of one request behind one interface: what was written can be made final or undone.

A pass over a window writes positions that are open until `commit` says how many of them stay.
Where they go back to is the snapshot that the last commit left: a length for KV caches, the
state itself, kept by reference, for recurrent ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models import cache as mlx_lm_cache

from engine.model.recurrent import RecurrentCache, RecurrentTap, WindowTape
from engine.model.sliding import SlidingCache

__all__ = ["Cache", "LayerCache", "evaluate", "leaves_of", "trunk_cache"]


class LayerCache(Protocol):
    """What mlx-lm's caches offer, as far as it is used here."""

    @property
    def state(self) -> tuple[mx.array, ...]:
        """Arrays that hold the cache."""

    def is_trimmable(self) -> bool:
        """Whether `trim` can undo positions."""

    def trim(self, n: int) -> int:
        """Undo the last n positions."""


class Cache:
    """Caches of all layers of a trunk or head, with the window still open at their end.

    Args:
        layers: as the model takes them.
        taps: of its recurrent layers, in the order of their caches.
    """

    def __init__(self, layers: list[LayerCache], taps: Sequence[RecurrentTap] = ()) -> None:
        self.layers = layers
        self.length = 0
        """Committed positions."""
        self.open = 0
        """Positions written since the last commit."""
        self._taps = taps
        leaves = leaves_of(layers)
        self._recurrent = [leaf for leaf in leaves if isinstance(leaf, RecurrentCache)]
        for leaf, tap in zip(self._recurrent, taps, strict=False):
            leaf.mixer = tap.mixer
        self._obstinate = {type(leaf).__name__ for leaf in leaves if not _can_roll_back(leaf)}

    @property
    def can_roll_back(self) -> bool:
        """Whether part of a window can be undone."""
        return not self._obstinate

    def wrote(self, positions: int, tapes: list[WindowTape | None] | None = None) -> None:
        """Note that a pass wrote this many positions, open until the next commit.

        Args:
            positions: of the pass.
            tapes: of the recurrent layers; None takes them from the taps.
        """
        self.open += positions
        if tapes is None:
            tapes = [tap.take() for tap in self._taps]
        for tape, layer in zip(tapes, self._recurrent, strict=True):
            layer.record(positions, tape)

    def commit(self, kept: int) -> None:
        """Make the first `kept` open positions final and roll back the rest.

        Raises:
            ValueError: more than were written, or a rollback these caches can't do.
        """
        surplus = self.open - kept
        if surplus < 0:
            raise ValueError(f"can't commit {kept} of {self.open} open positions")
        if surplus:
            self._roll_back(surplus)
        self.settle()
        self.length += kept
        self.open = 0

    def settle(self) -> None:
        """Make what the recurrent layers hold the state that a rollback goes back to."""
        for layer in self._recurrent:
            layer.settle()

    def waiting_rows(self) -> tuple[mx.array | None, ...]:
        """Return rows that belong to the committed positions but are in no layer yet."""
        return ()

    def restored(self, length: int, waiting: Sequence[mx.array | None]) -> None:
        """Note that the layers were filled from outside, and with `waiting_rows` of then."""
        self.length = length
        self.settle()

    def arrays(self) -> list[tuple[mx.array, ...]]:
        """Return what must be evaluated for the caches to be in memory."""
        return [layer.state for layer in self.layers]

    def _roll_back(self, positions: int) -> None:
        if not self.can_roll_back:
            raise ValueError(f"these caches can't roll back: {', '.join(sorted(self._obstinate))}")
        for layer in self.layers:
            layer.trim(positions)


def trunk_cache(model: nn.Module, taps: Sequence[RecurrentTap] = ()) -> Cache:
    """Return empty caches for an mlx-lm model, each of the kind that can roll back.

    Args:
        model: the trunk.
        taps: of its recurrent layers; where there are others too, none can be rolled back.
    """
    layers: list[LayerCache] = mlx_lm_cache.make_prompt_cache(model)
    leaves = leaves_of(layers)
    recurrent = sum(isinstance(leaf, mlx_lm_cache.ArraysCache) for leaf in leaves)
    is_tapped = recurrent == len(taps)
    return Cache(
        [_replaced(layer, is_tapped=is_tapped) for layer in layers], taps if is_tapped else ()
    )


def leaves_of(layers: Sequence[LayerCache]) -> list[LayerCache]:
    """Return the caches that layers consist of."""
    found: list[LayerCache] = []
    for layer in layers:
        if isinstance(layer, mlx_lm_cache.CacheList):
            found += leaves_of(cast("tuple[LayerCache, ...]", layer.caches))
        else:
            found.append(layer)
    return found


def evaluate(*caches: Cache) -> None:
    """Wait until all that was written to the caches is in memory."""
    mx.eval([cache.arrays() for cache in caches])


def _replaced(layer: LayerCache, *, is_tapped: bool) -> LayerCache:
    """Return our cache in place of one of mlx-lm's that can't roll back."""
    if isinstance(layer, mlx_lm_cache.RotatingKVCache) and not layer.keep:
        return SlidingCache(layer.max_size)
    if isinstance(layer, mlx_lm_cache.ArraysCache) and is_tapped:
        return RecurrentCache(len(layer.cache))
    if isinstance(layer, mlx_lm_cache.CacheList):
        return mlx_lm_cache.CacheList(
            *(_replaced(part, is_tapped=is_tapped) for part in layer.caches)
        )
    return layer


def _can_roll_back(layer: LayerCache) -> bool:
    is_ring = isinstance(layer, mlx_lm_cache.RotatingKVCache)
    return layer.is_trimmable() and not is_ring
