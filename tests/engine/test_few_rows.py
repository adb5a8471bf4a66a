"""The kernel for few rows: products against float64, the same bits in windows, all else left to the library."""

from __future__ import annotations

import ctypes
import platform
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from engine import few_rows
from engine.few_rows import LeftToLibrary, compiled
from engine.protocol import MAX_DEPTH
from tests.fakes.required import skip_without

COMPILER = next(filter(shutil.which, few_rows._COMPILERS), None)
pytestmark = skip_without("cc", COMPILER, "no C compiler: the kernel for few rows was NOT run")

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

    multiply: Callable[..., None]
    left: list[tuple[object, ...]] = field(default_factory=list)

    def product(self, rows: np.ndarray, weights: np.ndarray, spare: int = 0) -> np.ndarray:
        """Return float32 [n, columns + spare]: rows times weights, and columns that stay 7."""
        out = np.full((len(rows), len(weights) + spare), 7, np.float32)
        self.call(rows, weights, out)
        return out

    def call(
        self, rows: np.ndarray, weights: np.ndarray, out: np.ndarray, **other: object
    ) -> tuple[object, ...]:
        """Call it as MLX does, but for what is named otherwise; return what was said but for the matrices."""
        named = {
            "order": ROW_MAJOR, "a_is": PLAIN, "b_is": TRANSPOSED, "m": len(rows), "n": len(weights),
            "k": rows.shape[1], "alpha": 1.0, "a": pointer(rows), "lda": rows.strides[0] // 4,
            "b": pointer(weights), "ldb": weights.strides[0] // 4, "beta": 0.0, "c": pointer(out),
            "ldc": out.shape[1],
        }  # fmt: skip
        arguments = (*{**named, **other}.values(),)
        self.multiply(*arguments)
        return arguments[:7]


def pointer(numbers: np.ndarray) -> object:
    return numbers.ctypes.data_as(FLOATS)


@pytest.fixture(scope="module", params=VECTORS)
def kernel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(few_rows, "_OPTIONS", (*few_rows._OPTIONS, *request.param))
        loaded = ctypes.CDLL(str(compiled(tmp_path_factory.mktemp("cache"))))
    loaded.cblas_sgemm.argtypes, loaded.cblas_sgemm.restype = ARGUMENTS, None
    found = Kernel(loaded.cblas_sgemm)

    def library(*arguments: object) -> None:
        found.left.append(arguments[:7])

    setattr(loaded, "library", LIBRARY(library))  # noqa: B010 - it must live as long as the kernel
    loaded.few_rows_begin(loaded.library, 3)
    return found


def made(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("columns", [1, 3, 5, 130, 1100])
@pytest.mark.parametrize("length", [16, 64, 576, 1536])
@pytest.mark.parametrize("count", range(1, MAX_DEPTH + 2))
def test_products_are_those_of_float64(
    kernel: Kernel, count: int, length: int, columns: int
) -> None:
    rows, weights = made(count, length + 16)[:, :length], made(columns, length + 32)[:, :length]
    out = kernel.product(rows, weights, spare=2)
    wanted = rows.astype(np.float64) @ weights.T.astype(np.float64)
    most = np.abs(rows).astype(np.float64) @ np.abs(weights).T.astype(np.float64)
    assert (np.abs(out[:, :columns] - wanted) <= most * length * 2.0**-24).all()
    assert (out[:, columns:] == 7).all()
    assert kernel.left == []


@pytest.mark.parametrize(("length", "columns"), [(64, 50), (576, 1536), (1536, 576)])
def test_rows_of_a_window_have_the_bits_of_single_rows(
    kernel: Kernel, length: int, columns: int
) -> None:
    rows, weights = made(9, length), made(columns, length)
    alone = np.concatenate([kernel.product(row[None], weights) for row in rows])
    for count in range(2, 10):
        assert (kernel.product(rows[:count], weights) == alone[:count]).all()


def test_callers_at_once_all_get_their_own(kernel: Kernel) -> None:
    weights = made(1100, 64)
    asked = [made(1 + number % 9, 64) + number for number in range(24)]
    wanted = [kernel.product(rows, weights) for rows in asked]

    def same(number: int) -> bool:
        return all(
            (kernel.product(asked[number], weights) == wanted[number]).all() for _ in range(60)
        )

    with ThreadPoolExecutor(6) as callers:
        assert all(callers.map(same, range(24)))


@pytest.mark.parametrize(
    "other",
    [
        {"order": COLUMN_MAJOR}, {"a_is": TRANSPOSED}, {"b_is": PLAIN}, {"m": MAX_DEPTH + 2}, {"m": 0}, {"k": 30},
        {"alpha": 2.0}, {"beta": 1.0},
    ],
)  # fmt: skip
def test_all_else_is_the_library_s(kernel: Kernel, other: dict[str, object]) -> None:
    rows, weights = made(4, 32), made(8, 32)
    out = np.full((4, 8), 7, np.float32)
    asked = kernel.call(rows, weights, out, **other)
    assert kernel.left == [asked]
    assert (out == 7).all()
    kernel.left.clear()


def test_it_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = compiled(tmp_path)
    monkeypatch.setattr(few_rows, "_COMPILERS", ())
    assert compiled(tmp_path) == first
    assert list((tmp_path / "blas").iterdir()) == [first]


def test_another_processor_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = compiled(tmp_path)
    monkeypatch.setattr(few_rows, "_cpu", lambda: "another")
    assert compiled(tmp_path) != first


def test_without_a_compiler_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(few_rows, "_COMPILERS", ())
    with pytest.raises(LeftToLibrary, match="there is no C compiler"):
        compiled(tmp_path)


def test_a_compiler_that_fails_is_quoted_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(few_rows, "_OPTIONS", ("-nonsense",))
    with pytest.raises(LeftToLibrary, match=r"the C compiler failed: .*nonsense"):
        compiled(tmp_path)
    assert list((tmp_path / "blas").iterdir()) == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("sum[r][c] += row * weight[c]", "sum[r][c] += row"),
        ("+ first + c]", "+ first]"),
        ("part + 1))", "part))"),
        ("k < p->length", "k < p->length - LANES"),
    ],
)
def test_one_that_multiplies_wrongly_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, right: str, wrong: str
) -> None:
    source = few_rows._source().read_text("utf-8")
    assert right in source
    broken = tmp_path / "few_rows.c"
    broken.write_text(source.replace(right, wrong), "utf-8")
    monkeypatch.setattr(few_rows, "_source", lambda: broken)
    kernel = ctypes.CDLL(str(compiled(tmp_path)))
    kernel.few_rows_begin(None, 2)
    assert not few_rows._multiplies(kernel)
