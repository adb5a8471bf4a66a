"""A tiny model, and states of streams held against each other, for passes that run ahead of their cycles."""

from __future__ import annotations

import itertools

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.models.cache import ArraysCache, KVCache

from engine.model.cache import Cache, leaves_of
from engine.model.load import LoadedModel
from engine.model.sliding import SlidingCache
from engine.model.trunk import Trunk, TrunkOutput
from engine.speculation.stream import Stream
from tests.fakes import tiny

LETTERS = 'ab"{}[]:,01 .'


def tiny_model() -> LoadedModel:
    """Return a model with a head whose letters are enough for JSON, and an end token."""
    vocabulary = tiny.vocabulary_of(LETTERS)
    vocabulary.add_special_tokens(["<|end|>"])
    return tiny.loaded(vocabulary, frozenset({len(LETTERS)}))


def leaves(cache: Cache) -> list[np.ndarray]:
    """Return what a cache holds of its committed positions."""
    found = []
    for leaf in leaves_of(cache.layers):
        if isinstance(leaf, KVCache):
            found += [np.array(part[..., : leaf.offset, :]) for part in leaf.state[:2]]
        elif isinstance(leaf, SlidingCache):
            found += [np.array(part) for part in leaf.keys_and_values()]
        else:
            assert isinstance(leaf, ArraysCache)
            found += [np.array(part) for part in leaf.cache if part is not None]
    return found


def assert_same_state(one: Stream, other: Stream) -> None:
    """Hold each bit of two streams' caches against each other."""
    assert (one.last, one.position, one.cycle) == (other.last, other.position, other.cycle)
    assert one.pending_rows == other.pending_rows
    for stream in (one, other):
        stream.prime()
    for ours, theirs in zip(one.caches(), other.caches(), strict=True):
        assert ours.open == theirs.open == 0
        assert [_place(leaf) for leaf in leaves_of(ours.layers)] == [
            _place(leaf) for leaf in leaves_of(theirs.layers)
        ]
        pairs = list(zip(leaves(ours), leaves(theirs), strict=True))
        assert pairs
        assert all(np.array_equal(a, b) for a, b in pairs)


def _place(leaf: object) -> int:
    return getattr(leaf, "offset", 0)


def failing(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Let the pass of this number, over one row, break off in its last layer's cache."""
    numbers = itertools.count(1)
    forward = Trunk.forward

    def passing(self: Trunk, tokens: mx.array, cache: Cache) -> TrunkOutput:
        output = forward(self, tokens, cache)
        if tokens.shape[0] == 1 and next(numbers) == at:
            raise RuntimeError("out of memory")
        return output

    monkeypatch.setattr(Trunk, "forward", passing)
