"""A residual sum and the RMS norm of it, in one kernel.

A row has the same bits whatever rows are beside it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import mlx.core as mx

from kernels import dialect
from kernels.comparing import note_of, off_by
from kernels.dispatch import Backend, backend_for
from kernels.parts import HEADER, parts_of, whole

__all__ = ["BODIES", "kernel_note", "residual_norm", "residual_norm_plain", "runs_on"]

_WARPS = 16
_WIDEST = 16384


def residual_norm_plain(
    x: mx.array, summands: Sequence[mx.array], weight: mx.array, eps: float
) -> tuple[mx.array, mx.array]:
    """Return sum and norm in plain MLX: the definition of right.

    Args:
        x: [..., width].
        summands: one or two, as x or in parts of it; added in turn, each sum rounded to the type of x.
        weight: [width], of the norm.
        eps: of the norm.

    Returns:
        The sum, and its norm; both as x.
    """
    total = x
    for each in summands:
        total = total + whole(each, x)
    return total, mx.fast.rms_norm(total, weight, eps)


_SECOND = """
UNROLL for (int j = 0; j < own; ++j)
  UNROLL for (int k = 0; k < Each; ++k)
    held[j].at[k] = static_cast<float>(static_cast<InT>(held[j].at[k] + further[j].at[k]));
UNROLL for (int j = 0; j < own; ++j) {
  const int i = (j * Warps + warp) * 32 + lane;
  if (i < pieces) reinterpret_cast<DEVICE Piece<InT, Each>*>(total)[begin + i] = rounded<InT>(held[j]);
}
"""


def _body(summands: int) -> str:
    """Return the body: all that is read is asked for before anything is written, since no load passes a store."""
    second = summands == 2
    asked = "further[j] = whole<InT, Parts2, Each>(second, begin + i, apart);" if second else ""
    return f"""
constexpr int Each = Width % 4 == 0 ? 4 : 1, pieces = Width / Each;
constexpr int own = (pieces + 32 * Warps - 1) / (32 * Warps);
SHARED float squares_of[Warps];
// x, total, normed: [slots, Width]; first, second: [parts, slots, Width]; weight: [Width]; all in pieces of Each
const long begin = static_cast<long>(slot) * pieces, apart = static_cast<long>(slots) * pieces;
Piece<float, Each> held[own], added[own], weights[own]{", further[own]" if second else ""};
UNROLL for (int j = 0; j < own; ++j) {{
  const int i = (j * Warps + warp) * 32 + lane;
  held[j] = added[j] = weights[j] = {"further[j] = " if second else ""}Piece<float, Each>();
  if (i < pieces) {{
    held[j] = whole<InT, 1, Each>(x, begin + i, 0);
    added[j] = whole<InT, Parts1, Each>(first, begin + i, apart);
    weights[j] = whole<InT, 1, Each>(weight, i, 0);
    {asked}
  }}
}}
UNROLL for (int j = 0; j < own; ++j)
  UNROLL for (int k = 0; k < Each; ++k)
    held[j].at[k] = static_cast<float>(static_cast<InT>(held[j].at[k] + added[j].at[k]));
{_SECOND if second else ""}
float squares = 0.0f;
UNROLL for (int j = 0; j < own; ++j)
  UNROLL for (int k = 0; k < Each; ++k) squares = fused(held[j].at[k], held[j].at[k], squares);
squares = lane_sum(squares);
if (lane == 0) squares_of[warp] = squares;
group_barrier();
float sum = 0.0f;
for (int w = 0; w < Warps; ++w) sum += squares_of[w];
const float scale = 1.0f / sqrt(sum / static_cast<float>(Width) + as_number(EpsBits));
UNROLL for (int j = 0; j < own; ++j) {{
  const int i = (j * Warps + warp) * 32 + lane;
  UNROLL for (int k = 0; k < Each; ++k) held[j].at[k] = held[j].at[k] * scale * weights[j].at[k];
  if (i < pieces) reinterpret_cast<DEVICE Piece<InT, Each>*>(normed)[begin + i] = rounded<InT>(held[j]);
}}
"""


BODIES = {summands: _body(summands) for summands in (1, 2)}
"""By the number of summands. With one the sum is not written: it is as soon made anew as read, and each
result costs the host as much as half a kernel."""


@functools.cache
def _kernel(where: Backend, summands: int) -> dialect.Kernel:
    inputs, outputs = ("x", "first", "second")[: 1 + summands], ("total", "normed")[-summands:]
    source = dialect.Source(
        f"residual_norm_{summands}",
        (*inputs, "weight"),
        outputs,
        BODIES[summands],
        HEADER,
        is_of_blocks=True,
        bounds=(_WARPS, 1),
    )
    return dialect.build(where, source)


@functools.cache
def _kept(where: Backend, eps: float) -> Callable[..., list[mx.array]]:
    """Return the kernels' call as a graph: MLX else writes the source anew for each call."""

    def call(*inputs: mx.array) -> list[mx.array]:
        x, *summands, _ = inputs
        width = x.shape[-1]
        bits = dialect.bits_of(eps)
        parts = [(f"Parts{at}", parts_of(each, x)) for at, each in enumerate(summands, start=1)]
        return dialect.run_blocks(
            _kernel(where, len(summands)),
            list(inputs),
            [("InT", x.dtype), ("Width", width), ("Warps", _WARPS), ("EpsBits", bits), *parts],
            (1, _WARPS, x.size // width),
            [(x.shape, x.dtype)] * len(summands),
        )

    return mx.compile(call)


_TOLERANCE = {mx.float32: 1e-5, mx.bfloat16: 2.0**-7, mx.float16: 2.0**-10}
"""Against the largest entry: the library may round once more on the way."""


@functools.cache
def _note(where: Backend, width: int, dtype: mx.Dtype) -> str:
    """Compare the kernels with their definition once; return what is wrong, or nothing."""
    keys = mx.random.split(mx.random.key(width), 4)
    x, *summands = (mx.random.normal((3, width), key=key).astype(dtype) for key in keys[:3])
    weight = mx.random.normal((width,), key=keys[3]).astype(dtype)

    def wrong() -> str:
        pairs = []
        parts = [mx.stack([each.astype(mx.float32) / 2] * 2) for each in summands]
        for added in (summands[:1], summands, parts[:1], [parts[0], summands[1]]):
            mine = _kept(where, 1e-6)(x, *added, weight)
            right = residual_norm_plain(x, added, weight, 1e-6)
            pairs += zip(mine, right[-len(added) :], strict=True)
        return off_by(pairs, _TOLERANCE[dtype])

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
    where: Backend, x: mx.array, summands: Sequence[mx.array], weight: mx.array, eps: float
) -> tuple[mx.array | None, mx.array]:
    """Return sum and norm by the kernel, no sum where there is one summand; see `residual_norm_plain`.

    Args:
        where: of `runs_on`, and not PLAIN.
        x: see there.
        summands: see there.
        weight: see there.
        eps: see there.
    """
    others = [weight, *(each for each in summands if parts_of(each, x) == 1)]
    if not x.size or any(each.dtype != x.dtype for each in others):
        return residual_norm_plain(x, summands, weight, eps)
    *total, normed = _kept(where, eps)(x, *summands, weight)
    return (total[0] if total else None), normed
