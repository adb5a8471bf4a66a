"""A residual sum and the RMS norm of it, in one kernel with both for results.

A row has the same bits whatever rows are beside it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import mlx.core as mx

from kernels import dialect
from kernels.comparing import note_of, off_by
from kernels.dispatch import Backend, backend_for

__all__ = ["BODY", "kernel_note", "residual_norm", "residual_norm_plain", "runs_on"]

_WARPS = 16
_WIDEST = 16384


def residual_norm_plain(
    x: mx.array, added: mx.array, weight: mx.array, eps: float
) -> tuple[mx.array, mx.array]:
    """Return sum and norm in plain MLX: the definition of right.

    Args:
        x: [..., width].
        added: as x.
        weight: [width], of the norm.
        eps: of the norm.

    Returns:
        x + added, rounded to the type of x, and its norm; both as x.
    """
    total = x + added
    return total, mx.fast.rms_norm(total, weight, eps)


BODY = """
constexpr int own = (Width + 32 * Warps - 1) / (32 * Warps);
SHARED float squares_of[Warps];
// x, added, total, normed: [slots, Width]; weight: [Width]
const long begin = static_cast<long>(slot) * Width;
float held[own];
float squares = 0.0f;
UNROLL for (int j = 0; j < own; ++j) {
  const int i = (j * Warps + warp) * 32 + lane;
  held[j] = 0.0f;
  if (i < Width) {
    const InT sum = static_cast<InT>(static_cast<float>(x[begin + i]) + static_cast<float>(added[begin + i]));
    total[begin + i] = sum;
    held[j] = static_cast<float>(sum);
  }
  squares = fused(held[j], held[j], squares);
}
squares = lane_sum(squares);
if (lane == 0) squares_of[warp] = squares;
group_barrier();
float sum = 0.0f;
for (int w = 0; w < Warps; ++w) sum += squares_of[w];
const float scale = 1.0f / sqrt(sum / static_cast<float>(Width) + as_number(EpsBits));
UNROLL for (int j = 0; j < own; ++j) {
  const int i = (j * Warps + warp) * 32 + lane;
  if (i < Width) normed[begin + i] = static_cast<InT>(held[j] * scale * static_cast<float>(weight[i]));
}
"""


@functools.cache
def _kernel(where: Backend) -> dialect.Kernel:
    inputs, outputs = ("x", "added", "weight"), ("total", "normed")
    source = dialect.Source("residual_norm", inputs, outputs, BODY, is_of_blocks=True)
    return dialect.build(where, source)


@functools.cache
def _kept(where: Backend, eps: float) -> Callable[..., list[mx.array]]:
    """Return the kernel's call as a graph: MLX else writes the source anew for each call."""

    def call(x: mx.array, added: mx.array, weight: mx.array) -> list[mx.array]:
        width = x.shape[-1]
        bits = dialect.bits_of(eps)
        return dialect.run_blocks(
            _kernel(where),
            [x, added, weight],
            [("InT", x.dtype), ("Width", width), ("Warps", _WARPS), ("EpsBits", bits)],
            (1, _WARPS, x.size // width),
            [(x.shape, x.dtype)] * 2,
        )

    return mx.compile(call)


_TOLERANCE = {mx.float32: 1e-5, mx.bfloat16: 2.0**-7, mx.float16: 2.0**-10}
"""Against the largest entry: the library may round once more on the way."""


@functools.cache
def _note(where: Backend, width: int, dtype: mx.Dtype) -> str:
    """Compare the kernel with its definition once; return what is wrong, or nothing."""
    keys = mx.random.split(mx.random.key(width), 3)
    x, added = (mx.random.normal((3, width), key=key).astype(dtype) for key in keys[:2])
    weight = mx.random.normal((width,), key=keys[2]).astype(dtype)

    def wrong() -> str:
        mine = _kept(where, 1e-6)(x, added, weight)
        right = residual_norm_plain(x, added, weight, 1e-6)
        return off_by(zip(mine, right, strict=True), _TOLERANCE[dtype])

    return note_of("the kernel of sums and norms", wrong)


def kernel_note(width: int, dtype: mx.Dtype) -> str:
    """Return why the kernel is off for such rows; empty where it runs or there is no GPU."""
    where = backend_for("residual_norm")
    if where is Backend.PLAIN or dtype not in _TOLERANCE or width > _WIDEST:
        return ""
    return _note(where, width, dtype)


def runs_on(width: int, dtype: mx.Dtype) -> Backend:
    """Return what runs such rows: PLAIN where the kernel is off or has not this width or type."""
    is_had = dtype in _TOLERANCE and width <= _WIDEST
    return (
        Backend.PLAIN if not is_had or kernel_note(width, dtype) else backend_for("residual_norm")
    )


def residual_norm(
    where: Backend, x: mx.array, added: mx.array, weight: mx.array, eps: float
) -> tuple[mx.array, mx.array]:
    """Return sum and norm by the kernel; see `residual_norm_plain`.

    Args:
        where: of `runs_on`, and not PLAIN.
        x: see there.
        added: see there.
        weight: see there.
        eps: see there.
    """
    if not x.size or added.dtype != x.dtype or weight.dtype != x.dtype:
        return residual_norm_plain(x, added, weight, eps)
    total, normed = _kept(where, eps)(x, added, weight)
    return total, normed
