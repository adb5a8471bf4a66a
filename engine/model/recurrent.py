"""Rollback of recurrent layers by innovation tape: no copy of the state for each position.

A tap sits in a recurrent layer of mlx-lm's and keeps, of each pass, the rows that went into
its convolutions and the tape of its recurrence. The cache of the layer remembers the state
before the window; rolling back takes the convolutions' rows and replays the tape.

mlx-lm's code is neither copied nor changed: within the one layer its own methods run with one
name bound to ours, the recurrence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from types import FunctionType
from typing import cast

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import ArraysCache

from engine.model.mixers import Mixer, Slots, mixer_of
from engine.model.rebinding import called, methods_naming, modules, rebound
from engine.model.recurrences import RECURRENCES, Recurrence, Tape
from kernels.delta_mixer import MAX_ROWS, MixerState, count_of

__all__ = [
    "RecurrentCache",
    "RecurrentTap",
    "WindowTape",
    "has_recurrence",
    "tap_recurrent_layers",
]


_MIXED_SLOTS = len(fields(MixerState))


@dataclass(frozen=True, slots=True)
class WindowTape:
    """What a layer's pass over a window leaves to roll it back."""

    inputs: tuple[mx.array, ...]
    """Of each convolution: [B, kept + rows, channels], the kept rows of before in front."""
    recurrence: Tape


class _SeenConv(nn.Conv1d):
    """A convolution that keeps its newest input."""

    _seen: list[mx.array]

    def __call__(self, x: mx.array) -> mx.array:
        self._seen = [x]
        return super().__call__(x)

    def take(self) -> mx.array | None:
        """Return the newest input, and let go of it."""
        seen, self._seen = self._seen, []
        return seen[0] if seen else None


def _watch(conv: nn.Conv1d) -> _SeenConv:
    """Make an mlx-lm layer's convolution, in its place, one that keeps its input."""
    conv.__class__ = _SeenConv
    seen = cast("_SeenConv", conv)
    seen._seen = []
    return seen


class RecurrentTap:
    """See the module.

    Args:
        layer: of mlx-lm's; from now on its recurrence is ours.
    """

    def __init__(self, layer: nn.Module) -> None:
        layer.__class__ = _untapped(layer)
        name, original = _recurrence_of(layer)
        self._recurrence: Recurrence = RECURRENCES[name](original)
        self._convs = [_watch(conv) for conv in _convolutions(layer)]
        self._mixer = mixer_of(layer)
        layer.__class__ = rebound(type(layer), name, self._recurrence)
        if self._mixer is not None:
            layer.__class__ = _mixing(type(layer), self._mixer)

    @property
    def mixer(self) -> Mixer | None:
        """What runs the layer's few rows, where there is a kernel for it."""
        return self._mixer

    def take(self) -> WindowTape | None:
        """Return the newest pass's tape, and let go of it; None where none was kept."""
        seen = [conv.take() for conv in self._convs]
        inputs = tuple(rows for rows in seen if rows is not None)
        tape, self._recurrence.tape = self._recurrence.tape, None
        return None if tape is None else WindowTape(inputs, tape)


