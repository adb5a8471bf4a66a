"""What few rows take between their matmuls on a CPU, in fewer operations: norms, rotations, gates.

MLX's CPU backend has no kernels for norms and rotations. It makes them of seven and of some twenty
operations, each of which takes longer to begin than a row's numbers take. mlx-lm's layers stay what they are.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.activations import swiglu
from mlx_lm.models.rope_utils import Llama3RoPE, YarnRoPE

from engine.model.rebinding import called, methods_naming, modules, rebound

__all__ = ["FARTHEST", "exponential", "use_fewer_operations"]

_MAX_ROWS = 16
_WIDEST = 128
"""Wider heads are left to MLX: the matrix of a position grows with the square."""
_POSITIONS = 8
"""Whose matrices are made at once."""
_GATE = "swiglu"
FARTHEST, _SQUARINGS, _DEGREE = 40.0, 4, 8
"""Of an exponential: what is beyond changes no gated float32; its 16th part's Taylor polynomial."""


def use_fewer_operations(model: nn.Module) -> None:
    """Let the layers of a model or head do with fewer operations, on a CPU."""
    if mx.default_device() != mx.cpu:
        return
    turns: dict[tuple[object, ...], _Turns] = {}
    for module in modules(model):
        kind = type(module)
        if kind is nn.RMSNorm:
            module.__class__ = _Norm
        elif kind in (nn.RoPE, Llama3RoPE, YarnRoPE):
            shared = turns.setdefault(_setting(module), _Turns(module.__call__))
            module.__class__ = _turning(kind, shared)
        elif _gates(kind):
            module.__class__ = rebound(kind, _GATE, _gated)


def _gates(kind: type[nn.Module]) -> bool:
    """Return whether a layer calls mlx-lm's function, and not one of its own of that name."""
    if not kind.__module__.startswith("mlx_lm.models."):
        return False
    methods = methods_naming(kind, _GATE).values()
    return any(method.__globals__.get(_GATE) is swiglu for method in methods)


class _Norm(nn.RMSNorm):
    def __call__(self, x: mx.array) -> mx.array:
        if x.dtype != mx.float32:
            return super().__call__(x)
        return _normed(x, self["weight"], _number(x.shape[-1]), _number(self.eps))


@functools.partial(mx.compile, shapeless=True)
def _normed(x: mx.array, weight: mx.array, size: mx.array, eps: mx.array) -> mx.array:
    return x * mx.rsqrt(mx.sum(x * x, axis=-1, keepdims=True) / size + eps) * weight


@functools.lru_cache(maxsize=8)
def _number(value: float) -> mx.array:
    """Return a number as an input of a compiled function, which is then one for all models."""
    return mx.array(value, mx.float32)


def _gated(gate: mx.array, x: mx.array) -> mx.array:
    """Return what mlx-lm's `swiglu` does, to float32's precision; four rows take a quarter of its time."""
    return _swiglu(gate, x) if gate.dtype == mx.float32 else swiglu(gate, x)


@functools.partial(mx.compile, shapeless=True)
def _swiglu(gate: mx.array, x: mx.array) -> mx.array:
    return gate * x / (1 + exponential(-gate))


def exponential(x: mx.array) -> mx.array:
    """Return e to the x by sums and products alone, which a compiler makes vector instructions of.

    MLX's calls a function of libm six times a number. x is float32, and so is what it returns: within 3e-6 of
    the true one, relatively, up to an x of 10, 1e-3 up to 20; from 40 on it grows no more.
    """
    small = mx.minimum(mx.maximum(x, -FARTHEST), FARTHEST) / 2**_SQUARINGS
    power = small / math.factorial(_DEGREE) + 1 / math.factorial(_DEGREE - 1)
    for degree in range(_DEGREE - 2, -1, -1):
        power = power * small + 1 / math.factorial(degree)
    for _ in range(_SQUARINGS):
        power = power * power
    return power


class _Turns:
    """The rotations of a rope as matrices, one a position; kept for the last positions.

    Args:
        rope: turns [1, heads, rows, width]; linear in what it turns.
    """

    def __init__(self, rope: Any) -> None:
        self._rope = rope
        self._block = functools.lru_cache(maxsize=4)(self._made)
        self.at = functools.lru_cache(maxsize=4)(self._at)
        """Told an offset, rows and a width, gives float32 [rows, width, width]: a head times the
        matrix of its position is turned. All layers of a pass share it."""

    def _at(self, offset: int, rows: int, width: int) -> mx.array:
        first, last = offset // _POSITIONS, (offset + rows - 1) // _POSITIONS
        blocks = [self._block(index, width) for index in range(first, last + 1)]
        matrices = blocks[0] if first == last else mx.concatenate(blocks)
        begin = offset - first * _POSITIONS
        return matrices[begin : begin + rows]

    def _made(self, index: int, width: int) -> mx.array:
        """Return the matrices of a block of positions: what becomes of unit vectors there."""
        units = mx.broadcast_to(mx.eye(width)[:, None], (width, _POSITIONS, width))
        return self._rope(units[None], offset=index * _POSITIONS)[0].swapaxes(0, 1)


def _setting(rope: nn.Module) -> tuple[object, ...]:
    """Return what two ropes that turn alike have in common."""
    numbers = {name: value for name, value in vars(rope).items() if not name.startswith("_")}
    frequencies = rope.get("_freqs")
    own = () if frequencies is None else tuple(frequencies.tolist())
    return (type(rope), *sorted(numbers.items()), own)


def _turning(kind: type[nn.Module], turns: _Turns) -> type[nn.Module]:
    """Return the class of a rope that turns the heads of few rows by one product."""

    def call(self: nn.Module, x: mx.array, offset: int | mx.array = 0, **named: Any) -> mx.array:
        batch, _, rows, width = x.shape
        is_few = batch == 1 and rows <= _MAX_ROWS and width <= _WIDEST
        if not is_few or named or not isinstance(offset, int) or x.dtype != mx.float32:
            return kind.__call__(self, x, offset=offset, **named)
        return (x.swapaxes(1, 2) @ turns.at(offset, rows, width)).swapaxes(1, 2)

    return called(kind, call)
