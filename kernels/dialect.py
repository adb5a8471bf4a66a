"""One kernel body, written once for Metal and CUDA.

A body of rows (`run`) may use `lane` (0 to 31 of the 32 threads that work together), `row` and
`head` (the grid's second and third coordinate). A body of blocks (`run_blocks`) may use `lane`,
`warp` (of the block), `block` of `blocks`, `slot` of `slots`, memory that is SHARED by a block's warps, and
`group_barrier()`, at which they meet. Both have `lane_sum(x)` (the sum over the 32 lanes, by
butterfly, so that all dialects add in one order), `quad_sum(x)` (over four neighbouring lanes),
`from_lane(x, lane)` (another lane's x), `any_lane(x)` (whether x is true for one of them), `lane_max(x)`, `exponential(x)`,
`fused(a, b, c)` (a·b + c, rounded once), `cosine(x)` and `sine(x)` of large angles too, `as_bits(x)` and `as_number(bits)` for float32, and
`half_of<T>(word, i)` (the lower or upper of a word's two numbers of 16 bits, as float32), and
FUNCTION, DEVICE, NEARBY and UNROLL before functions, pointers to arrays, pointers to what is SHARED and loops.
Loops over an array of a lane's own count by one: CUDA's compiler unrolls none that halves what it counts by, and
the array then lies in memory in place of registers.
Scalars come as arrays, of `scalar`, since MLX passes those alike to both.

`copy_ahead<Bytes>(to, from)` begins to bring 4, 8 or 16 aligned bytes to a `Place` in SHARED memory, `close_copies()`
ends a lane's batch of them, and `await_copies<Left>()` waits until all but the newest `Left` batches
of the 32 lanes are there, and for the lanes to meet. `place_of(pointer)` is a `Place`, to which bytes are added, and
`once(x)` an x of 32 bits that is worked out there and kept: a compiler else does so again at each use.

Bodies that choose among many numbers also have `Wide` (an
unsigned integer of 64 bits), and a `Counter` in SHARED memory, which takes
`count_up(place, amount)` from many lanes at once and gives what it was, and `set_count` and
`count_at` from one. `device_barrier()` is a meeting after which a block's lanes also see what the
others wrote to an array.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import struct
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import mlx.core as mx

from kernels.dispatch import Backend, compiled_folder

__all__ = [
    "FEWEST",
    "LANES",
    "LANE_SUMS",
    "ROOM",
    "ROWS_PER_GROUP",
    "Kernel",
    "Source",
    "bits_of",
    "build",
    "keep_sources",
    "run",
    "run_blocks",
    "scalar",
]

_log = logging.getLogger(__name__)
FEWEST = 4
"""Numbers of an array that a kernel reads; see `scalar`."""
LANES = 32
ROWS_PER_GROUP = 4

Kernel = Callable[..., list[mx.array]]

_METAL_HEADER = """
#define FUNCTION inline
#define DEVICE device
#define SHARED threadgroup
#define UNROLL _Pragma("clang loop unroll(full)")
inline float lane_sum(float x) {
  for (ushort mask = 16; mask > 0; mask /= 2) x += metal::simd_shuffle_xor(x, mask);
  return x;
}
inline float quad_sum(float x) {
  x += metal::simd_shuffle_xor(x, ushort(2));
  return x + metal::simd_shuffle_xor(x, ushort(1));
}
inline float from_lane(float x, int lane) { return metal::simd_shuffle(x, ushort(lane)); }
inline bool any_lane(bool x) { return metal::simd_any(x); }
inline float fused(float a, float b, float c) { return metal::fma(a, b, c); }
inline float cosine(float x) { return metal::precise::cos(x); }
inline float sine(float x) { return metal::precise::sin(x); }
inline uint as_bits(float x) { return as_type<uint>(x); }
inline float as_number(uint bits) { return as_type<float>(bits); }
template <typename T> inline float half_of(uint word, int i) {
  return static_cast<float>(as_type<T>(static_cast<ushort>(i ? word >> 16 : word)));
}
inline void group_barrier() { threadgroup_barrier(mem_flags::mem_threadgroup); }
inline void device_barrier() {
  threadgroup_barrier(mem_flags::mem_device | mem_flags::mem_threadgroup);
}
#define NEARBY threadgroup
typedef metal::atomic_uint Counter;
typedef ulong Wide;
inline uint count_up(threadgroup Counter* place, uint amount) {
  return atomic_fetch_add_explicit(place, amount, metal::memory_order_relaxed);
}
inline uint count_at(threadgroup Counter* place) {
  return atomic_load_explicit(place, metal::memory_order_relaxed);
}
inline void set_count(threadgroup Counter* place, uint amount) {
  atomic_store_explicit(place, amount, metal::memory_order_relaxed);
}
inline float lane_max(float x) {
  for (ushort mask = 16; mask > 0; mask /= 2) x = metal::fmax(x, metal::simd_shuffle_xor(x, mask));
  return x;
}
inline float exponential(float x) { return metal::precise::exp(x); }
template <int Bytes, typename T> inline bool is_at(const device T* place) {
  return reinterpret_cast<ulong>(place) % Bytes == 0;
}
template <typename T> inline T once(T x) { return x; }
typedef threadgroup char* Place;
inline Place place_of(threadgroup void* at) { return static_cast<threadgroup char*>(at); }
// No copy runs by itself here: it is there at once.
template <int Bytes> inline void copy_ahead(Place to, const device void* from) {
  for (int i = 0; i < Bytes / 4; ++i)
    reinterpret_cast<threadgroup uint*>(to)[i] = static_cast<const device uint*>(from)[i];
}
inline void close_copies() {}
template <int Left> inline void await_copies() {
  metal::simdgroup_barrier(metal::mem_flags::mem_threadgroup);
}
"""
_METAL_POSITION = """
const int lane = thread_position_in_threadgroup.x;
const int row = thread_position_in_grid.y;
const int head = thread_position_in_grid.z;
"""
_METAL_BLOCK = """
const int lane = thread_position_in_threadgroup.x;
const int warp = thread_position_in_threadgroup.y;
const int block = threadgroup_position_in_grid.y;
const int blocks = threadgroups_per_grid.y;
const int slot = threadgroup_position_in_grid.z;
const int slots = threadgroups_per_grid.z;
"""
_CUDA_HEADER = """
#define FUNCTION __device__ inline
#define DEVICE
#define SHARED __shared__
#define UNROLL _Pragma("unroll")
__device__ inline float lane_sum(float x) {
  for (int mask = 16; mask > 0; mask /= 2) x += __shfl_xor_sync(0xffffffffu, x, mask);
  return x;
}
__device__ inline float quad_sum(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 2);
  return x + __shfl_xor_sync(0xffffffffu, x, 1);
}
__device__ inline float from_lane(float x, int lane) { return __shfl_sync(0xffffffffu, x, lane); }
__device__ inline bool any_lane(bool x) { return __any_sync(0xffffffffu, x); }
__device__ inline float fused(float a, float b, float c) { return __fmaf_rn(a, b, c); }
__device__ inline float cosine(float x) { return cosf(x); }
__device__ inline float sine(float x) { return sinf(x); }
__device__ inline unsigned int as_bits(float x) { return __float_as_uint(x); }
__device__ inline float as_number(unsigned int bits) { return __uint_as_float(bits); }
template <typename T> struct Halves;
template <> struct Halves<__nv_bfloat16> {
  static __device__ float of(unsigned int word, int i) { return as_number(i ? word & 0xffff0000u : word << 16); }
};
template <> struct Halves<__half> {
  static __device__ float of(unsigned int word, int i) {
    return __half2float(__ushort_as_half(static_cast<unsigned short>(i ? word >> 16 : word)));
  }
};
template <typename T> __device__ inline float half_of(unsigned int word, int i) { return Halves<T>::of(word, i); }
__device__ inline void group_barrier() { __syncthreads(); }
__device__ inline void device_barrier() { __syncthreads(); }
#define NEARBY
typedef unsigned int Counter;
typedef unsigned long long Wide;
__device__ inline unsigned int count_up(Counter* place, unsigned int amount) {
  return atomicAdd(place, amount);
}
__device__ inline unsigned int count_at(const Counter* place) { return *place; }
__device__ inline void set_count(Counter* place, unsigned int amount) { *place = amount; }
__device__ inline float lane_max(float x) {
  for (int mask = 16; mask > 0; mask /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, mask));
  return x;
}
__device__ inline float exponential(float x) { return expf(x); }
template <int Bytes, typename T> __device__ inline bool is_at(const T* place) {
  return reinterpret_cast<unsigned long long>(place) % Bytes == 0;
}
template <typename T> __device__ inline T once(T x) {
  asm volatile("" : "+r"(x));
  return x;
}
typedef unsigned int Place;
__device__ inline Place place_of(void* at) { return static_cast<Place>(__cvta_generic_to_shared(at)); }
template <int Bytes> __device__ inline void copy_ahead(Place to, const void* from) {
  if constexpr (Bytes == 16)
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(to), "l"(from), "n"(Bytes) : "memory");
}
__device__ inline void close_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int Left> __device__ inline void await_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Left) : "memory");
  __syncwarp();
}
"""
_CUDA_POSITION = """
const int lane = threadIdx.x;
const int row = blockIdx.y * blockDim.y + threadIdx.y;
const int head = blockIdx.z;
"""
_CUDA_BLOCK = """
const int lane = threadIdx.x;
const int warp = threadIdx.y;
const int block = blockIdx.y;
const int blocks = gridDim.y;
const int slot = blockIdx.z;
const int slots = gridDim.z;
"""


LANE_SUMS = """
template <int Count> struct Several { float of[Count]; };
// As lane_sum of each, bit for bit; a lane gets that of number `lane * Count / 32`. Of two lanes that
// would add the same, each goes on with half of the numbers. Count is a power of two, at most 32.
template <int Count> FUNCTION float lane_sums(Several<Count> x, int lane) {
  UNROLL for (int step = 0; step < 5; ++step) {
    const int mask = 16 >> step, half = Count >> step >> 1;
    const bool is_upper = (lane & mask) != 0;
    UNROLL for (int i = 0; i < Count / 2; ++i) {
      if (i >= half) continue;
      const float given = is_upper ? x.of[i] : x.of[i + half];
      x.of[i] = (is_upper ? x.of[i + half] : x.of[i]) + from_lane(given, lane ^ mask);
    }
    if (half == 0) x.of[0] += from_lane(x.of[0], lane ^ mask);
  }
  return x.of[0];
}
"""
"""A header for bodies that sum several numbers over the lanes at once."""
ROOM = {Backend.CUDA: 48 * 1024, Backend.METAL: 32 * 1024}
"""Bytes that a block can share."""


@dataclass(frozen=True, slots=True)
class Source:
    """A kernel as it is written down."""

    name: str
    inputs: tuple[str, ...]
    """Names of the arrays it reads, row-contiguous."""
    outputs: tuple[str, ...]
    """Names of the arrays it writes."""
    body: str
    """See the module."""
    header: str = ""
    """What stands before the body: types and functions."""
    is_of_blocks: bool = False
    """Whether it is for `run_blocks`."""
    bounds: tuple[int, int] | None = None
    """Warps of a block, and how many blocks a processor is to hold at once: on CUDA a compiler deals out
    registers by that, and else by what one block would like. Templates with other warps can't be run."""


