"""One kernel body, written once for Metal and CUDA.

A body may use `lane` (0 to 31 of the 32 threads that work together), `row` and `head` (the
grid's second and third coordinate), `lane_sum(x)` (the sum over the 32 lanes, by butterfly, so
that all dialects add in one order) and `fused(a, b, c)` (a·b + c, rounded once). Scalars come
as arrays of one item, since MLX passes those alike to both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import mlx.core as mx

from kernels.dispatch import Backend

__all__ = ["LANES", "ROWS_PER_GROUP", "Kernel", "build", "run"]

LANES = 32
ROWS_PER_GROUP = 4

Kernel = Callable[..., list[mx.array]]

_METAL_HEADER = """
inline float lane_sum(float x) {
  for (ushort mask = 16; mask > 0; mask /= 2) x += metal::simd_shuffle_xor(x, mask);
  return x;
}
inline float fused(float a, float b, float c) { return metal::fma(a, b, c); }
"""
_METAL_POSITION = """
const int lane = thread_position_in_threadgroup.x;
const int row = thread_position_in_grid.y;
const int head = thread_position_in_grid.z;
"""
_CUDA_HEADER = """
__device__ inline float lane_sum(float x) {
  for (int mask = 16; mask > 0; mask /= 2) x += __shfl_xor_sync(0xffffffffu, x, mask);
  return x;
}
__device__ inline float fused(float a, float b, float c) { return __fmaf_rn(a, b, c); }
"""
_CUDA_POSITION = """
const int lane = threadIdx.x;
const int row = blockIdx.y * blockDim.y + threadIdx.y;
const int head = blockIdx.z;
"""


def build(backend: Backend, name: str, inputs: list[str], outputs: list[str], body: str) -> Kernel:
    """Return a kernel for a GPU; it is compiled when it first runs.

    Args:
        backend: METAL or CUDA.
        name: of the kernel.
        inputs: names of the arrays it reads, row-contiguous.
        outputs: names of the arrays it writes.
        body: see the module.
    """
    if backend is Backend.METAL:
        kernel = mx.fast.metal_kernel(
            name, inputs, outputs, _METAL_POSITION + body, header=_METAL_HEADER
        )
    else:
        kernel = mx.fast.cuda_kernel(
            name, inputs, outputs, _CUDA_POSITION + body, header=_CUDA_HEADER
        )
    return cast("Kernel", kernel)


def run(
    kernel: Kernel,
    inputs: list[mx.array],
    template: list[tuple[str, mx.Dtype | int]],
    rows_and_heads: tuple[int, int],
    outputs: list[tuple[tuple[int, ...], mx.Dtype]],
) -> list[mx.array]:
    """Run a kernel with 32 lanes for each row of each head.

    MLX compiles a kernel once for its name and template, whatever the types of its inputs; so
    those are added to the template here.

    Args:
        kernel: of `build`.
        inputs: as named there.
        template: constants and types that the body uses.
        rows_and_heads: extent of the grid.
        outputs: shape and type of each output.
    """
    rows, heads = rows_and_heads
    types = [(f"Input{index}", array.dtype) for index, array in enumerate(inputs)]
    return kernel(
        inputs=inputs,
        template=[*template, *types],
        grid=(LANES, rows, heads),
        threadgroup=(LANES, min(rows, ROWS_PER_GROUP), 1),
        output_shapes=[shape for shape, _ in outputs],
        output_dtypes=[dtype for _, dtype in outputs],
    )
