"""A pass over a few rows as a graph that MLX repeats, so that the host need not build it each time.

A trunk or head runs as it is, once for each number of rows and each bucket of cache lengths, over
stand-ins for its caches whose position is an input; after that MLX repeats the graph it left. Only
where layers keep plain KV caches or tapped recurrent states. Knows no model: who uses a replay
compares it with the ordinary pass first.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import KVCache

from engine.model.recurrences import Tape
from engine.model.recurrent import RecurrentCache, RecurrentTap, WindowTape
from engine.model.unfused import unfused

__all__ = ["MAX_GRAPHS", "MAX_ROWS", "PassParts", "Replay"]

_log = logging.getLogger(__name__)
MAX_ROWS = 9
"""The longest window: the last token and the deepest draft."""
MAX_GRAPHS = 36
"""Kept of one kind of pass: of all windows at four lengths. The one used longest ago goes first."""
_LEAST = 256
"""Positions of the smallest bucket; each next one is twice as long."""

Arrays = list[mx.array]
_Left = tuple[Arrays, Arrays]
"""Of a tape: the rows of its convolutions, and what its recurrence is made of."""


class _OpenKV:
    """Stands in for a KV cache while a graph is traced.

    Args:
        keys: [B, heads, bucket, width].
        values: alike.
        offset: int32 [1], positions that are written.
    """

    def __init__(self, keys: mx.array, values: mx.array, offset: mx.array) -> None:
        self.keys = keys
        self.values = values
        self._offset = offset
        self._rows = 0

    @property
    def offset(self) -> mx.array:
        """Where the next row goes."""
        return self._offset + self._rows if self._rows else self._offset

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Write rows; return the whole bucket, of which the mask lets through what is written."""
        at = self.offset
        self._rows += keys.shape[2]
        self.keys = mx.slice_update(self.keys, keys, at, axes=(2,))
        self.values = mx.slice_update(self.values, values, at, axes=(2,))
        return self.keys, self.values

    def make_mask(self, rows: int, window_size: int | None = None, **_: object) -> mx.array:
        """Return which places each of the next rows may look at; bool [rows, bucket]."""
        places = mx.arange(self.keys.shape[2])
        own = self.offset + mx.arange(rows)[:, None]
        mask = places <= own
        return mask if window_size is None else mask & (places > own - window_size)


@dataclass(frozen=True, slots=True)
class PassParts:
    """What a pass runs, and what it leaves beside its outputs."""

    name: str
    """Of the passes, for a person."""
    run: Callable[[Arrays, list[Any]], Arrays]
    """Inputs and the layers' caches to outputs."""
    taps: Sequence[RecurrentTap] = ()


@dataclass(slots=True)
class _Kinds:
    """What a graph's arrays stand for."""

    is_recurrent: list[bool]
    """Of each layer."""
    tapes: list[type[Tape] | None]
    """Of each tap, once the graph is traced."""


@dataclass(frozen=True, slots=True)
class _Graph:
    """What is repeated for one number of rows and one bucket."""

    repeat: Callable[[Arrays, mx.array, list[Arrays]], tuple[Arrays, list[Arrays], list[_Left]]]
    kinds: _Kinds


