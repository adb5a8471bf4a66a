"""SwiGLU of the joined product of a gated MLP's two projections, in one kernel."""

from __future__ import annotations

import functools
from collections.abc import Callable

import mlx.core as mx

from kernels import dialect
from kernels.comparing import note_of, off_by
from kernels.dispatch import Backend, backend_for

__all__ = ["BODY", "HEADER", "kernel_note", "runs_on", "swiglu", "swiglu_plain"]

_WARPS = 8
_EACH = 2
"""Numbers of a lane."""


def swiglu_plain(product: mx.array) -> mx.array:
    """Return silu(gate) * up in plain MLX: the definition of right.

    Computed in float32 and rounded once.

    Args:
        product: [..., 2 width], the gate's columns first.

    Returns:
        [..., width], in the type of the product.

    Source:
        Shazeer 2020, arXiv:2002.05202.
    """
    gate, up = mx.split(product.astype(mx.float32), 2, axis=-1)
    return (gate * mx.sigmoid(gate) * up).astype(product.dtype)


HEADER = """
template <typename T> FUNCTION float gated(float gate, float up) {
  gate = static_cast<float>(static_cast<T>(gate));
  up = static_cast<float>(static_cast<T>(up));
  return gate / (1.0f + exp(-gate)) * up;
}
"""
"""For all kernels that gate; T is what both numbers are rounded to before."""
BODY = """
// product: [slots, 2 Width]; y: [slots, Width]
const DEVICE InT* row = product + static_cast<long>(slot) * 2 * Width;
const int first = (block * Warps + warp) * 32 * Each + lane;
UNROLL for (int j = 0; j < Each; ++j) {
  const int i = first + 32 * j;
  if (i >= Width) break;
  const float gate = static_cast<float>(row[i]), up = static_cast<float>(row[Width + i]);
  y[static_cast<long>(slot) * Width + i] = static_cast<InT>(gated<InT>(gate, up));
}
"""


@functools.cache
def _kernel(where: Backend) -> dialect.Kernel:
    source = dialect.Source("swiglu", ("product",), ("y",), BODY, HEADER, is_of_blocks=True)
    return dialect.build(where, source)


@functools.cache
def _kept(where: Backend) -> Callable[[mx.array], list[mx.array]]:
    """Return the kernel's call as a graph: MLX else writes the source anew for each call."""

    def call(product: mx.array) -> list[mx.array]:
        width = product.shape[-1] // 2
        return dialect.run_blocks(
            _kernel(where),
            [product],
            [("InT", product.dtype), ("Width", width), ("Warps", _WARPS), ("Each", _EACH)],
            (-(-width // (32 * _WARPS * _EACH)), _WARPS, product.size // product.shape[-1]),
            [((*product.shape[:-1], width), product.dtype)],
        )

    return mx.compile(call)


_TOLERANCE = {mx.float32: 1e-5, mx.bfloat16: 2.0**-8, mx.float16: 2.0**-11}
"""Against the largest entry."""


@functools.cache
def _note(where: Backend, width: int, dtype: mx.Dtype) -> str:
    """Compare the kernel with its definition once; return what is wrong, or nothing."""
    product = (4 * mx.random.normal((3, 2 * width), key=mx.random.key(width))).astype(dtype)

    def wrong() -> str:
        return off_by([(_kept(where)(product)[0], swiglu_plain(product))], _TOLERANCE[dtype])

    return note_of("the kernel of gated MLPs", wrong)


def kernel_note(width: int, dtype: mx.Dtype) -> str:
    """Return why the kernel is off for such rows; empty where it runs or there is no GPU."""
    where = backend_for("swiglu")
    return "" if where is Backend.PLAIN or dtype not in _TOLERANCE else _note(where, width, dtype)


def runs_on(width: int, dtype: mx.Dtype) -> Backend:
    """Return what runs such rows: PLAIN where the kernel is off or has not this type."""
    is_had = dtype in _TOLERANCE and not kernel_note(width, dtype)
    return backend_for("swiglu") if is_had else Backend.PLAIN


def swiglu(where: Backend, product: mx.array) -> mx.array:
    """Return silu(gate) * up by the kernel; see `swiglu_plain`.

    Args:
        where: of `runs_on`, and not PLAIN.
        product: see there.
    """
    return _kept(where)(product)[0] if product.size else swiglu_plain(product)
