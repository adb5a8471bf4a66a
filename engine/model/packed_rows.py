"""Puts the kernel for packed weights under the packed layers of a trunk or head, on a CPU.

MLX unpacks a packed weight for each row anew there, on one core, so a window of four rows takes four times as long as
one. `kernels/packed_rows.c` reads weights once for all rows, on all cores; it wants them in tiles. MLX is given them as a
plain matrix that begins where they lie and is larger than they are: by that the kernel knows them, and nobody else
may read it. Layers stay mlx-lm's; what they hold is laid out anew.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn

from engine.model.arrays import reals
from engine.model.rebinding import modules

__all__ = ["Tiled", "is_there", "pack", "use_packed_rows"]

_log = logging.getLogger(__name__)
_GROUP, _BITS = 64, 8
"""Of what is packed here."""
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


def pack(head: nn.Module) -> None:
    """Pack a head's plain layers in 8 bits, where packed ones have a kernel and plain ones read four times as much.

    A draft may come from any law, and from this one as many are accepted.

    Args:
        head: its weights are in memory; changed in place.
    """

    def is_plain(_: str, layer: nn.Module) -> bool:
        return type(layer) is nn.Linear and layer.weight.shape[1] % _GROUP == 0

    if is_there():
        nn.quantize(head, _GROUP, _BITS, class_predicate=is_plain)
        mx.eval(head.parameters())


@functools.cache
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
    kernel = _Kernel(lanes, hold, release)
    return kernel if _is_asked(kernel) else None


def _is_asked(kernel: _Kernel) -> bool:
    """Return whether MLX's matmul comes to the kernel, by a matrix that is as large as it says: zeros, but 1 as packed."""
    inputs = 32
    zeros = mx.zeros((kernel.lanes, inputs))
    scales, biases = mx.zeros((kernel.lanes, 1)), mx.ones((kernel.lanes, 1))
    mx.eval(zeros, scales, biases)
    places = [_address(each) for each in (zeros, scales, biases)]
    if not kernel.hold(*places, kernel.lanes, inputs, inputs, 4):
        return False
    found = reals(mx.max(mx.ones((1, inputs)) @ zeros.T).reshape(1))
    kernel.release(places[0])
    return found == (inputs,)


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

    _matrix: mx.array
    """float32 [inputs, outputs], as it says: there is nothing but the words, where it begins."""
    _lanes: int

    def _times(self, x: mx.array) -> mx.array:
        """Multiply; [..., inputs] to float32 [..., outputs]."""
        return x.astype(mx.float32) @ self._matrix

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
    tiles = [_tiled(plain[name], kernel.lanes) for name in _PARTS]
    # In one piece: a product that is still to come keeps nothing but the matrix it is asked for.
    whole = mx.concatenate([part.view(mx.uint32).reshape(-1) for part in tiles])
    begins = [0, plain["weight"].size, plain["weight"].size + plain["scales"].size]
    mx.eval(right, whole)
    places = [_address(whole) + 4 * begin for begin in begins]
    if not kernel.hold(*places, outputs, inputs, int(layer.group_size), int(layer.bits)):
        return
    kind = type(layer)
    for name, begin in zip(_PARTS, begins, strict=True):
        part = whole[begin : begin + plain[name].size].reshape(plain[name].shape)
        layer[name] = part.view(plain[name].dtype)
        mx.eval(layer[name])
    layer.__class__ = _OURS[kind]
    ours = cast("Tiled", layer)
    ours._lanes = kernel.lanes
    ours._matrix = mx.as_strided(whole.view(mx.float32), (outputs, inputs), (inputs, 1)).T
    let_go = weakref.finalize(layer, kernel.release, places[0])
    (apart,) = reals((mx.abs(ours._times(x) - right).max() / mx.abs(right).max()).reshape(1))
    if apart < _TOLERANCE:
        return
    _log.warning("a packed layer is left to MLX: the kernel's product is off by %.2g", apart)
    let_go()
    del ours._matrix
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