class Replay:
    """The graphs of one kind of pass.

    Args:
        parts: of the pass.
        fuses: whether MLX may fuse operations.
    """

    def __init__(self, parts: PassParts, *, fuses: bool = False) -> None:
        self._parts = parts
        self._fuses = fuses
        self._graphs: dict[tuple[int, int], _Graph] = {}
        self.note = ""
        """Why no graph is used; empty while they are."""
        self.traced = 0
        """Graphs that were built, again ones too."""
        self.repeated = 0
        """Passes that were no more than the repeating of a graph."""

    def can_run(self, rows: int, layers: Sequence[object]) -> bool:
        """Return whether a pass over these caches can be a graph's."""
        return not self.note and 0 < rows <= MAX_ROWS and all(_is_filled(each) for each in layers)

    def run(
        self, inputs: Arrays, rows: int, layers: list[Any]
    ) -> tuple[Arrays, list[WindowTape | None]]:
        """Run over the next positions, and leave the caches as the model would.

        Args:
            inputs: of the pass; their shapes follow from the number of rows.
            rows: of the pass.
            layers: caches for which `can_run` is true; changed in place.

        Returns:
            The outputs, and the tape of each recurrent layer.
        """
        written = [layer for layer in layers if isinstance(layer, KVCache)]
        offset = written[0].offset if written else 0
        bucket = _bucket(offset + rows) if written else 0
        for layer in written:
            _make_room(layer, bucket)
        graph = self._graph(rows, bucket, layers)
        states = [_held(layer) for layer in layers]
        before = self.traced
        with contextlib.nullcontext() if self._fuses else unfused():
            outputs, after, left = graph.repeat(inputs, mx.array([offset], mx.int32), states)
        self.repeated += self.traced == before
        for layer, state in zip(layers, after, strict=True):
            _put(layer, state, rows)
        tapes = [
            None if kind is None else WindowTape(tuple(inputs), kind.of(arrays))
            for kind, (inputs, arrays) in zip(graph.kinds.tapes, left, strict=True)
        ]
        return outputs, tapes

    def give_up(self, reason: str) -> None:
        """Use no graph from now on."""
        self.note = f"{self._parts.name} are built anew each time: {reason}"
        self._graphs.clear()
        _log.warning("%s", self.note)

    def _graph(self, rows: int, bucket: int, layers: list[Any]) -> _Graph:
        graph = self._graphs.pop((rows, bucket), None)
        if graph is None:
            kinds = _Kinds([isinstance(each, RecurrentCache) for each in layers], [])
            graph = _Graph(mx.compile(functools.partial(self._traced, kinds)), kinds)
        self._graphs[rows, bucket] = graph
        while len(self._graphs) > MAX_GRAPHS:
            del self._graphs[next(iter(self._graphs))]
        return graph

    def _traced(
        self, kinds: _Kinds, inputs: Arrays, offset: mx.array, states: list[Arrays]
    ) -> tuple[Arrays, list[Arrays], list[_Left]]:
        self.traced += 1
        layers = [
            _recurrent(state) if is_recurrent else _OpenKV(state[0], state[1], offset)
            for state, is_recurrent in zip(states, kinds.is_recurrent, strict=True)
        ]
        outputs = self._parts.run(inputs, layers)
        tapes = [tap.take() for tap in self._parts.taps]
        kinds.tapes = [None if tape is None else type(tape.recurrence) for tape in tapes]
        left = [(list(t.inputs), t.recurrence.arrays()) if t else ([], []) for t in tapes]
        return outputs, [_held(each) for each in layers], left


def _is_filled(layer: object) -> bool:
    if isinstance(layer, RecurrentCache):
        return all(isinstance(part, mx.array) for part in layer.cache)
    return type(layer) is KVCache and layer.keys is not None


def _bucket(positions: int) -> int:
    bucket = _LEAST
    while bucket < positions:
        bucket *= 2
    return bucket


def _make_room(layer: KVCache, bucket: int) -> None:
    """Bring a cache to its bucket's length."""
    keys, values = layer.keys, layer.values
    if keys is None or values is None or keys.shape[2] == bucket:
        return
    layer.keys, layer.values = (_resized(part, bucket, layer.offset) for part in (keys, values))


def _resized(part: mx.array, bucket: int, used: int) -> mx.array:
    spare = mx.zeros((*part.shape[:2], bucket - used, part.shape[3]), part.dtype)
    return mx.concatenate([part[:, :, :used], spare], axis=2)


def _held(layer: Any) -> Arrays:
    return list(layer.cache) if isinstance(layer, RecurrentCache) else [layer.keys, layer.values]


def _put(layer: Any, state: Arrays, rows: int) -> None:
    if isinstance(layer, RecurrentCache):
        layer.cache = list(state)
        return
    layer.keys, layer.values = state
    layer.offset += rows


def _recurrent(state: Arrays) -> RecurrentCache:
    cache = RecurrentCache(len(state))
    cache.cache = list(state)
    return cache
