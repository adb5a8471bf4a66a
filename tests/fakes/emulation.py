"""Kernel bodies compiled as C++ for the CPU: fibers that take turns play the lanes of a block."""

from __future__ import annotations

import atexit
import ctypes
import functools
import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

import mlx.core as mx
import numpy as np

from tests.fakes.required import skip_without

COMPILER = next((name for name in ("g++", "clang++") if shutil.which(name) is not None), None)
needs_compiler = skip_without("cxx", COMPILER, "no C++ compiler: the kernel body was NOT run")

_SHIM = """
#include <cmath>
#include <cstdlib>
#include <cstdint>
#include <cstring>
#include <memory>
#include <ucontext.h>
#include <vector>

#define FUNCTION inline
#define DEVICE
#define SHARED static
#define NEARBY
#define UNROLL
using std::uint32_t;

// Each lane is a thread of its own, run in turns: at a barrier it yields until all have come. A
// warp runs as far ahead of the others as the block's barriers let it, so that races show.
struct Copy { void* to; const void* from; int bytes; };
struct Barrier {
  int size, arrived, turn;
  void wait();
};
struct Lane {
  ucontext_t here;
  std::unique_ptr<char[]> stack;
  int lane, warp;
  bool is_done, is_at_block;
  std::vector<std::vector<Copy>> batches;
};
struct Work { int first, second, firsts, seconds; void** a; };
static ucontext_t scheduler;
static Lane* now;
static Barrier whole_block;
static std::vector<Barrier> warps;
void Barrier::wait() {
  const int mine = turn;
  now->is_at_block = this == &whole_block;
  if (++arrived == size) { arrived = 0; ++turn; }
  else while (turn == mine) swapcontext(&now->here, &scheduler);
  now->is_at_block = false;
}
static uint32_t passed[32][32][8];
static void in_step() { warps[now->warp].wait(); }
static void group_barrier() { whole_block.wait(); }
static uint32_t as_bits(float x) { uint32_t bits; std::memcpy(&bits, &x, 4); return bits; }
static float as_number(uint32_t bits) { float x; std::memcpy(&x, &bits, 4); return x; }
template <typename T> float half_of(uint32_t word, int i) {
  const uint16_t bits = i ? word >> 16 : word;
  T number;
  std::memcpy(&number, &bits, 2);
  return static_cast<float>(number);
}
static float from_lane(float x, int lane) {
  passed[now->warp][now->lane][0] = as_bits(x);
  in_step();
  const float other = as_number(passed[now->warp][lane][0]);
  in_step();
  return other;
}
static float lane_sum(float x) {
  for (int mask = 16; mask > 0; mask /= 2) x += from_lane(x, now->lane ^ mask);
  return x;
}
static float quad_sum(float x) {
  for (int mask = 2; mask > 0; mask /= 2) x += from_lane(x, now->lane ^ mask);
  return x;
}
static float lane_max(float x) {
  for (int mask = 16; mask > 0; mask /= 2) x = std::fmax(x, from_lane(x, now->lane ^ mask));
  return x;
}
static bool any_lane(bool x) { return lane_max(x ? 1.0f : 0.0f) > 0.0f; }
static float exponential(float x) { return std::exp(x); }
static void device_barrier() { group_barrier(); }
using Wide = std::uint64_t;
using Counter = uint32_t;
static uint32_t count_up(Counter* place, uint32_t amount) { return (*place += amount) - amount; }
static uint32_t count_at(const Counter* place) { return *place; }
static void set_count(Counter* place, uint32_t amount) { *place = amount; }
static float fused(float a, float b, float c) { return std::fma(a, b, c); }
static float cosine(float x) { return std::cos(x); }
static float sine(float x) { return std::sin(x); }
template <int Bytes, typename T> static bool is_at(const T* place) {
  return reinterpret_cast<std::uintptr_t>(place) % Bytes == 0;
}
// A copy is done when it is waited for, and no sooner, so that what is read too early shows.
static std::vector<std::vector<Copy>>& batches() { return now->batches; }
template <typename T> static T once(T x) { return x; }
using Place = char*;
static Place place_of(void* at) { return static_cast<char*>(at); }
template <int Bytes> static void copy_ahead(Place to, const void* from) {
  if (reinterpret_cast<std::uintptr_t>(to) % Bytes || reinterpret_cast<std::uintptr_t>(from) % Bytes)
    std::abort();
  if (batches().empty()) batches().emplace_back();
  batches().back().push_back({to, from, Bytes});
}
static void close_copies() {
  if (batches().empty()) batches().emplace_back();
  batches().emplace_back();
}
template <int Left> static void await_copies() {
  while (batches().size() > Left + 1) {
    for (const Copy& each : batches().front()) std::memcpy(each.to, each.from, each.bytes);
    batches().erase(batches().begin());
  }
  in_step();
}

struct bfloat16 {
  std::uint16_t bits;
  bfloat16() = default;
  explicit bfloat16(float x) {
    const uint32_t all = as_bits(x);
    bits = (all + 0x7fffu + (all >> 16 & 1u)) >> 16;
  }
  operator float() const { return as_number(static_cast<uint32_t>(bits) << 16); }
};
using float16 = _Float16;

// What the tensor cores' dialect asks of pairs of 16-bit numbers, spelled out.
static uint32_t permuted(uint32_t a, uint32_t b, uint32_t order) {
  const std::uint64_t both = static_cast<std::uint64_t>(b) << 32 | a;
  uint32_t result = 0;
  for (int i = 0; i < 4; ++i)
    result |= static_cast<uint32_t>(both >> 8 * (order >> 4 * i & 7u) & 0xffu) << 8 * i;
  return result;
}
static uint32_t with_nibbles(uint32_t onto, uint32_t a) { return (a & 0x000f000fu) | onto; }
template <typename T> struct Pair { T low, high; };
template <typename T> static Pair<T> split(uint32_t pair) {
  Pair<T> both;
  std::memcpy(&both, &pair, 4);
  return both;
}
template <typename T> static uint32_t joined(T low, T high) {
  const Pair<T> both = {low, high};
  uint32_t pair;
  std::memcpy(&pair, &both, 4);
  return pair;
}
template <typename T> struct Numbers {
  static constexpr uint32_t offset = sizeof(T) == 2 && std::is_same_v<T, bfloat16>
      ? 0x43004300u : 0x64006400u;
  static constexpr uint32_t ones = std::is_same_v<T, bfloat16> ? 0x3f803f80u : 0x3c003c00u;
  static constexpr float offset_value = std::is_same_v<T, bfloat16> ? 128.0f : 1024.0f;
  static constexpr float byte_offset_value = 0.0f;
  static uint32_t bytes(uint32_t word, uint32_t low, uint32_t high) {
    return joined(static_cast<T>(static_cast<float>(word >> 8 * (low & 3u) & 0xffu)),
                  static_cast<T>(static_cast<float>(word >> 8 * (high & 3u) & 0xffu)));
  }
  // mma.m16n8k16: sum [16, 8] = onto + a [16, 16] b [16, 8], the fragments as PTX lays them out.
  static void multiply(float* sum, const float* onto, const uint32_t* a, uint32_t b0, uint32_t b1) {
    uint32_t* mine = passed[now->warp][now->lane];
    for (int i = 0; i < 4; ++i) mine[i] = a[i];
    mine[4] = b0;
    mine[5] = b1;
    in_step();
    const int own_row = now->lane / 4, own_column = now->lane % 4 * 2;
    for (int i = 0; i < 4; ++i) {
      const int row = own_row + i / 2 * 8, column = own_column + i % 2;
      sum[i] = onto[i];
      for (int k = 0; k < 16; ++k) {
        const int holder = k % 8 / 2;
        const uint32_t* left = passed[now->warp][row % 8 * 4 + holder];
        const uint32_t* right = passed[now->warp][column * 4 + holder];
        const Pair<T> x = split<T>(left[row / 8 + k / 8 * 2]), y = split<T>(right[4 + k / 8]);
        sum[i] += static_cast<float>(k % 2 ? x.high : x.low) * static_cast<float>(k % 2 ? y.high : y.low);
      }
    }
    in_step();
  }
};
"""
_MAIN = """
static Work present;
static void enter() {
  kernel(now->lane, now->warp, present, present.a);
  now->is_done = true;
}
static void run_one(int count) {
  whole_block = {32 * count, 0, 0};
  warps.assign(count, {32, 0, 0});
  std::vector<Lane> lanes(32 * count);
  constexpr int stack = 65536;
  for (int id = 0; id < 32 * count; ++id) {
    Lane& each = lanes[id];
    each.lane = id % 32;
    each.warp = id / 32;
    each.is_done = each.is_at_block = false;
    each.stack.reset(new char[stack]);
    getcontext(&each.here);
    each.here.uc_stack.ss_sp = each.stack.get();
    each.here.uc_stack.ss_size = stack;
    each.here.uc_link = &scheduler;
    makecontext(&each.here, enter, 0);
  }
  for (bool is_busy = true; is_busy;) {
    is_busy = false;
    for (int warp = count - 1; warp >= 0; --warp) {
      for (bool is_running = true; is_running;) {
        is_running = false;
        for (int lane = 0; lane < 32; ++lane) {
          now = &lanes[32 * warp + lane];
          if (now->is_done) continue;
          is_busy = true;
          swapcontext(&scheduler, &now->here);
          is_running = is_running || !(now->is_done || now->is_at_block);
        }
      }
    }
  }
}
extern "C" void run(int firsts, int seconds, int count, void** a) {
  for (int second = 0; second < seconds; ++second)
    for (int first = 0; first < firsts; ++first) {
      present = {first, second, firsts, seconds, a};
      run_one(count);
    }
}
"""
_ROWS = "const int row = work.first, head = work.second;\n"
_BLOCKS = """
const int block = work.first, blocks = work.firsts, slot = work.second, slots = work.seconds;
"""
_TYPES = {
    mx.float32: "float",
    mx.bfloat16: "bfloat16",
    mx.float16: "float16",
    mx.int32: "int",
    mx.uint32: "uint32_t",
}


