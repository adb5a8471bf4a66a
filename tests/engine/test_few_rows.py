"""The kernel for few rows: products against float64, the same bits in windows, all else left to the library."""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from engine import few_rows
from engine.few_rows import LeftToLibrary, compiled
from engine.protocol import MAX_DEPTH
from tests.fakes.few_rows import (
    COLUMN_MAJOR,
    PLAIN,
    TRANSPOSED,
    VECTORS,
    Kernel,
    loaded,
    made,
    needs_compiler,
)

pytestmark = needs_compiler


@pytest.fixture(scope="module", params=VECTORS)
def kernel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    return loaded(request.param, tmp_path_factory.mktemp("cache"))


def product(kernel: Kernel, rows: np.ndarray, weights: np.ndarray, spare: int = 0) -> np.ndarray:
    """Return float32 [n, columns + spare]: rows times weights, and columns that stay 7."""
    out = np.full((len(rows), len(weights) + spare), 7, np.float32)
    kernel.call(rows, weights, out)
    return out


@pytest.mark.parametrize("columns", [1, 3, 5, 130, 1100])
@pytest.mark.parametrize("length", [16, 64, 576, 1536])
@pytest.mark.parametrize("count", range(1, MAX_DEPTH + 2))
def test_products_are_those_of_float64(
    kernel: Kernel, count: int, length: int, columns: int
) -> None:
    rows, weights = made(count, length + 16)[:, :length], made(columns, length + 32)[:, :length]
    out = product(kernel, rows, weights, spare=2)
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
    alone = np.concatenate([product(kernel, row[None], weights) for row in rows])
    for count in range(2, 10):
        assert (product(kernel, rows[:count], weights) == alone[:count]).all()


def test_callers_at_once_all_get_their_own(kernel: Kernel) -> None:
    weights = made(1100, 64)
    asked = [made(1 + number % 9, 64) + number for number in range(24)]
    wanted = [product(kernel, rows, weights) for rows in asked]

    def same(number: int) -> bool:
        return all(
            (product(kernel, asked[number], weights) == wanted[number]).all() for _ in range(60)
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
    assert list(tmp_path.iterdir()) == []


def test_where_it_cant_be_kept_it_is_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    kernel = ctypes.CDLL(str(compiled(tmp_path / "file")))
    kernel.few_rows_begin(None, 2)
    assert few_rows._multiplies(kernel)


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
    sources = few_rows._sources()
    texts = {source.name: source.read_text("utf-8") for source in sources}
    assert right in texts["few_rows.c"]
    texts["few_rows.c"] = texts["few_rows.c"].replace(right, wrong)
    for name, text in texts.items():
        (tmp_path / name).write_text(text, "utf-8")
    monkeypatch.setattr(few_rows, "_sources", lambda: [tmp_path / name for name in texts])
    kernel = ctypes.CDLL(str(compiled(tmp_path)))
    kernel.few_rows_begin(None, 2)
    assert not few_rows._multiplies(kernel)