class RecurrentCache(ArraysCache):
    """Convolution windows and the state of a tapped layer; behind them what a mixer keeps.

    Where a mixer ran, how many rows of the newest pass stay is one of the slots, so that undoing
    the others only changes that number.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size=size)
        self._begin: Slots = list(self.cache)
        self._rows = 0
        self._tape: WindowTape | None = None
        self._is_one_pass = True
        self.mixer: Mixer | None = None
        """Of its layer, where there is one."""

    @property
    def is_deferred(self) -> bool:
        """Whether rows of the newest pass are still to be added to the state."""
        return self.mixer is not None and len(self.cache) == _MIXED_SLOTS

    def like(self) -> RecurrentCache:
        """Return an empty cache of the same layer."""
        cache = RecurrentCache(len(self.cache))
        cache.mixer = self.mixer
        return cache

    def written(self) -> Slots:
        """Return what the newest pass computed, for `put_written`.

        How many of its rows stay is not among it: that is told by an array that all layers share,
        which a graph of MLX's must not have both as an input and as a constant of its own.
        """
        return list(self.cache[:-1] if self.is_deferred else self.cache)

    def put_written(self, arrays: Sequence[mx.array | None], rows: int) -> None:
        """Take what `written` gave of a pass over so many rows, all of which stay.

        The slots may have been in mlx-lm's form before that pass: its arrays say what it left.
        """
        is_deferred = self.mixer is not None and len(arrays) == _MIXED_SLOTS - 1
        self.cache = [*arrays, count_of(rows)] if is_deferred else list(arrays)

    def plain_slots(self) -> Slots:
        """Return convolution windows and state, all rows that stay in them."""
        return (
            list(self.cache) if self.mixer is None else self.mixer.folded(cast("Slots", self.cache))
        )

    def fold(self) -> None:
        """Bring the slots into mlx-lm's form; what they mean stays the same."""
        is_begin = self._rows == 0
        self.cache = self.plain_slots()
        if is_begin:
            self._begin = list(self.cache)

    def record(self, rows: int, tape: WindowTape | None) -> None:
        """Note a pass over the next rows; several passes in a window can only be undone whole."""
        self._is_one_pass = self._rows == 0
        self._tape = tape if self._is_one_pass else None
        self._rows += rows

    def settle(self) -> None:
        """Make what the slots hold the state that a rollback goes back to."""
        if self.mixer is not None:
            self.cache = self.mixer.opened(cast("Slots", self.cache))
        self._begin = list(self.cache)
        self._rows = 0
        self._tape = None

    def is_trimmable(self) -> bool:
        """Return True: what is open can be undone."""
        return True

    def trim(self, n: int) -> int:
        """Undo the last n of the open rows.

        Raises:
            ValueError: the open rows are fewer, or were too many to keep a tape of.
        """
        kept = self._rows - n
        can_split = self._tape is not None or (self.is_deferred and self._is_one_pass)
        if kept < 0 or (kept and n and not can_split):
            raise ValueError(f"can't undo {n} of {self._rows} rows of a recurrent state")
        if n and kept:
            self._replay(kept)
        elif n:
            self.cache = list(self._begin)
        self._rows = kept
        self._tape = None
        return n

    def _replay(self, kept: int) -> None:
        if self.is_deferred:
            self.cache = [*self.cache[:-1], count_of(kept)]
            return
        if self._tape is None:
            raise ValueError("there is no tape to replay")
        windows = []
        for rows, newest in zip(self._tape.inputs, self.cache[:-1], strict=True):
            if newest is not None:
                windows.append(mx.contiguous(rows[:, kept : kept + newest.shape[1]]))
        state = self._tape.recurrence.state_after(kept, self._begin[-1])
        self.cache = [*windows, state]


def tap_recurrent_layers(model: nn.Module) -> list[RecurrentTap]:
    """Tap every layer whose recurrence is known here, in the order of their caches."""
    return [RecurrentTap(module) for module in modules(model) if _is_recurrent(module)]


def has_recurrence(model: nn.Module) -> bool:
    """Return whether a model has layers of the gated delta rule."""
    return any(methods_naming(type(module), "gated_delta_update") for module in modules(model))


def _convolutions(layer: nn.Module) -> list[nn.Conv1d]:
    return [module for module in modules(layer) if isinstance(module, nn.Conv1d)]


def _is_recurrent(module: nn.Module) -> bool:
    kind = _untapped(module)
    if not kind.__module__.startswith("mlx_lm.models."):
        return False
    return any(methods_naming(kind, name) for name in RECURRENCES)


def _mixing(kind: type[nn.Module], mixer: Mixer) -> type[nn.Module]:
    """Return the class whose few rows, over a cache of ours, are run by a mixer."""

    def call(
        self: nn.Module, inputs: mx.array, mask: mx.array | None = None, cache: object = None
    ) -> mx.array:
        if mask is not None or not isinstance(cache, RecurrentCache) or cache.lengths is not None:
            return kind.__call__(self, inputs, mask, cache)
        if inputs.shape[1] > MAX_ROWS:
            cache.fold()
            return kind.__call__(self, inputs, mask, cache)
        y, cache.cache = mixer.run(inputs, cast("Slots", cache.cache))
        cache.advance(inputs.shape[1])
        return self.out_proj(y)

    return called(kind, call, untapped=kind)


def _untapped(layer: nn.Module) -> type[nn.Module]:
    """Return the layer's class without a mixer in it."""
    return getattr(type(layer), "untapped", type(layer))


def _recurrence_of(layer: nn.Module) -> tuple[str, FunctionType]:
    for name in RECURRENCES:
        for method in methods_naming(type(layer), name).values():
            return name, method.__globals__[name]
    raise ValueError(f"{type(layer).__name__} has no recurrence known here")
