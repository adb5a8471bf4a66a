"""The caches of one request behind one interface: what was written can be made final or undone.

A pass over a window writes positions that are open until `commit` says how many of them stay.
"""

from __future__ import annotations

from typing import Protocol

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models import cache as mlx_lm_cache

__all__ = ["Cache", "LayerCache", "evaluate", "kv_cache", "trunk_cache"]


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
    """Caches of all layers of a trunk or head, with the window still open at their end."""

    def __init__(self, layers: list[LayerCache]) -> None:
        self.layers = layers
        self.length = 0
        """Committed positions."""
        self._open = 0

    @property
    def can_roll_back(self) -> bool:
        """Whether part of a window can be undone."""
        return all(layer.is_trimmable() for layer in self.layers)

    def wrote(self, positions: int) -> None:
        """Note that a pass wrote this many positions, open until the next commit."""
        self._open += positions

    def commit(self, kept: int) -> None:
        """Make the first `kept` open positions final and roll back the rest.

        Raises:
            ValueError: more than were written, or a rollback these caches can't do.
        """
        surplus = self._open - kept
        if surplus < 0:
            raise ValueError(f"can't commit {kept} of {self._open} open positions")
        if surplus:
            self._roll_back(surplus)
        self.length += kept
        self._open = 0

    def arrays(self) -> list[tuple[mx.array, ...]]:
        """Return what must be evaluated for the caches to be in memory."""
        return [layer.state for layer in self.layers]

    def _roll_back(self, positions: int) -> None:
        if not self.can_roll_back:
            kinds = sorted({type(layer).__name__ for layer in self.layers})
            raise ValueError(f"these caches can't roll back: {', '.join(kinds)}")
        for layer in self.layers:
            layer.trim(positions)


def trunk_cache(model: nn.Module) -> Cache:
    """Return empty caches for an mlx-lm model."""
    return Cache(mlx_lm_cache.make_prompt_cache(model))


def kv_cache(layers: int) -> Cache:
    """Return empty plain KV caches for a head."""
    return Cache([mlx_lm_cache.KVCache() for _ in range(layers)])


def evaluate(*caches: Cache) -> None:
    """Wait until all that was written to the caches is in memory."""
    mx.eval([cache.arrays() for cache in caches])