@functools.cache
def shared_folder() -> Path:
    """Return a folder for what is compiled, that lasts as long as the process."""
    folder = Path(tempfile.mkdtemp(prefix="emulation-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def emulate(
    folder: Path,
    body: str,
    inputs: dict[str, mx.array],
    outputs: dict[str, tuple[int, ...]],
    constants: dict[str, int],
    rows_and_heads: tuple[int, int],
) -> list[np.ndarray]:
    """Run a kernel body of rows over float32 inputs; returns its outputs, float32."""
    shapes = {name: (shape, mx.float32) for name, shape in outputs.items()}
    source = _source(_ROWS + body, inputs, shapes, constants)
    results = _run(_compiled(folder, source), inputs, shapes, (*rows_and_heads, 1))
    return [np.array(result) for result in results]


def emulate_blocks(
    folder: Path,
    body: tuple[str, str],
    inputs: dict[str, mx.array],
    outputs: dict[str, tuple[tuple[int, ...], mx.Dtype]],
    constants: dict[str, int],
    extent: tuple[int, int, int],
) -> list[mx.array]:
    """Run a kernel body of blocks.

    Args:
        folder: for what is compiled.
        body: what stands before it, and the body.
        inputs: by name; the first one's type is InT.
        outputs: shapes and types; the first one's type is OutT.
        constants: of the template.
        extent: blocks, warps of each, and slots.
    """
    before, inside = body
    source = _source(_BLOCKS + inside, inputs, outputs, constants, before)
    blocks, warps, slots = extent
    return _run(_compiled(folder, source), inputs, outputs, (blocks, slots, warps))


def _run(
    library: Path,
    inputs: dict[str, mx.array],
    outputs: dict[str, tuple[tuple[int, ...], mx.Dtype]],
    extent: tuple[int, int, int],
) -> list[mx.array]:
    arrays = [np.ascontiguousarray(np.array(_raw(value))) for value in inputs.values()]
    results = [
        np.full(shape, _UNWRITTEN[dtype.size], f"u{dtype.size}")
        for shape, dtype in outputs.values()
    ]
    shapes = [np.array(value.shape, np.int32) for value in inputs.values()]
    pointers = [array.ctypes.data for array in (*arrays, *results, *shapes)]
    ctypes.CDLL(str(library)).run(*extent, (ctypes.c_void_p * len(pointers))(*pointers))
    types = [dtype for _, dtype in outputs.values()]
    return [mx.array(raw).view(dtype) for raw, dtype in zip(results, types, strict=True)]


_UNWRITTEN = {2: 0x7FFF, 4: 0x7FFFFFFF}
"""Bits of what is no number."""


def _raw(value: mx.array) -> mx.array:
    return value.view(mx.uint16) if value.dtype in (mx.bfloat16, mx.float16) else value


def _source(
    body: str,
    inputs: dict[str, mx.array],
    outputs: dict[str, tuple[tuple[int, ...], mx.Dtype]],
    constants: dict[str, int],
    before: str = "",
) -> str:
    lines = [f"constexpr int {name} = {value};" for name, value in constants.items()]
    first = next(iter(inputs.values())).dtype
    lines.append(f"using InT = {_TYPES[first]};")
    _, written = next(iter(outputs.values()))
    lines.append(f"using OutT = {_TYPES[written]};")
    for index, (name, value) in enumerate(inputs.items()):
        kind = _TYPES[value.dtype]
        lines.append(f"const auto* {name} = static_cast<const {kind}*>(a[{index}]);")
        if f"{name}_shape" in body:
            sizes = len(inputs) + len(outputs) + index
            lines.append(f"const int* {name}_shape = static_cast<const int*>(a[{sizes}]);")
        if f"{name}_ndim" in body:
            lines.append(f"constexpr int {name}_ndim = {value.ndim};")
    for index, (name, (_, dtype)) in enumerate(outputs.items(), start=len(inputs)):
        lines.append(f"auto* {name} = static_cast<{_TYPES[dtype]}*>(a[{index}]);")
    start = "static void kernel(int lane, int warp, Work work, void** a) {\n"
    return before + start + "\n".join(lines) + "\n" + body + "}\n" + _MAIN


@functools.cache
def _compiled(folder: Path, source: str) -> Path:
    name = hashlib.sha256(source.encode()).hexdigest()[:16]
    code, library = folder / f"{name}.cpp", folder / f"{name}.so"
    code.write_text(source, "utf-8")
    _compile("-shared", "-include", _shim(), code, "-o", library)
    return library


@functools.cache
def _shim() -> Path:
    """Return the header of all kernels; the compiler finds it read already, which is half its work."""
    header = shared_folder() / "shim.hpp"
    header.write_text(_SHIM, "utf-8")
    _compile("-x", "c++-header", header, "-o", f"{header}.{_READ[str(COMPILER)]}")
    return header


_READ = {"g++": "gch", "clang++": "pch"}
"""By compiler: how the file of a header is called that was read already."""


def _compile(*words: str | Path) -> None:
    command = [str(COMPILER), "-std=c++17", "-O1", "-fPIC"]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
