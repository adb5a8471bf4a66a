"""Puts the kernel for packed weights under the packed layers of a trunk or head, on a CPU.

MLX unpacks a packed weight for each row anew there, on one core, so a window of four rows takes four times as long as
one. `kernels/packed_rows.c` reads weights once for all rows, on all cores; it wants them in tiles, and is
reached through MLX's own matmul: see there. Layers stay mlx-lm's; what they hold is laid out anew.
"""

from __future__ import annotations

import ctypes
import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn

from engine.model.arrays import reals
from engine.model.rebinding import modules

__all__ = ["Tiled", "is_there", "use_packed_rows"]

_log = logging.getLogger(__name__)
_TOLERANCE = 1e-4
"""Against the largest number: two orders of summing in float32."""


@dataclass(frozen=True, slots=True)
class _Kernel:
    lanes: int
    """Columns of a tile."""
    hold: Callable[..., int]
    release: Callable[[int], None]


def is_there() -> bool:
    """Return whether packed weights have a kernel here: MLX computes on a CPU, over `engine.few_rows`."""
    return mx.default_device() == mx.cpu and _kernel() is not None


def use_packed_rows(model: nn.Module) -> None:
    """Let a model's or head's packed layers multiply by the kernel; their weights are laid out anew in memory.

    Those that it has not are left to MLX: of other bits than 4 and 8, of 16-bit scales, of columns that fill no tile.

    Args:
        model: its weights are in memory; changed in place.
    """
    kernel = _kernel() if is_there() else None
    if kernel is None:
        return
    for layer in modules(model):
        if type(layer) in _OURS and _is_supported(layer, kernel.lanes):
            _adopt(layer, kernel)


def _kernel() -> _Kernel | None:
    """Return the functions of the library that stands before the matrix library, if it does."""
    process: Any = ctypes.CDLL(None)
    try:
        hold, release = process.packed_rows_hold, process.packed_rows_release
        lanes = process.packed_rows_lanes()
    except AttributeError:
        return None
    hold.argtypes = [*(ctypes.c_void_p,) * 3, *(ctypes.c_int,) * 4]
    release.argtypes, release.restype = [ctypes.c_void_p], None
    return _Kernel(lanes, hold, release)


def _is_supported(layer: nn.Module, lanes: int) -> bool:
    is_affine = getattr(layer, "mode", "affine") == "affine" and "biases" in layer
    parts = [layer[name] for name in ("scales", "biases")] if is_affine else []
    return (
        bool(parts)
        and all(each.dtype == mx.float32 for each in parts)
        and layer.weight.shape[0] % lanes == 0
    )


class Tiled(nn.Module):
    """A packed layer whose weights lie in tiles."""

    _columns: mx.array
    """float32 [words, outputs]: the words, taken for floats, by which MLX is asked for the product."""
    _lanes: int

    def _times(self, x: mx.array) -> mx.array:
        """Multiply; [..., inputs] to float32 [..., outputs]."""
        words, outputs = self._columns.shape
        rows = x.size // x.shape[-1]
        y = x.astype(mx.float32).reshape(1, -1, words) @ self._columns
        return y[:, :rows].reshape(*x.shape[:-1], outputs)

    def unpacked(self, outputs: mx.array) -> mx.array:
        """Return the weights of some outputs; integer [...] to float32 [..., inputs]."""
        parts = (self._rows(self[name], outputs) for name in _PARTS)
        return mx.dequantize(*parts, group_size=self.group_size, bits=self.bits)

    def _rows(self, tiles: mx.array, rows: mx.array) -> mx.array:
        count, width = tiles.shape
        found = tiles.reshape(count // self._lanes, width, self._lanes)[rows // self._lanes]
        lanes = mx.broadcast_to((rows % self._lanes)[..., None, None], (*rows.shape, width, 1))
        return mx.take_along_axis(found, lanes, axis=-1)[..., 0]


_PARTS = ("weight", "scales", "biases")


class _Linear(Tiled, nn.QuantizedLinear):
    def __call__(self, x: mx.array) -> mx.array:
        y = self._times(x)
        return y + self["bias"] if "bias" in self else y


class _Embedding(Tiled, nn.QuantizedEmbedding):
    def __call__(self, x: mx.array) -> mx.array:
        return self.unpacked(x)

    def as_linear(self, x: mx.array) -> mx.array:
        return self._times(x)


_OURS: dict[type[nn.Module], type[Tiled]] = {
    nn.QuantizedLinear: _Linear,
    nn.QuantizedEmbedding: _Embedding,
}


def _adopt(layer: nn.Module, kernel: _Kernel) -> None:
    """Lay a layer's weights out in tiles, and have the kernel hold them, unless it gives other products with them."""
    outputs, words = layer.weight.shape
    inputs = words * 32 // int(layer.bits)
    x = mx.random.normal((1, inputs), key=mx.random.key(0))
    right = _definition(layer, x)
    plain = {name: layer[name] for name in _PARTS}
    tiles = {name: _tiled(part, kernel.lanes) for name, part in plain.items()}
    mx.eval(right, tiles)
    places = [_address(tiles[name]) for name in _PARTS]
    if not kernel.hold(*places, outputs, inputs, int(layer.group_size), int(layer.bits)):
        return
    kind = type(layer)
    layer.update(tiles)
    layer.__class__ = _OURS[kind]
    ours = cast("Tiled", layer)
    ours._lanes = kernel.lanes
    ours._columns = tiles["weight"].view(mx.float32).T
    let_go = weakref.finalize(layer, kernel.release, places[0])
    (apart,) = reals((mx.abs(ours._times(x) - right).max() / mx.abs(right).max()).reshape(1))
    if apart < _TOLERANCE:
        return
    _log.warning("a packed layer is left to MLX: the kernel's product is off by %.2g", apart)
    let_go()
    del ours._columns
    layer.__class__ = kind
    layer.update(plain)


def _definition(layer: nn.Module, x: mx.array) -> mx.array:
    return mx.quantized_matmul(
        x, *(layer[name] for name in _PARTS), group_size=layer.group_size, bits=layer.bits
    )


def _tiled(part: mx.array, lanes: int) -> mx.array:
    """Lay rows out so that those of a tile lie side by side; [outputs, width], whatever lies where in it."""
    outputs, width = part.shape
    turned = part.reshape(outputs // lanes, lanes, width).swapaxes(1, 2)
    return mx.contiguous(turned).reshape(outputs, width)


def _address(array: mx.array) -> int:
    """Return where an array's numbers lie in memory; they stay there as long as it lives."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memoryview(cast("Any", array)).cast("B")))
