"""Attention of few rows over a long cache: the bodies in emulation, against their definition."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from kernels import cached_attention as kernel
from kernels.dialect import bits_of
from tests.fakes.emulation import emulate_blocks, needs_compiler

DTYPES = {mx.float32: 1e-5, mx.bfloat16: 2.0**-8, mx.float16: 2.0**-11}
SCALE = 0.3
Inputs = tuple[mx.array, mx.array, mx.array]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("emulation")


def inputs(
    heads: tuple[int, int], rows: int, length: int, width: int, dtype: mx.Dtype, batch: int = 1
) -> Inputs:
    random = mx.random.split(mx.random.key(length), 3)
    shapes = [(batch, heads[0], rows, width), *[(batch, heads[1], length, width)] * 2]
    q, k, v = (
        mx.random.normal(shape, key=key).astype(dtype)
        for shape, key in zip(shapes, random, strict=True)
    )
    return q, k, v


def attended(folder: Path, given: Inputs, place: int, parts: int = 256) -> mx.array:
    """Run both bodies; parts: of a long cache, about, so that a short one has several too."""
    queries, keys, values = given
    batch, heads, steps, width = queries.shape
    key_heads, length = keys.shape[1:3]
    rows, slots = steps * heads // key_heads, batch * key_heads
    least = 64 if parts == 256 else 4
    each = max(least, (length // parts + 3) // 4 * 4)
    count = -(-length // each)
    if parts == 256:
        assert (each, count) == kernel.parts_of(length)
    position = mx.array([place], mx.int32)
    sums, tops = emulate_blocks(
        folder,
        ("", "const int row = block, head = slot;\n" + kernel.PART_BODY),
        {"queries": queries, "keys": keys, "values": values, "position": position},
        {
            "sums": ((slots * rows, count, width), mx.float32),
            "tops": ((slots * rows, count, 2), mx.float32),
        },
        {
            "Width": width,
            "Group": heads // key_heads,
            "ScaleBits": bits_of(SCALE),
            "Rows": 8,
            "Least": least,
            "Parts": parts,
        },
        (-(-rows // 8) * count, 1, slots),
    )
    name = {mx.float32: "float", mx.bfloat16: "bfloat16", mx.float16: "float16"}[queries.dtype]
    (joined,) = emulate_blocks(
        folder,
        (f"using OutT = {name};\n", kernel.JOIN_BODY),
        {"sums": sums, "tops": tops},
        {"attended": (queries.shape, queries.dtype)},
        {"Width": width, "Warps": 3},
        (1, 3, slots * rows),
    )
    return joined


def apart(one: mx.array, other: mx.array) -> float:
    """Return the largest difference against the largest entry."""
    a, b = (np.array(each.astype(mx.float32), np.float64) for each in (one, other))
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30))


Case = tuple[tuple[tuple[int, int], int, int, int], mx.Dtype, int, int]
CASES: dict[str, Case] = {
    "one row": (((6, 1), 1, 130, 32), mx.float32, 129, 256),
    "rows that fill no group": (((6, 2), 3, 70, 64), mx.bfloat16, 60, 9),
    "nine rows, many groups": (((12, 2), 9, 41, 32), mx.float16, 32, 9),
    "a wide head": (((3, 3), 2, 19, 256), mx.float32, 11, 9),
    "the first row of all": (((2, 1), 1, 256, 128), mx.float32, 0, 256),
    "a bucket hardly written": (((4, 2), 4, 200, 32), mx.float32, 1, 256),
}
"""Heads, rows, length and width; type; the first row's place; parts of a long cache."""


@needs_compiler
@pytest.mark.parametrize("name", CASES)
def test_the_bodies_are_the_definition(built: Path, name: str) -> None:
    shape, dtype, place, parts = CASES[name]
    given = inputs(*shape, dtype)
    right = kernel.cached_attention_plain(*given, mx.array([place], mx.int32), SCALE)
    assert apart(attended(built, given, place, parts), right) < DTYPES[dtype]


@needs_compiler
def test_a_batch_is_its_parts(built: Path) -> None:
    q, k, v = inputs((4, 2), 2, 50, 32, mx.float32, batch=2)
    whole = attended(built, (q, k, v), 40, 9)
    for index in range(2):
        own = slice(index, index + 1)
        assert mx.array_equal(attended(built, (q[own], k[own], v[own]), 40, 9), whole[own])


@needs_compiler
def test_a_row_has_the_same_bits_whatever_is_beside_it(built: Path) -> None:
    q, k, v = inputs((6, 2), 9, 80, 32, mx.bfloat16)
    window = attended(built, (q, k, v), 60, 9)
    for row in (0, 4, 8):
        alone = attended(built, (q[:, :, row : row + 1], k, v), 60 + row, 9)
        assert mx.array_equal(alone, window[:, :, row : row + 1])


@needs_compiler
def test_what_is_not_written_yet_is_not_looked_at(built: Path) -> None:
    q, k, v = inputs((4, 2), 2, 90, 32, mx.float32)
    seen = attended(built, (q, k, v), 50, 9)
    beyond = mx.arange(90)[:, None] > 51
    rubbish = (mx.where(beyond, mx.nan, k), mx.where(beyond, mx.inf, v))
    assert mx.array_equal(attended(built, (q, *rubbish), 50, 9), seen)


@needs_compiler
@pytest.mark.parametrize("factor", [0.0, 1e-20, 1e4, -1e4])
def test_zeros_extremes_and_ties_are_the_definition(built: Path, factor: float) -> None:
    q, k, v = inputs((4, 2), 3, 60, 32, mx.float32)
    k = mx.concatenate([k[:, :, :30]] * 2, axis=2)  # each place twice: ties
    right = kernel.cached_attention_plain(q * factor, k, v, mx.array([57], mx.int32), SCALE)
    assert apart(attended(built, (q * factor, k, v), 57, 9), right) < 1e-5


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("heads", "width"), [((24, 4), 256), ((32, 8), 128), ((9, 3), 64)])
def test_the_kernel_runs_on_this_gpu(
    heads: tuple[int, int], width: int, dtype: mx.Dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    if mx.default_device() != mx.gpu:
        pytest.skip("MLX has no GPU here")
    monkeypatch.setenv("MTPLX_TUI_KERNELS", "+cached_attention")
    assert kernel.kernel_note(*heads, width, dtype) == ""
