"""A pass over a few rows as a graph that MLX repeats, so that the host need not build it each time.

A trunk or head runs as it is, once for each number of rows and each bucket of cache lengths, over
stand-ins for its caches whose position is an input; after that MLX repeats the graph it left. Only
where layers keep plain KV caches or tapped recurrent states. Knows no model: who uses a replay
compares it with the ordinary pass first.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import KVCache

from engine.model.arrays import reals
from engine.model.graph_caches import (
    OpenKV,
    Place,
    bucket_of,
    held_by,
    is_filled,
    kind_of,
    make_room,
    put_into,
    refilled,
    written_by,
    written_places,
)
from engine.model.recurrences import Tape
from engine.model.recurrent import RecurrentCache, RecurrentTap, WindowTape
from engine.model.stretches import left_by, stretches_of
from kernels.dialect import scalar

__all__ = [
    "MAX_GRAPHS",
    "MAX_ROWS",
    "PassParts",
    "Progress",
    "Replay",
    "graphs_built",
    "unheard",
]

_log = logging.getLogger(__name__)
MAX_ROWS = 9
"""The longest window: the last token and the deepest draft."""
MAX_GRAPHS = 36
"""Kept of one kind of pass: of all windows at four lengths. The one used longest ago goes first."""
_WAITED_FOR = 4
"""Rows of the longest pass that a load waits for: CUDA's compiler takes ten seconds for each of MLX's own
matmuls of eight rows and more, which may never be asked for."""
_FARTHEST = 8192
"""Positions of the longest bucket over which MLX's own attention is a graph's: it reads the whole bucket, and
with a mask takes a slower way. Over 65,536 positions a row of 64 layers took 28.6 ms so, and 15.9 by the
kernel that reads what is written."""

_NOISE = 0.05
"""Two orders of summing in 16 bits may be this far apart, as a share of all numbers."""

Progress = Callable[[str, int, int], None]
Arrays = list[mx.array]
_Left = tuple[Arrays, Arrays]
"""Of a tape: the rows of its convolutions, and what its recurrence is made of."""


@dataclass(frozen=True, slots=True)
class PassParts:
    """What a pass runs, and what it leaves beside its outputs."""

    name: str
    """Of the passes, for a person."""
    run: Callable[[Arrays, list[Any]], Arrays]
    """Inputs and the layers' caches to outputs. Holds no one who holds the graphs: with such a ring a
    model would stay in memory when it is let go of."""
    taps: Sequence[RecurrentTap] = ()
    body: nn.Module | None = None
    """Whose layers can be run in stretches, each with the cache of its number."""
    reads_written: bool = False
    """Whether attention reads of a bucket only what is written, so that any length can be a graph's."""


@dataclass(slots=True)
class _Kinds:
    """What the arrays of a stretch of a graph stand for."""

    stretch: range
    recurrent: list[RecurrentCache | None]
    """Of each layer that is recurrent: an empty cache to stand in while the graph is traced."""
    bucket: int
    tapes: list[type[Tape] | None]
    """Of each tap, once the graph is traced."""


@dataclass(frozen=True, slots=True)
class _Stretch:
    """What is repeated of a stretch of layers, for one number of rows and one bucket."""

    repeat: Callable[
        [Arrays, Arrays, mx.array, list[Arrays]], tuple[Arrays, list[Arrays], list[_Left]]
    ]
    kinds: _Kinds