def bits_of(number: float) -> int:
    """Return the bits of a float32, as a constant of a template that `as_number` reads."""
    return struct.unpack("i", struct.pack("f", number))[0]


def scalar(number: int) -> mx.array:
    """Return a number for kernels to read, four times over; int32 [FEWEST].

    MLX on CUDA keeps arrays of 8 bytes and less in memory that the host shares: on an H200 reading one takes a
    kernel 5 us, and 18 once the host has written there again.
    """
    return mx.array([number] * FEWEST, mx.int32)


def build(backend: Backend, source: Source) -> Kernel:
    """Return a kernel for a GPU, METAL or CUDA; it is compiled when it first runs.

    On CUDA MLX knows what it compiled by name alone; so the name tells the source. It also copies
    and hashes the source each time a kernel is handed over, 4 us for a long one; so there the source is a file
    beside what was compiled, and what MLX is given names it, if a folder was named and can be written to.
    """
    if backend is Backend.METAL:
        position = _METAL_BLOCK if source.is_of_blocks else _METAL_POSITION
        header, make = _METAL_HEADER + source.header, mx.fast.metal_kernel
    else:
        position = _CUDA_BLOCK if source.is_of_blocks else _CUDA_POSITION
        bounds = "" if source.bounds is None else _bounded(*source.bounds)
        header, make = _CUDA_HEADER + source.header + bounds, mx.fast.cuda_kernel
    body = position + source.body
    digest = hashlib.blake2b((header + body).encode(), digest_size=6).hexdigest()
    name = f"{source.name}_{digest}"
    names = list(source.inputs), list(source.outputs)
    whole = cast("Kernel", make(name, *names, body, header=header))
    folder = compiled_folder() if backend is Backend.CUDA else None
    if folder is None or not _can_be_named(str(folder)):
        return whole
    parts = (("head", header), ("body", body))
    texts = {folder.absolute() / f"{name}.{part}": text for part, text in parts}
    if not all(_is_written(file, text) for file, text in texts.items()):
        return whole
    _sources.update(texts)
    head_line, body_line = (f'#include "{file}"\n' for file in texts)
    body_line += f"// {' '.join(_asked_of_inputs(source))}\n"
    named = cast("Kernel", make(name, *names, body_line, header=head_line))
    return lambda **given: (named if _are_there(texts) else whole)(**given)


