"""Attention of few rows over a long cache: the bodies in emulation, against their definition."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from kernels import cached_attention as kernel
from kernels.dialect import LANE_SUMS, bits_of
from kernels.dispatch import Backend
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


def attended(
    folder: Path,
    given: Inputs,
    place: int,
    parts: int | None = None,
    where: Backend = Backend.CUDA,
) -> mx.array:
    """Run both bodies; parts: at most, also of a short cache, in place of those of a long one."""
    queries, keys, values = given
    batch, heads, steps, width = queries.shape
    key_heads, length = keys.shape[1:3]
    rows, slots = steps * heads // key_heads, batch * key_heads
    cut = kernel.cut(where, key_heads, rows, width, queries.dtype)
    if parts is not None:
        cut = replace(cut, least=4, parts=parts)
    count = cut.parts_of(length)
    position = mx.array([place], mx.int32)
    sums, tops = emulate_blocks(
        folder,
        (LANE_SUMS, kernel.PART_BODY),
        {"queries": queries, "keys": keys, "values": values, "position": position},
        {
            "sums": ((slots * rows, count, width), mx.float32),
            "tops": ((slots * rows, count, 2), mx.float32),
        },
        {
            "Width": width,
            "Group": heads // key_heads,
            "ScaleBits": bits_of(SCALE),
            **dict(cut.constants()),
        },
        (cut.blocks_of(length, rows), cut.warps, slots),
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


Case = tuple[tuple[tuple[int, int], int, int, int], mx.Dtype, int, int | None]
CASES: dict[str, Case] = {
    "one row": (((6, 1), 1, 130, 32), mx.float32, 129, None),
    "rows that fill no group": (((6, 2), 3, 70, 64), mx.bfloat16, 60, 9),
    "nine rows, many groups": (((12, 2), 9, 41, 32), mx.float16, 32, 9),
    "six rows of a token": (((12, 2), 1, 41, 64), mx.bfloat16, 40, 5),
    "a wide head": (((3, 3), 2, 19, 256), mx.float32, 11, 9),
    "a wide head of 16 bits": (((6, 1), 2, 75, 256), mx.bfloat16, 71, 2),
    "the first row of all": (((2, 1), 1, 256, 128), mx.float32, 0, None),
    "the only place": (((2, 1), 1, 1, 32), mx.float16, 0, None),
    "a bucket hardly written": (((4, 2), 4, 200, 32), mx.float32, 1, None),
    "the last part is of one place": (((4, 2), 2, 65, 64), mx.float16, 63, None),
    "the last part is empty": (((4, 2), 2, 65, 64), mx.float16, 62, None),
}
"""Heads, rows, length and width; type; the first row's place; parts at most, where a short cache has several."""


@needs_compiler
@pytest.mark.parametrize("name", CASES)
def test_the_bodies_are_the_definition(built: Path, name: str) -> None:
    shape, dtype, place, parts = CASES[name]
    given = inputs(*shape, dtype)
    right = kernel.cached_attention_plain(*given, mx.array([place], mx.int32), SCALE)
    assert apart(attended(built, given, place, parts), right) < DTYPES[dtype]


@needs_compiler
@pytest.mark.parametrize("where", [Backend.CUDA, Backend.METAL])
@pytest.mark.parametrize(("dtype", "width"), [(mx.bfloat16, 256), (mx.float32, 64)])
def test_lengths_around_the_borders_of_stages_and_rings_are_the_definition(
    built: Path, where: Backend, dtype: mx.Dtype, width: int
) -> None:
    ring = 4 * kernel.cut(where, 1, 2, width, dtype).stages
    for border in (4, ring - 4, ring, 2 * ring):
        for length in (border - 1, border, border + 1):
            given = inputs((2, 1), 1, length, width, dtype)
            position = mx.array([length - 1], mx.int32)
            right = kernel.cached_attention_plain(*given, position, SCALE)
            mine = attended(built, given, length - 1, 1, where)
            assert apart(mine, right) < DTYPES[dtype], length


