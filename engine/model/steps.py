"""A trunk's pass over a few rows as a compiled graph, so that the host need not build it each time.

The model runs as it is, once for each number of rows and each bucket of cache lengths, over stand-ins
for its caches whose position is an input; after that MLX repeats the graph it left. Only for models
whose layers keep plain KV caches or tapped recurrent states, and only on a GPU: the first graph's
result is compared with the ordinary pass, and one that differs or can't be traced is told and not
used.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import KVCache

from engine.model.recurrences import Tape
from engine.model.recurrent import RecurrentCache, RecurrentTap, WindowTape

__all__ = ["MAX_ROWS", "CompiledSteps", "StepOutput", "StepParts"]

_log = logging.getLogger(__name__)
MAX_ROWS = 9
"""The longest window: the last token and the deepest draft."""
_LEAST = 256
"""Positions of the smallest bucket; each next one is twice as long."""

Arrays = list[mx.array]


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
class StepParts:
    """What a step runs, and what it leaves beside its logits."""

    run: Callable[[mx.array, list[Any]], mx.array]
    """Tokens [1, n] and the layers' caches to logits [1, n, vocabulary]."""
    taps: Sequence[RecurrentTap]
    take_hidden: Callable[[], mx.array | None]


@dataclass(frozen=True, slots=True)
class StepOutput:
    """What a step gives."""

    logits: mx.array
    """[1, n, vocabulary]."""
    hidden: mx.array | None
    """[1, n, hidden]; None where the trunk isn't tapped."""
    tapes: list[WindowTape | None]
    """Of each recurrent layer."""


class CompiledSteps:
    """The graphs of one trunk."""

    def __init__(self, parts: StepParts) -> None:
        self._parts = parts
        self._graph = mx.compile(self._traced)
        self._tapes: dict[int, list[type[Tape] | None]] = {}
        """By rows: what each tap's tape is."""
        self._is_recurrent: list[bool] = []
        self.note = ""
        """Why no graph is used; empty while they are."""
        self.traced = 0
        """Graphs so far: each is a number of rows and a bucket."""

    def can_run(self, rows: int, layers: Sequence[object]) -> bool:
        """Return whether a pass over these caches can be a compiled one."""
        return not self.note and 0 < rows <= MAX_ROWS and all(_is_filled(each) for each in layers)

    def run(self, tokens: mx.array, layers: list[Any]) -> StepOutput:
        """Run over the next positions, and leave the caches as the model would.

        Args:
            tokens: integer [n].
            layers: caches for which `can_run` is true; changed in place.
        """
        rows = tokens.shape[0]
        self._is_recurrent = [isinstance(layer, RecurrentCache) for layer in layers]
        written = [layer for layer in layers if isinstance(layer, KVCache)]
        for layer in written:
            _make_room(layer, rows)
        offset = mx.array([written[0].offset if written else 0], mx.int32)
        states = [_held(layer) for layer in layers]
        logits, hidden, after, tapes = self._graph(tokens.astype(mx.uint32), offset, states)
        for layer, state in zip(layers, after, strict=True):
            _put(layer, state, rows)
        kinds = self._tapes[rows]
        windows = [
            None if kind is None else WindowTape(tuple(inputs), kind.of(arrays))
            for kind, (inputs, arrays) in zip(kinds, tapes, strict=True)
        ]
        return StepOutput(logits, hidden[0] if hidden else None, windows)

    def give_up(self, reason: str) -> None:
        """Use no graph from now on."""
        self.note = f"compiled steps are off: {reason}"
        _log.warning("%s", self.note)

    def _traced(
        self, tokens: mx.array, offset: mx.array, states: list[Arrays]
    ) -> tuple[mx.array, Arrays, list[Arrays], list[tuple[Arrays, Arrays]]]:
        self.traced += 1
        layers = [
            _recurrent(state) if is_recurrent else _OpenKV(state[0], state[1], offset)
            for state, is_recurrent in zip(states, self._is_recurrent, strict=True)
        ]
        logits = self._parts.run(tokens[None], layers)
        hidden = self._parts.take_hidden()
        tapes = [tap.take() for tap in self._parts.taps]
        self._tapes[tokens.shape[0]] = [
            None if tape is None else type(tape.recurrence) for tape in tapes
        ]
        left = [(list(t.inputs), t.recurrence.arrays()) if t else ([], []) for t in tapes]
        return logits, [] if hidden is None else [hidden], [_held(each) for each in layers], left


def _is_filled(layer: object) -> bool:
    if isinstance(layer, RecurrentCache):
        return all(isinstance(part, mx.array) for part in layer.cache)
    return type(layer) is KVCache and layer.keys is not None


def _make_room(layer: KVCache, rows: int) -> None:
    """Bring a cache to its bucket's length."""
    needed, bucket = layer.offset + rows, _LEAST
    while bucket < needed:
        bucket *= 2
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
