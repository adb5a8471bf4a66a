"""Kernel bodies compiled as C++ for the CPU: 32 threads in step play the 32 lanes."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import mlx.core as mx
import numpy as np

from tests.fakes.required import skip_without

COMPILER = next((name for name in ("g++", "clang++") if shutil.which(name) is not None), None)
needs_compiler = skip_without("cxx", COMPILER, "no C++ compiler: the kernel body was NOT run")

_SHIM = """
#include <barrier>
#include <cmath>
#include <cstring>
#include <thread>
#include <vector>

static std::barrier<> in_step(32);
static float passed[32];
static thread_local int lane;
static float lane_sum(float x) {
  for (int mask = 16; mask > 0; mask /= 2) {
    passed[lane] = x;
    in_step.arrive_and_wait();
    const float other = passed[lane ^ mask];
    in_step.arrive_and_wait();
    x += other;
  }
  return x;
}
static float fused(float a, float b, float c) { return std::fma(a, b, c); }
"""
_MAIN = """
extern "C" void run(int rows, int heads, void** a) {
  std::vector<std::thread> lanes;
  for (int id = 0; id < 32; ++id) lanes.emplace_back([=] {
    lane = id;
    for (int head = 0; head < heads; ++head)
      for (int row = 0; row < rows; ++row) body(row, head, a);
  });
  for (auto& each : lanes) each.join();
}
"""


def emulate(
    folder: Path,
    body: str,
    inputs: dict[str, mx.array],
    outputs: dict[str, tuple[int, ...]],
    constants: dict[str, int],
    rows_and_heads: tuple[int, int],
) -> list[np.ndarray]:
    """Run a kernel body over float32 inputs; returns its outputs, float32."""
    library = _compiled(folder, _source(body, inputs, outputs, constants))
    arrays = [np.ascontiguousarray(np.array(value)) for value in inputs.values()]
    results = [np.full(shape, np.nan, np.float32) for shape in outputs.values()]
    pointers = [array.ctypes.data for array in (*arrays, *results)]
    run = ctypes.CDLL(str(library)).run
    run(*rows_and_heads, (ctypes.c_void_p * len(pointers))(*pointers))
    return results


def _source(
    body: str,
    inputs: dict[str, mx.array],
    outputs: Sequence[str] | dict[str, tuple[int, ...]],
    constants: dict[str, int],
) -> str:
    lines = [f"constexpr int {name} = {value};" for name, value in constants.items()]
    lines.append("using InT = float;")
    for index, (name, value) in enumerate(inputs.items()):
        kind = "int" if value.dtype == mx.int32 else "float"
        lines.append(f"const auto* {name} = static_cast<const {kind}*>(a[{index}]);")
    for index, name in enumerate(outputs, start=len(inputs)):
        lines.append(f"auto* {name} = static_cast<float*>(a[{index}]);")
    start = "static void body(int row, int head, void** a) {\n"
    return _SHIM + start + "\n".join(lines) + body + "}\n" + _MAIN


@functools.cache
def _compiled(folder: Path, source: str) -> Path:
    name = hashlib.sha256(source.encode()).hexdigest()[:16]
    code, library = folder / f"{name}.cpp", folder / f"{name}.so"
    code.write_text(source, "utf-8")
    command = [str(COMPILER), "-std=c++20", "-O1", "-fPIC", "-shared", "-pthread"]
    done = subprocess.run(
        [*command, str(code), "-o", str(library)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return library