_sources: dict[Path, str] = {}
"""Texts of the files that kernels are given as."""


def keep_sources() -> None:
    """Write the files that kernels name where they have gone: a graph may be compiled long after it was traced."""
    _are_there(_sources)


def _are_there(texts: Mapping[Path, str]) -> bool:
    return all(_is_written(file, text, is_compared=False) for file, text in texts.items())


def _can_be_named(folder: str) -> bool:
    """Return whether a line can name a file there, and MLX finds no input's name in it."""
    return not any(word in folder for word in ('"', "\n", "_shape", "_strides", "_ndim"))


def _bounded(warps: int, blocks: int) -> str:
    """Return what gives a kernel its bounds: MLX writes the line that it is declared by."""
    bounds = f"__launch_bounds__({LANES * warps}, {blocks})"
    return f"#undef __global__\n#define __global__ __attribute__((global)) {bounds}\n"


def _asked_of_inputs(source: Source) -> list[str]:
    """Return the names by which a body asks for shapes: MLX looks for them in the text that it is given."""
    names = [f"{name}_{what}" for name in source.inputs for what in ("shape", "strides", "ndim")]
    return [name for name in names if name in source.body]


def _is_written(file: Path, text: str, *, is_compared: bool = True) -> bool:
    """Return whether a file holds a text, or is there at least, once it was written where it did not."""
    content = text.encode()
    try:
        if file.exists() and not (is_compared and file.read_bytes() != content):
            return True
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent) as beside:
            written = Path(beside) / file.name
            written.write_bytes(content)
            written.replace(file)
    except OSError as error:
        _tell_once(
            f"kernels' sources go to MLX whole, which takes the host longer: {error.strerror}"
        )
        return False
    return True


