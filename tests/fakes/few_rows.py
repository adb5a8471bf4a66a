"""The kernel for few rows, compiled and loaded by itself, over a library that notes what is left to it."""

from __future__ import annotations

import ctypes
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import few_rows
from engine.few_rows import compiled
from tests.fakes.required import skip_without

COMPILER = next(filter(shutil.which, few_rows._COMPILERS), None)
needs_compiler = skip_without("cc", COMPILER, "no C compiler: the kernel for few rows was NOT run")
VECTORS = [(), ("-mno-avx512f",)] if platform.machine() == "x86_64" else [()]
"""Options beside the kernel's own: as wide as this processor has them, and narrower."""
ROW_MAJOR, COLUMN_MAJOR, PLAIN, TRANSPOSED = 101, 102, 111, 112
INTEGER, REAL = ctypes.c_int, ctypes.c_float
FLOATS = ctypes.POINTER(REAL)
ARGUMENTS = [
    *(INTEGER,) * 6, REAL, FLOATS, INTEGER, FLOATS, INTEGER, REAL, FLOATS, INTEGER
]  # fmt: skip
LIBRARY = ctypes.CFUNCTYPE(None, *ARGUMENTS)


@dataclass
class Kernel:
    """The kernel, and what it left to the library."""

    functions: Any
    left: list[tuple[Any, ...]] = field(default_factory=list)
    multiply: Callable[..., None] | None = None
    """What the library does beside noting it; nothing by itself."""

    def call(
        self, rows: np.ndarray, weights: np.ndarray, out: np.ndarray, **other: object
    ) -> tuple[Any, ...]:
        """Call it as MLX does, but for what is named otherwise; return what was said but for the matrices."""
        named = {
            "order": ROW_MAJOR, "a_is": PLAIN, "b_is": TRANSPOSED, "m": len(rows), "n": len(weights),
            "k": rows.shape[1], "alpha": 1.0, "a": pointer(rows), "lda": rows.strides[0] // 4,
            "b": pointer(weights), "ldb": weights.strides[0] // 4, "beta": 0.0, "c": pointer(out),
            "ldc": out.shape[1],
        }  # fmt: skip
        arguments = (*{**named, **other}.values(),)
        self.functions.cblas_sgemm(*arguments)
        return arguments[:7]


def pointer(numbers: np.ndarray) -> object:
    return numbers.ctypes.data_as(FLOATS)


def loaded(options: tuple[str, ...], folder: Path) -> Kernel:
    """Compile the kernel with further options and load it; three threads multiply."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(few_rows, "_OPTIONS", (*few_rows._OPTIONS, *options))
        functions = ctypes.CDLL(str(compiled(folder)))
    functions.cblas_sgemm.argtypes, functions.cblas_sgemm.restype = ARGUMENTS, None
    found = Kernel(functions)

    def library(*arguments: Any) -> None:
        found.left.append(arguments[:7])
        if found.multiply is not None:
            found.multiply(*arguments)

    setattr(functions, "library", LIBRARY(library))  # noqa: B010 - it must live as long as the kernel
    functions.few_rows_begin(functions.library, 3)
    return found


def made(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)