@pytest.mark.parametrize("where", [Backend.CUDA, Backend.METAL])
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_a_block_shares_has_room_and_parts_are_bounded(
    where: Backend, dtype: mx.Dtype
) -> None:
    room = {Backend.CUDA: 48 * 1024, Backend.METAL: 32 * 1024}[where]
    for width in kernel.WIDTHS:
        for rows in range(1, 97):
            cut = kernel.cut(where, 4, rows, width, dtype)
            assert cut.warps * cut.stages * 8 * width * dtype.size <= room
            assert cut.stages >= 2
            assert 1 <= cut.rows <= 8
            assert -(-rows // cut.rows) == -(-rows // 8)
    alone = kernel.cut(where, 4, 1, 256, dtype)
    for length in (1, 64, 65, 2048, 33_000, 65_536, 131_072, 1_000_001):
        parts = alone.parts_of(length)
        assert 1 <= parts <= min(-(-length // 16), 512)
        assert parts <= 128 or length >= 64 * (parts - 1)


@needs_compiler
@pytest.mark.parametrize(("length", "parts"), [(30, 2), (100, 2), (300, 5)])
def test_few_parts_grow_until_they_are_long_enough(
    built: Path, monkeypatch: pytest.MonkeyPatch, length: int, parts: int
) -> None:
    monkeypatch.setattr(kernel, "_SHORT", 4)
    assert kernel.cut(Backend.CUDA, 2, 3, 32, mx.float32).parts_of(length) == parts
    given = inputs((6, 2), 3, length, 32, mx.float32)
    position = mx.array([length - 5], mx.int32)
    right = kernel.cached_attention_plain(*given, position, SCALE)
    assert apart(attended(built, given, length - 5), right) < DTYPES[mx.float32]


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


def test_a_kernel_that_differs_or_depends_on_what_is_beside_a_row_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = kernel.cached_attention_plain

    def wrong(_: Backend, *given: Any) -> mx.array:
        return plain(*given) * 1.1

    def apart_alone(_: Backend, queries: mx.array, *others: Any) -> mx.array:
        factor = 1.0 if queries.shape[2] > 1 else 1.01
        return plain(queries, *others) * factor

    def right(_: Backend, queries: mx.array, *others: Any) -> mx.array:
        keys, values, position, scale = others
        rows = range(queries.shape[2])
        each = [plain(queries[:, :, t : t + 1], keys, values, position + t, scale) for t in rows]
        return mx.concatenate(each, axis=2)

    ways = (wrong, "is off by"), (apart_alone, "other bits beside others"), (right, "")
    monkeypatch.setattr(kernel, "backend_for", lambda _: Backend.CUDA)
    for way, word in ways:
        kernel._note.cache_clear()
        monkeypatch.setattr(kernel, "cached_attention", way)
        note = kernel.kernel_note(4, 2, 32, mx.float32)
        assert word in note
        assert bool(note) is bool(word)
        assert (kernel.runs_on(4, 2, 32, mx.float32) is Backend.PLAIN) is bool(word)
    kernel._note.cache_clear()


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("heads", "width"), [((24, 4), 256), ((32, 8), 128), ((9, 3), 64)])
def test_the_kernel_runs_on_this_gpu(heads: tuple[int, int], width: int, dtype: mx.Dtype) -> None:
    if mx.default_device() != mx.gpu:
        pytest.skip("MLX has no GPU here")
    assert kernel.kernel_note(*heads, width, dtype) == ""


@needs_compiler
def test_what_is_no_number_shows(built: Path) -> None:
    queries, keys, values = inputs((4, 2), 2, 130, 64, mx.float32)
    keys[:, :, 128] = mx.nan
    assert mx.isnan(attended(built, (queries, keys, values), 127)[:, :, 1]).all().item()
    assert not mx.isnan(attended(built, (queries, keys, values), 127)[:, :, 0]).any().item()
