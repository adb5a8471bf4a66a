"""A model's pass in stretches of its layers, so that a GPU begins with the first while the host builds the next.

mlx-lm's code runs as it is, once for each stretch: layers before the stretch hand on what they are given,
its first layer takes the rows that the stretch before has left, and the pass ends where it does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from engine.model.residuals import put_together, taken_apart

__all__ = ["left_by", "stretches_of"]

_FIRST = 4
"""Layers of the first stretch: a GPU waits as long as it takes to build them. Each next one is twice as long,
since handing a stretch over on its own costs as much as building some of its layers."""


def stretches_of(layers: int) -> list[range]:
    """Return stretches of so many layers, in order; what is left goes to the last."""
    stretches, begin, length = [], 0, _FIRST
    while begin + 2 * length < layers:
        stretches.append(range(begin, begin + length))
        begin, length = begin + length, 2 * length
    return [*stretches, range(begin, layers)]


def left_by(
    body: nn.Module, stretch: range, rows: list[mx.array], run: Callable[[], list[mx.array]]
) -> list[mx.array]:
    """Run a stretch of a body's layers.

    Args:
        body: its `layers` are called one after the other, rows first.
        stretch: which of them.
        rows: what the stretch before has left; empty for the first one.
        run: the whole pass.

    Returns:
        What the pass gives, of the last stretch; of others the rows that the next one takes, with what has
        still to be added to them.

    Raises:
        ValueError: what goes from layer to layer is something else.
    """
    with _only(body, stretch, rows):
        try:
            return run()
        except _EndReached as end:
            return end.rows


class _EndReached(Exception):
    def __init__(self, rows: list[mx.array]) -> None:
        self.rows = rows


class _StandIn:
    """Stands in for a layer, which tells what it is."""

    def __init__(self, layer: nn.Module, rows: list[mx.array]) -> None:
        self._layer = layer
        self._rows = rows

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)

    @property
    def __class__(self) -> Any:
        """The layer's: some models ask what kind each of their layers is."""
        return type(self._layer)


class _Before(_StandIn):
    def __call__(self, x: Any, *_: object, **__: object) -> Any:
        return x


class _First(_StandIn):
    def __call__(self, _: object, *rest: Any, **named: Any) -> Any:
        return self._layer(put_together(self._rows), *rest, **named)


class _Behind(_StandIn):
    def __call__(self, x: Any, *_: object, **__: object) -> Any:
        rows = taken_apart(x)
        if not all(isinstance(each, mx.array) for each in rows):
            raise ValueError(f"layers hand on a {type(x).__name__}")
        raise _EndReached(rows)


@contextlib.contextmanager
def _only(body: nn.Module, stretch: range, rows: list[mx.array]) -> Generator[None]:
    layers = body.layers
    own = [layers[index] for index in stretch]
    if rows:
        own[0] = _First(own[0], rows)
    before = [_Before(each, []) for each in layers[: stretch.start]]
    body.layers = [*before, *own, *(_Behind(each, []) for each in layers[stretch.stop :])]
    try:
        yield
    finally:
        body.layers = layers
