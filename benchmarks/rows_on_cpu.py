"""What few rows by all matrices of the demo cost on a Linux CPU: the kernel for few rows against OpenBLAS.

    uv run python -m benchmarks.rows_on_cpu [--repeats 15]

Random numbers in the shapes of the demo's trunk, each matrix in memory of its own, multiplied one after the
other as a pass does. For each number of rows both take turns. Prints one JSON document: milliseconds
of all matrices (medians) by rows, and what so many rows cost against one.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
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
ROW_MAJOR, PLAIN, TRANSPOSED = 101, 111, 112
Numbers = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    chance = np.random.default_rng(0)
    shapes = [*OF_A_LAYER * LAYERS, LM_HEAD]
    matrices = [chance.standard_normal(shape, np.float32) for shape in shapes]
    ways = both()
    ms: dict[str, list[float]] = {name: [] for name in ways}
    for count in range(1, MOST_ROWS + 1):
        rows = chance.standard_normal((count, LONGEST), np.float32)
        out = np.zeros((count, LM_HEAD[0]), np.float32)
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(repeats):
            for name, multiply in ways.items():
                times[name].append(seconds(multiply, rows, matrices, out))
        for name, found in times.items():
            ms[name].append(round(1e3 * statistics.median(found), 2))
    document = {
        **machine(),
        "weights_bytes": sum(each.nbytes for each in matrices),
        "ms_by_rows": ms,
        "against_one_row": {
            name: [round(each / found[0], 2) for each in found] for name, found in ms.items()
        },
    }
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def both() -> dict[str, Callable[..., None]]:
    """Return each library's `cblas_sgemm`; ours shares its work among as many threads."""
    library = next(Path(scipy_openblas32.get_lib_dir()).glob("lib*openblas*.so"))
    openblas = ctypes.CDLL(str(library))
    kernel = ctypes.CDLL(str(compiled(CACHE)))
    all_else = ctypes.cast(openblas.scipy_cblas_sgemm, ctypes.c_void_p)
    kernel.few_rows_begin(all_else, openblas.scipy_openblas_get_num_threads())
    return {"few_rows": kernel.cblas_sgemm, "openblas": openblas.scipy_cblas_sgemm}


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