class Replay:
    """The graphs of one kind of pass.

    Args:
        parts: of the pass.
    """

    def __init__(self, parts: PassParts) -> None:
        self._parts = parts
        self._graphs: dict[tuple[int, int], list[_Stretch]] = {}
        self._is_compared = False
        self._is_parted = True
        """Whether a pass is in stretches; not where that is wrong, for what goes from layer to layer."""
        self.note = ""
        """Why no graph is used; empty while they are."""

    @property
    def count(self) -> int:
        """How many graphs there are."""
        return len(self._graphs)

    def can_run(self, rows: int, layers: Sequence[object]) -> bool:
        """Return whether a pass over these caches can be a graph's."""
        is_wanted = self._is_compared and not self.note and 0 < rows <= MAX_ROWS
        is_near = self._parts.reads_written or written_places(layers) + rows <= _FARTHEST
        return is_wanted and is_near and all(is_filled(each) for each in layers)

    def run(
        self, inputs: Arrays, rows: int, layers: list[Any]
    ) -> tuple[Arrays, list[WindowTape | None]]:
        """Run over the next positions, and leave the caches as the model would.

        Where it raises, layers of the first stretches are ahead of the others: such caches can't be gone on with.

        Args:
            inputs: of the pass; their shapes follow from the number of rows.
            rows: of the pass.
            layers: caches for which `can_run` is true; changed in place.

        Returns:
            The outputs, and the tape of each recurrent layer.
        """
        written = [layer for layer in layers if isinstance(layer, KVCache)]
        offset = written_places(layers)
        bucket = bucket_of(offset + rows) if written else 0
        for layer in written:
            make_room(layer, bucket)
        place = scalar(offset)
        tapes: list[WindowTape | None] = [None] * len(self._parts.taps)
        *begun, last = self._graph(rows, bucket, layers)
        given: Arrays = []
        for stretch in begun:
            given = _repeated(stretch, (inputs, given, place), layers, rows, tapes)
            mx.async_eval(given)
        return _repeated(last, (inputs, given, place), layers, rows, tapes), tapes

    def prepare(
        self, trial: Callable[[], mx.array], run: Callable[[int], mx.array], progress: Progress
    ) -> bool:
        """Compare graphs with the ordinary pass, and build those of a short cache.

        Args:
            trial: runs passes that read, draft, roll back and go on; returns what they gave.
            run: a pass over so many rows, undone in the caches; returns what it gave.
            progress: told the stage and how much of how much is done; may raise to end it.

        Returns:
            Whether graphs are used: not where caches are of another kind, nor where they were
            given up, since they differ or can't be built.
        """
        stage = f"building graphs of {self._parts.name}"
        progress(stage, 0, MAX_ROWS)
        fault = self._fault(trial)
        if fault and any(len(graph) > 1 for graph in self._graphs.values()):
            _log.info("%s are not cut into stretches: %s", self._parts.name, fault)
            self._is_parted = False
            self._graphs.clear()
            fault = self._fault(trial)
        if fault:
            self.give_up(fault)
        if not self._graphs:
            return False
        for rows in range(1, MAX_ROWS + 1):
            progress(stage, rows - 1, MAX_ROWS)
            result = run(rows)
            if rows <= _WAITED_FOR:
                mx.eval(result)
        return True

    def _fault(self, trial: Callable[[], mx.array]) -> str:
        """Return what is wrong with graphs; empty where they are right, or none can be used."""
        self._is_compared = False
        ordinary = trial()
        self._is_compared = True
        try:
            apart = _apart(trial(), ordinary)
        except (
            ArithmeticError,
            AssertionError,
            AttributeError,
            LookupError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:
            return " ".join(str(error).split())[:160] or type(error).__name__
        return "" if apart < _NOISE else f"graphs of them are off by {apart:.2g}"

    def give_up(self, reason: str) -> None:
        """Use no graph from now on."""
        self.note = f"{self._parts.name} are built anew each time: {reason}"
        self._graphs.clear()
        _log.warning("%s", self.note)

    def _graph(self, rows: int, bucket: int, layers: list[Any]) -> list[_Stretch]:
        graph = self._graphs.pop((rows, bucket), None)
        if graph is None:
            graph = [self._untraced(each, bucket, layers) for each in self._stretches(layers)]
        self._graphs[rows, bucket] = graph
        while len(self._graphs) > MAX_GRAPHS:
            del self._graphs[next(iter(self._graphs))]
        return graph

    def _stretches(self, layers: list[Any]) -> list[range]:
        """Return what is a graph of its own: where each layer has its cache, a stretch of them."""
        count = len(layers)
        body = self._parts.body
        is_parted = self._is_parted and body is not None and len(body.layers) == count
        return stretches_of(count) if is_parted else [range(count)]

    def _untraced(self, stretch: range, bucket: int, layers: list[Any]) -> _Stretch:
        kinds = _Kinds(stretch, [kind_of(each) for each in layers], bucket, [])
        return _Stretch(mx.compile(functools.partial(_traced, self._parts, kinds)), kinds)


def _repeated(
    stretch: _Stretch,
    given: tuple[Arrays, Arrays, mx.array],
    layers: list[Any],
    rows: int,
    tapes: list[WindowTape | None],
) -> Arrays:
    """Run a stretch over the next positions; return what it gives, and leave caches and tapes."""
    kinds = stretch.kinds
    own = [layers[index] for index in kinds.stretch]
    outputs, after, left = stretch.repeat(*given, [held_by(each) for each in own])
    for layer, state in zip(own, after, strict=True):
        put_into(layer, state, rows)
    for index, (kind, (taped, arrays)) in enumerate(zip(kinds.tapes, left, strict=True)):
        if kind is not None:
            tapes[index] = WindowTape(tuple(taped), kind.of(arrays))
    return outputs


def _traced(
    parts: PassParts,
    kinds: _Kinds,
    inputs: Arrays,
    given: Arrays,
    place: mx.array,
    states: list[Arrays],
) -> tuple[Arrays, list[Arrays], list[_Left]]:
    stretch = kinds.stretch
    blank = mx.zeros((1, 1, kinds.bucket, 1))
    own = Place(place)
    layers: list[Any] = [
        OpenKV(blank, blank, own) if kind is None else kind.like() for kind in kinds.recurrent
    ]
    for index, state in zip(stretch, states, strict=True):
        kind = kinds.recurrent[index]
        layers[index] = OpenKV(*state, own) if kind is None else refilled(kind, state)
    if len(stretch) == len(layers):
        outputs = parts.run(inputs, layers)
    else:
        run = functools.partial(parts.run, inputs, layers)
        outputs = left_by(cast("nn.Module", parts.body), stretch, given, run)
    _built[0] += stretch.stop == len(layers)
    tapes = [tap.take() for tap in parts.taps]
    kinds.tapes = [None if tape is None else type(tape.recurrence) for tape in tapes]
    left = [(list(t.inputs), t.recurrence.arrays()) if t else ([], []) for t in tapes]
    return outputs, [written_by(layers[index]) for index in stretch], left


def unheard(*_: object) -> None:
    """Stand in for a progress that nobody hears."""


def graphs_built() -> int:
    """Return how many graphs this process has built: while a text is written, none should be."""
    return _built[0]


_built = [0]


def _apart(one: mx.array, other: mx.array) -> float:
    (share,) = reals((mx.linalg.norm(one - other) / mx.linalg.norm(other)).reshape(1))
    return share
