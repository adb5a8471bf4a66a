"""A model's pass in stretches of its layers, so that a GPU begins with the first while the host builds the next.

mlx-lm's code runs as it is, once for each stretch: layers before the stretch hand on what they are given,
its first layer takes the rows that the stretch before has left, and the pass ends where it does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from itertools import pairwise
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from engine.model.residuals import settled

__all__ = ["left_by", "stretches_of"]

_LENGTH = 4
"""Layers: a GPU waits as long as it takes to build the first of them."""


def stretches_of(layers: int) -> list[range]:
    """Return stretches of so many layers, in order; what is left goes to the last."""
    begins = range(0, max(1, layers - _LENGTH + 1), _LENGTH)
    return [range(begin, end) for begin, end in pairwise((*begins, layers))]


def left_by(
    body: nn.Module, stretch: range, rows: mx.array | None, run: Callable[[], list[mx.array]]
) -> list[mx.array]:
    """Run a stretch of a body's layers.

    Args:
        body: its `layers` are called one after the other, rows first.
        stretch: which of them.
        rows: what the stretch before has left; None for the first one.
        run: the whole pass.

    Returns:
        What the pass gives, of the last stretch; of others the rows that the next one takes.

    Raises:
        ValueError: what goes from layer to layer is not one array.
    """
    with _only(body, stretch, rows):
        try:
            return run()
        except _EndReached as end:
            return [end.rows]


class _EndReached(Exception):
    def __init__(self, rows: mx.array) -> None:
        self.rows = rows


class _StandIn:
    """Stands in for a layer, which tells what it is."""

    def __init__(self, layer: nn.Module, rows: mx.array | None = None) -> None:
        self._layer = layer
        self._rows = rows

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)


class _Before(_StandIn):
    def __call__(self, x: Any, *_: object, **__: object) -> Any:
        return x


class _First(_StandIn):
    def __call__(self, _: object, *rest: Any, **named: Any) -> Any:
        return self._layer(self._rows, *rest, **named)


class _Behind(_StandIn):
    def __call__(self, x: Any, *_: object, **__: object) -> Any:
        rows = settled(x)
        if not isinstance(rows, mx.array):
            raise ValueError(f"layers hand on a {type(rows).__name__}")
        raise _EndReached(rows)


@contextlib.contextmanager
def _only(body: nn.Module, stretch: range, rows: mx.array | None) -> Generator[None]:
    layers = body.layers
    own = [layers[index] for index in stretch]
    if rows is not None:
        own[0] = _First(own[0], rows)
    before = [_Before(each) for each in layers[: stretch.start]]
    body.layers = [*before, *own, *(_Behind(each) for each in layers[stretch.stop :])]
    try:
        yield
    finally:
        body.layers = layers
