"""What few rows by all matrices of the demo cost on a Linux CPU, plain and packed, by our kernels and without.

    uv run python -m benchmarks.rows_on_cpu [--rounds 3]

Random numbers in the shapes of the demo's trunk, each matrix in memory of its own, multiplied one after the
other as a pass does: float32 by the kernel for few rows and by OpenBLAS; 4 bits, the LM head 8, by the kernel for
packed rows and by MLX. Each has processes of its own, which take turns: OpenBLAS's threads look for work long
after it was done, on the core that ours wants. Prints one JSON document: milliseconds of all matrices
(medians) by rows, and what so many rows cost against one.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy_openblas32

from benchmarks.in_pty import machine
from engine.few_rows import compiled

CACHE = Path.home() / ".cache" / "mtplx-tui-benchmarks"
LAYERS = 30
OF_A_LAYER = ((576, 576), (192, 576), (192, 576), (576, 576), (1536, 576), (1536, 576), (576, 1536))
LM_HEAD = (49152, 576)
LONGEST = 1536
MOST_ROWS = 9
REPEATS = 9
WAYS = ("packed_rows", "mlx packed", "few_rows", "openblas")
GROUP = 32
ROW_MAJOR, PLAIN, TRANSPOSED = 101, 111, 112
Numbers = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", choices=WAYS, help="measure this one, here")
    options = parser.parse_args()
    if options.way:
        sys.stdout.write(json.dumps(measure(options.way)) + "\n")
        return
    rounds = [{way: child(way) for way in WAYS} for _ in range(options.rounds)]
    ms = {
        way: [
            round(statistics.median(each), 2)
            for each in zip(*(r[way] for r in rounds), strict=True)
        ]
        for way in WAYS
    }
    document = {
        **machine(),
        "ms_by_rows": ms,
        "against_one_row": {
            way: [round(each / found[0], 2) for each in found] for way, found in ms.items()
        },
    }
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def child(way: str) -> list[float]:
    """Measure one way in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.rows_on_cpu", "--way", way]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def measure(way: str) -> list[float]:
    """Return milliseconds of all matrices for one row, two rows, and so on."""
    run = of_mlx() if way == "mlx packed" else of_library(way)
    chance = np.random.default_rng(0)
    found = []
    for count in range(1, MOST_ROWS + 1):
        rows = chance.standard_normal((count, LONGEST), np.float32)
        times = []
        for _ in range(REPEATS):
            begin = time.perf_counter()
            run(rows)
            times.append(time.perf_counter() - begin)
        found.append(1e3 * statistics.median(times))
    return found


def shapes() -> list[tuple[int, int]]:
    """Return columns and length of all matrices."""
    return [*OF_A_LAYER * LAYERS, LM_HEAD]


def bits_of(shape: tuple[int, int]) -> int:
    """Return the bits of a packed weight, as the demo has them."""
    return 8 if shape == LM_HEAD else 4


def of_mlx() -> Callable[[Numbers], None]:
    """Return what multiplies rows by packed matrices as MLX does."""
    import mlx.core as mx

    mx.set_default_device(mx.cpu)
    packed = []
    for shape in shapes():
        plain = mx.random.normal(shape)
        packed.append((mx.quantize(plain, GROUP, bits_of(shape)), bits_of(shape), shape[1]))
        mx.eval(packed[-1][0])

    def run(rows: Numbers) -> None:
        x = mx.array(rows)
        mx.eval(
            [
                mx.quantized_matmul(x[:, :length], *parts, group_size=GROUP, bits=bits)
                for parts, bits, length in packed
            ]
        )

    return run


def of_library(way: str) -> Callable[[Numbers], None]:
    """Return what multiplies rows by all matrices through `cblas_sgemm`: the library's, or ours before it."""
    kernel = None if way == "openblas" else few_rows()
    multiply = openblas().scipy_cblas_sgemm if kernel is None else kernel.cblas_sgemm
    chance = np.random.default_rng(0)
    matrices = []
    for shape in shapes():
        if kernel is not None and way == "packed_rows":
            matrices.append(held(kernel, chance, *shape))
        else:
            matrices.append([chance.standard_normal(shape, np.float32)])
    out = np.zeros((MOST_ROWS, LM_HEAD[0]), np.float32)

    def run(rows: Numbers) -> None:
        one, zero = ctypes.c_float(1), ctypes.c_float(0)
        for (columns, length), (matrix, *_) in zip(shapes(), matrices, strict=True):
            multiply(
                ROW_MAJOR, PLAIN, TRANSPOSED, len(rows), columns, length, one, address(rows), LONGEST,
                address(matrix), length, zero, address(out), columns,
            )  # fmt: skip

    return run


def held(
    kernel: ctypes.CDLL, chance: np.random.Generator, columns: int, length: int
) -> list[Numbers]:
    """Return random packed weights that the kernel holds: words, scales and biases."""
    bits = bits_of((columns, length))
    words = chance.integers(0, 2**32, columns * length * bits // 32, np.uint32).view(np.float32)
    scales, biases = chance.standard_normal((2, columns * length // GROUP), np.float32)
    places = [address(each) for each in (words, scales, biases)]
    if not kernel.packed_rows_hold(*places, columns, length, GROUP, bits):
        raise SystemExit(f"{columns} columns of {length} are not held")
    return [words, scales, biases]


def openblas() -> ctypes.CDLL:
    """Return the library."""
    return ctypes.CDLL(str(next(Path(scipy_openblas32.get_lib_dir()).glob("lib*openblas*.so"))))


def few_rows() -> ctypes.CDLL:
    """Return our kernels, which share their work among as many threads as the library."""
    library, kernel = openblas(), ctypes.CDLL(str(compiled(CACHE)))
    all_else = ctypes.cast(library.scipy_cblas_sgemm, ctypes.c_void_p)
    kernel.few_rows_begin(all_else, library.scipy_openblas_get_num_threads())
    return kernel


def address(numbers: Numbers) -> ctypes.c_void_p:
    """Return where numbers begin."""
    return numbers.ctypes.data_as(ctypes.c_void_p)


if __name__ == "__main__":
    main()
