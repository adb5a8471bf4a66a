"""What few rows by all matrices of the demo cost on a Linux CPU: the kernel for few rows against OpenBLAS.

    uv run python -m benchmarks.rows_on_cpu [--rounds 3]

Random numbers in the shapes of the demo's trunk, each matrix in memory of its own, multiplied one after the
other as a pass does. Each has processes of its own, which take turns: OpenBLAS's threads look for work long
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
WAYS = ("few_rows", "openblas")
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
    multiply = few_rows() if way == "few_rows" else openblas().scipy_cblas_sgemm
    chance = np.random.default_rng(0)
    shapes = [*OF_A_LAYER * LAYERS, LM_HEAD]
    matrices = [chance.standard_normal(shape, np.float32) for shape in shapes]
    found = []
    for count in range(1, MOST_ROWS + 1):
        rows = chance.standard_normal((count, LONGEST), np.float32)
        out = np.zeros((count, LM_HEAD[0]), np.float32)
        times = [seconds(multiply, rows, matrices, out) for _ in range(REPEATS)]
        found.append(1e3 * statistics.median(times))
    return found


def openblas() -> ctypes.CDLL:
    """Return the library."""
    return ctypes.CDLL(str(next(Path(scipy_openblas32.get_lib_dir()).glob("lib*openblas*.so"))))


def few_rows() -> Callable[..., None]:
    """Return the kernel's `cblas_sgemm`, which shares its work among as many threads as the library."""
    library, kernel = openblas(), ctypes.CDLL(str(compiled(CACHE)))
    all_else = ctypes.cast(library.scipy_cblas_sgemm, ctypes.c_void_p)
    kernel.few_rows_begin(all_else, library.scipy_openblas_get_num_threads())
    return kernel.cblas_sgemm


def seconds(
    multiply: Callable[..., None], rows: Numbers, matrices: list[Numbers], out: Numbers
) -> float:
    """Return what rows by all matrices take."""
    one, zero = ctypes.c_float(1), ctypes.c_float(0)
    begin = time.perf_counter()
    for matrix in matrices:
        columns, length = matrix.shape
        multiply(
            ROW_MAJOR, PLAIN, TRANSPOSED, len(rows), columns, length, one, address(rows), LONGEST,
            address(matrix), length, zero, address(out), columns,
        )  # fmt: skip
    return time.perf_counter() - begin


def address(numbers: Numbers) -> ctypes.c_void_p:
    """Return where numbers begin."""
    return numbers.ctypes.data_as(ctypes.c_void_p)


if __name__ == "__main__":
    main()
