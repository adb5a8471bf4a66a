"""The small kernels between matmuls: sums and norms, SwiGLU, heads; bodies against definitions."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from kernels import gated_heads, parts, residual_norm, swiglu
from kernels.dialect import bits_of
from kernels.dispatch import Backend
from kernels.gated_heads import HeadShape
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


def summed(folder: Path, x: mx.array, summands: list[mx.array], weight: mx.array) -> list[mx.array]:
    """Return what the body writes: the sum, where there are two summands, and its norm."""
    rows, width = x.shape
    count = len(summands)
    return emulate_blocks(
        folder,
        (parts.HEADER, residual_norm.BODIES[count]),
        {"x": x, **dict(zip(("first", "second"), summands, strict=False)), "weight": weight},
        dict.fromkeys(("total", "normed")[-count:], (x.shape, x.dtype)),
        {
            "Width": width,
            "Warps": 4,
            "EpsBits": bits_of(EPS),
            **{f"Parts{at}": parts.parts_of(each, x) for at, each in enumerate(summands, start=1)},
        },
        (1, 4, rows),
    )


def rows_of(width: int, dtype: mx.Dtype, rows: int = 3) -> list[mx.array]:
    keys = mx.random.split(mx.random.key(width), 4)
    shapes = (*[(rows, width)] * 3, (width,))
    pairs = zip(shapes, keys, strict=True)
    return [mx.random.normal(shape, key=key).astype(dtype) for shape, key in pairs]


@needs_compiler
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    ("width", "dtype"),
    [(1, mx.float32), (33, mx.float16), (128, mx.bfloat16), (500, mx.float32)],
)
def test_sum_and_norm_are_the_definitions(
    built: Path, width: int, dtype: mx.Dtype, count: int
) -> None:
    x, *summands, weight = rows_of(width, dtype)
    *total, normed = summed(built, x, summands[:count], weight)
    right = residual_norm.residual_norm_plain(x, summands[:count], weight, EPS)
    assert all(mx.array_equal(each, right[0]) for each in total)
    assert len(total) == count - 1
    assert apart(normed, right[1]) < DTYPES[dtype]


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("counts", [(1, 3), (4, 2), (2,)])
def test_summands_in_parts_are_added_up_first(
    built: Path, dtype: mx.Dtype, counts: tuple[int, ...]
) -> None:
    x, *summands, weight = rows_of(100, dtype)
    split = [
        each if count == 1 else mx.random.normal((count, *x.shape), key=mx.random.key(count))
        for each, count in zip(summands, counts, strict=False)
    ]
    *total, normed = summed(built, x, split, weight)
    right = residual_norm.residual_norm_plain(x, split, weight, EPS)
    assert all(mx.array_equal(each, right[0]) for each in total)
    assert apart(normed, right[1]) < DTYPES[dtype]
    added = [parts.whole(each, x) for each in split]
    assert mx.array_equal(right[0], residual_norm.residual_norm_plain(x, added, weight, EPS)[0])


@needs_compiler
def test_a_row_is_summed_alike_whatever_is_beside_it(built: Path) -> None:
    x, *summands, weight = rows_of(500, mx.bfloat16, rows=9)
    whole = summed(built, x, summands, weight)
    part = summed(built, x[:4], [each[:4] for each in summands], weight)
    assert all(mx.array_equal(a, b[:4]) for a, b in zip(part, whole, strict=True))


@needs_compiler
@pytest.mark.parametrize("factor", [0.0, 1e-18, 1e15])
def test_norms_of_zeros_and_extremes_are_the_definitions(built: Path, factor: float) -> None:
    x, *summands, weight = rows_of(100, mx.float32)
    summands = [each * factor for each in summands]
    _, normed = summed(built, x * factor, summands, weight)
    right = residual_norm.residual_norm_plain(x * factor, summands, weight, EPS)[1]
    assert apart(normed, right) < 1e-5


def gated(folder: Path, product: mx.array) -> mx.array:
    rows, both = product.shape
    width = both // 2
    (y,) = emulate_blocks(
        folder,
        (swiglu.HEADER, swiglu.BODY),
        {"product": product},
        {"y": ((rows, width), product.dtype)},
        {"Width": width, "Warps": 2, "Each": 2},
        (-(-width // 128), 2, rows),
    )
    return y


@needs_compiler
@pytest.mark.parametrize(
    ("width", "dtype"), [(1, mx.float32), (31, mx.float16), (300, mx.bfloat16)]
)
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


HEADS = {
    "wide": HeadShape(6, 2, 64, 16, 1e4, 1.0, EPS),
    "odd": HeadShape(3, 1, 20, 6, 1e7, 0.5, EPS),
    "turned whole": HeadShape(2, 2, 32, 32, 1e4, 1.0, EPS),
}


def head_rows(shape: HeadShape, dtype: mx.Dtype, steps: int, batch: int = 1) -> list[mx.array]:
    keys = mx.random.split(mx.random.key(steps), 3)
    columns = 2 * (shape.heads + shape.key_heads) * shape.width
    shapes = ((batch, steps, columns), (shape.width,), (shape.width,))
    pairs = zip(shapes, keys, strict=True)
    return [mx.random.normal(each, key=key).astype(dtype) for each, key in pairs]


def split(
    folder: Path, shape: HeadShape, inputs: list[mx.array], position: mx.array
) -> list[mx.array]:
    rows, q_norm, k_norm = inputs
    batch, steps, _ = rows.shape
    keys = (batch, shape.key_heads, steps, shape.width)
    names = {name: int(str(value)) for name, value in gated_heads._constants(shape)}
    return emulate_blocks(
        folder,
        ("", gated_heads.SPLIT_BODY),
        {
            "rows": rows,
            "q_norm": q_norm,
            "k_norm": k_norm,
            "position": position,
            "frequencies": gated_heads.frequencies(shape),
        },
        {
            "q": ((batch, shape.heads, steps, shape.width), rows.dtype),
            "k": (keys, rows.dtype),
            "v": (keys, rows.dtype),
        },
        names,
        (-(-(shape.heads + 2 * shape.key_heads) // names["Warps"]), names["Warps"], batch * steps),
    )


@needs_compiler
@pytest.mark.parametrize(
    ("name", "dtype"), [*((name, mx.float32) for name in HEADS), ("odd", mx.bfloat16)]
)
def test_heads_are_taken_apart_as_defined(built: Path, name: str, dtype: mx.Dtype) -> None:
    shape = HEADS[name]
    inputs, position = head_rows(shape, dtype, 3, batch=2), mx.array([37], mx.int32)
    right = gated_heads.split_heads_plain(*inputs, position, shape)
    limit = gated_heads._TOLERANCE[dtype]
    for one, other in zip(split(built, shape, inputs, position), right, strict=True):
        assert one.shape == other.shape
        assert apart(one, other) < limit


@needs_compiler
def test_a_far_position_turns_a_head_as_mlx_does(built: Path) -> None:
    shape = HEADS["wide"]
    inputs = head_rows(shape, mx.float32, 2)
    position = mx.array([250_000], mx.int32)
    right = gated_heads.split_heads_plain(*inputs, position, shape)
    assert apart(split(built, shape, inputs, position)[0], right[0]) < 0.05


@needs_compiler
def test_a_rows_heads_are_alike_whatever_is_beside_it(built: Path) -> None:
    shape = HEADS["wide"]
    inputs, position = head_rows(shape, mx.bfloat16, 9), mx.array([5], mx.int32)
    whole = split(built, shape, inputs, position)
    one = split(built, shape, [inputs[0][:, 4:5], *inputs[1:]], position + 4)
    assert all(mx.array_equal(a, b[:, :, 4:5]) for a, b in zip(one, whole, strict=True))


@needs_compiler
def test_heads_of_zeros_stay_numbers(built: Path) -> None:
    shape = HEADS["odd"]
    inputs = [each * 0 for each in head_rows(shape, mx.float32, 2)]
    assert all((each == 0).all() for each in split(built, shape, inputs, mx.array([0])))


@needs_compiler
@pytest.mark.parametrize("name", HEADS)
def test_gated_heads_are_laid_out_as_defined(built: Path, name: str) -> None:
    shape = HEADS[name]
    rows = 4 * head_rows(shape, mx.float32, 3, batch=2)[0]
    attended = mx.random.normal((2, shape.heads, 3, shape.width), key=mx.random.key(4))
    (y,) = emulate_blocks(
        built,
        ("", gated_heads.GATE_BODY),
        {"attended": attended, "rows": rows},
        {"y": ((2, 3, shape.heads * shape.width), mx.float32)},
        {"Heads": shape.heads, "Width": shape.width, "Warps": 2},
        (-(-shape.heads * shape.width // 64), 2, 6),
    )
    assert apart(y, gated_heads.gate_heads_plain(attended, rows)) < 1e-6


def test_on_a_cpu_no_kernel_runs() -> None:
    if mx.default_device() != mx.cpu:
        pytest.skip("there is a GPU")
    for kernel in (residual_norm, swiglu):
        assert kernel.runs_on(64, mx.float32) is Backend.PLAIN
        assert kernel.kernel_note(64, mx.float32) == ""
    assert gated_heads.runs_on(HEADS["wide"], mx.float32) is Backend.PLAIN


@pytest.mark.gpu
def test_the_kernels_run_on_this_gpu() -> None:
    if mx.default_device() != mx.gpu:
        pytest.skip("MLX has no GPU here")
    for dtype in DTYPES:
        assert residual_norm.kernel_note(500, dtype) == ""
        assert swiglu.kernel_note(300, dtype) == ""
        assert gated_heads.kernel_note(HEADS["wide"], dtype) == ""