@functools.cache
def _tell_once(trouble: str) -> None:
    _log.warning("%s", trouble)


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
    grid = (LANES, rows, heads)
    return _call(kernel, inputs, template, (grid, (LANES, min(rows, ROWS_PER_GROUP), 1)), outputs)


def run_blocks(
    kernel: Kernel,
    inputs: list[mx.array],
    template: list[tuple[str, mx.Dtype | int]],
    extent: tuple[int, int, int],
    outputs: list[tuple[tuple[int, ...], mx.Dtype]],
) -> list[mx.array]:
    """Run a kernel of blocks; arguments as for `run`.

    Args:
        kernel: see there.
        inputs: see there.
        template: see there.
        extent: blocks, warps of each, and slots.
        outputs: see there.
    """
    blocks, warps, slots = extent
    grid = (LANES, blocks * warps, slots)
    return _call(kernel, inputs, template, (grid, (LANES, warps, 1)), outputs)


def _call(
    kernel: Kernel,
    inputs: list[mx.array],
    template: list[tuple[str, mx.Dtype | int]],
    launch: tuple[tuple[int, int, int], tuple[int, int, int]],
    outputs: list[tuple[tuple[int, ...], mx.Dtype]],
) -> list[mx.array]:
    types = [(f"Input{index}", array.dtype) for index, array in enumerate(inputs)]
    return kernel(
        inputs=inputs,
        template=[*template, *types],
        grid=launch[0],
        threadgroup=launch[1],
        output_shapes=[shape for shape, _ in outputs],
        output_dtypes=[dtype for _, dtype in outputs],
    )
