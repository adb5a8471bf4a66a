"""The small kernels between matmuls: sum and norm, SwiGLU; their bodies against their definitions."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from kernels import residual_norm, swiglu
from kernels.dialect import bits_of
from kernels.dispatch import Backend
from tests.fakes.emulation import emulate_blocks, needs_compiler

EPS = 1e-5
DTYPES = {mx.float32: 1e-5, mx.bfloat16: 2.0**-7, mx.float16: 2.0**-10}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("emulation")


def apart(one: mx.array, other: mx.array) -> float:
    """Return the largest difference against the largest entry."""
    a, b = (np.array(each.astype(mx.float32), np.float64) for each in (one, other))
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30))


def summed(folder: Path, x: mx.array, added: mx.array, weight: mx.array) -> list[mx.array]:
    rows, width = x.shape
    return emulate_blocks(
        folder,
        ("", residual_norm.BODY),
        {"x": x, "added": added, "weight": weight},
        {"total": (x.shape, x.dtype), "normed": (x.shape, x.dtype)},
        {"Width": width, "Warps": 4, "EpsBits": bits_of(EPS)},
        (1, 4, rows),
    )


def rows_of(width: int, dtype: mx.Dtype, rows: int = 3) -> list[mx.array]:
    keys = mx.random.split(mx.random.key(width), 3)
    shapes = ((rows, width), (rows, width), (width,))
    pairs = zip(shapes, keys, strict=True)
    return [mx.random.normal(shape, key=key).astype(dtype) for shape, key in pairs]


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 33, 128, 500])
def test_sum_and_norm_are_the_definitions(built: Path, width: int, dtype: mx.Dtype) -> None:
    x, added, weight = rows_of(width, dtype)
    total, normed = summed(built, x, added, weight)
    right = residual_norm.residual_norm_plain(x, added, weight, EPS)
    assert mx.array_equal(total, right[0])
    assert apart(normed, right[1]) < DTYPES[dtype]


@needs_compiler
def test_a_row_is_summed_alike_whatever_is_beside_it(built: Path) -> None:
    x, added, weight = rows_of(500, mx.bfloat16, rows=9)
    whole = summed(built, x, added, weight)
    for rows in (1, 4):
        part = summed(built, x[:rows], added[:rows], weight)
        assert all(mx.array_equal(a, b[:rows]) for a, b in zip(part, whole, strict=True))


@needs_compiler
@pytest.mark.parametrize("factor", [0.0, 1e-18, 1e15])
def test_norms_of_zeros_and_extremes_are_the_definitions(built: Path, factor: float) -> None:
    x, added, weight = rows_of(100, mx.float32)
    _, normed = summed(built, x * factor, added * factor, weight)
    right = residual_norm.residual_norm_plain(x * factor, added * factor, weight, EPS)[1]
    assert apart(normed, right) < 1e-5


def gated(folder: Path, product: mx.array) -> mx.array:
    rows, both = product.shape
    width = both // 2
    (y,) = emulate_blocks(
        folder,
        ("", swiglu.BODY),
        {"product": product},
        {"y": ((rows, width), product.dtype)},
        {"Width": width, "Warps": 2, "Each": 2},
        (-(-width // 128), 2, rows),
    )
    return y


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 31, 128, 300])
def test_swiglu_is_the_definition(built: Path, width: int, dtype: mx.Dtype) -> None:
    product = 4 * mx.random.normal((3, 2 * width), key=mx.random.key(width))
    product = product.astype(dtype)
    assert apart(gated(built, product), swiglu.swiglu_plain(product)) < DTYPES[dtype] / 2


@needs_compiler
def test_swiglu_of_extremes_stays_a_number(built: Path) -> None:
    gate = mx.array([0.0, -0.0, 200.0, -200.0, 1e-30, 88.0])
    product = mx.concatenate([gate, mx.array([1.0, 2.0, 3.0, 4.0, 5.0, 0.0])])[None]
    mine, right = gated(built, product), swiglu.swiglu_plain(product)
    assert mx.isfinite(mine).all().item()
    assert mx.allclose(mine, right, 1e-6, 1e-30).item()


def test_the_definition_is_the_usual_swiglu() -> None:
    product = mx.random.normal((3, 64), key=mx.random.key(0))
    right = nn.silu(product[:, :32]) * product[:, 32:]
    assert apart(swiglu.swiglu_plain(product), right) < 1e-6


def test_on_a_cpu_no_kernel_runs() -> None:
    if mx.default_device() != mx.cpu:
        pytest.skip("there is a GPU")
    for kernel in (residual_norm, swiglu):
        assert kernel.runs_on(64, mx.float32) is Backend.PLAIN
        assert kernel.kernel_note(64, mx.float32) == ""


@pytest.mark.gpu
def test_the_kernels_run_on_this_gpu() -> None:
    if mx.default_device() != mx.gpu:
        pytest.skip("MLX has no GPU here")
    for dtype in DTYPES:
        assert residual_norm.kernel_note(500, dtype) == ""
        assert swiglu.kernel_note(300, dtype) == ""
