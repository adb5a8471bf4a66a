"""The small-batch quantised matmul: both inner tiles, compiled as C++, against plain MLX."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from kernels import dispatch
from kernels import quant_matvec as kernel
from kernels.dispatch import Backend
from kernels.parts import whole
from kernels.quant_choices import ANY_BLOCKS, CHOICES, Choice, Product
from kernels.quant_matvec import Packed
from kernels.quant_tiles import SHARED_PARTS, TENSOR_TILE, VECTOR_TILE
from kernels.swiglu import HEADER as GATING
from kernels.swiglu import swiglu_plain
from tests.fakes.emulation import emulate_blocks, needs_compiler

TILES = {
    Backend.CUDA: SHARED_PARTS + GATING + TENSOR_TILE,
    Backend.METAL: SHARED_PARTS + GATING + VECTOR_TILE,
}
SHAPES = {
    "one group": (1, 16, 64, 64, 4),
    "sizes that divide no tile": (3, 41, 192, 32, 4),
    "four rows": (4, 64, 512, 64, 4),
    "rows in two blocks": (9, 24, 256, 128, 4),
    "all rows": (16, 17, 128, 64, 4),
    "eight bits": (5, 33, 192, 64, 8),
    "eight bits, small groups": (2, 16, 96, 32, 8),
    "eight bits, large groups": (12, 40, 384, 128, 8),
}
"""Rows, outputs, inputs, group, bits."""
CHOICE = Choice(2, 2, 3, 2, blocks=2)


def packed(shape: tuple[int, int, int, int, int], dtype: mx.Dtype, experts: int = 0) -> Packed:
    """Return random packed weights, made of their parts so that all packed numbers occur."""
    _, outputs, inputs, group, bits = shape
    stack = (experts,) if experts else ()
    rng = np.random.default_rng(outputs * inputs)
    words = rng.integers(0, 2**32, (*stack, outputs, inputs * bits // 32), np.uint32)
    scales = rng.normal(0, 0.02, (*stack, outputs, inputs // group)).astype(np.float32)
    biases = rng.normal(0, 0.2, scales.shape).astype(np.float32)
    return Packed(
        mx.array(words), mx.array(scales).astype(dtype), mx.array(biases).astype(dtype), group, bits
    )


def rows_of(shape: tuple[int, int, int, int, int], dtype: mx.Dtype) -> mx.array:
    rng = np.random.default_rng(1)
    return mx.array(rng.normal(0, 1, (shape[0], shape[2])).astype(np.float32)).astype(dtype)


def emulated(  # noqa: PLR0913 - as the kernel
    folder: Path,
    where: Backend,
    x: mx.array,
    weights: Packed,
    choice: Choice = CHOICE,
    picks: mx.array | None = None,
    *,
    is_gated: bool = False,
) -> mx.array:
    rows = x.size // x.shape[-1]
    given = x.shape[:-1] if picks is None else picks.shape
    split = () if choice.parts == 1 else (choice.parts,)
    warps, stages = kernel._cut(where, weights, choice, is_gated=is_gated)
    (y,) = emulate_blocks(
        folder,
        (TILES[where], kernel.BODY),
        {
            "x": x,
            "weight": weights.weight,
            "scales": weights.scales,
            "biases": weights.biases,
            "picks": mx.zeros((1,), mx.uint32) if picks is None else picks,
        },
        {
            "y": (
                (*split, *given, weights.outputs // (1 + is_gated)),
                mx.float32 if split else x.dtype,
            )
        },
        {
            "Bits": weights.bits,
            "Group": weights.group,
            "Blocks": 1 if picks is not None or rows <= 8 else 2,
            "Warps": warps,
            "Depth": choice.depth,
            "Stages": stages,
            "Tall": choice.tall,
            "Parts": choice.parts,
            "Whole": int(weights.scales.shape[-1] % choice.depth == 0),
            "Picked": int(picks is not None),
            "Gated": int(is_gated),
        },
        (choice.blocks, warps, choice.parts if picks is None else len(picks)),
    )
    return y


def in_float64(x: mx.array, weights: Packed) -> np.ndarray:
    """Return the product of the numbers as they are written down."""
    words = np.array(weights.weight)
    shifts = np.arange(0, 32, weights.bits, dtype=np.uint32)
    numbers = (words[..., None] >> shifts) & (2**weights.bits - 1)
    numbers = numbers.reshape(*words.shape[:-1], -1).astype(np.float64)
    scales, biases = (
        np.repeat(np.array(part.astype(mx.float32), np.float64), weights.group, axis=-1)
        for part in (weights.scales, weights.biases)
    )
    return np.array(x.astype(mx.float32), np.float64) @ (numbers * scales + biases).T


def apart(y: mx.array, right: np.ndarray) -> float:
    """Return the largest difference against the largest entry."""
    mine = np.array(y.astype(mx.float32), np.float64)
    return float(np.abs(mine - right).max() / np.abs(right).max())


ROUNDING = {mx.bfloat16: 2**-8, mx.float16: 2**-11}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("emulation")


@needs_compiler
@pytest.mark.parametrize("where", TILES)
@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("name", SHAPES)
def test_the_body_gives_the_product_but_for_one_rounding(
    built: Path, where: Backend, dtype: mx.Dtype, name: str
) -> None:
    x, weights = rows_of(SHAPES[name], dtype), packed(SHAPES[name], dtype)
    mine = emulated(built, where, x, weights)
    assert apart(mine, in_float64(x, weights)) < ROUNDING[dtype]


@pytest.mark.parametrize("name", SHAPES)
def test_the_definition_is_the_product(name: str) -> None:
    x, weights = rows_of(SHAPES[name], mx.float32), packed(SHAPES[name], mx.float32)
    plain = kernel.quant_matvec_plain(x, weights)
    assert apart(plain, in_float64(x, weights)) < 1e-5


@needs_compiler
@pytest.mark.parametrize("where", TILES)
def test_a_row_has_the_same_bits_whatever_is_beside_it(built: Path, where: Backend) -> None:
    shape = (16, 41, 192, 32, 4)
    x, weights = rows_of(shape, mx.bfloat16), packed(shape, mx.bfloat16)
    all_rows = emulated(built, where, x, weights)
    for rows in (1, 4, 8, 9):
        part = emulated(
            built, where, x[None, :rows], weights
        )  # in a batch of one, as layers see it
        assert mx.array_equal(part.view(mx.uint16), all_rows[None, :rows].view(mx.uint16))


@needs_compiler
@pytest.mark.parametrize("where", TILES)
@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_gives_the_product(built: Path, where: Backend, choice: Choice) -> None:
    shape = (2, 41, 320, 64, 4)
    x, weights = rows_of(shape, mx.bfloat16), packed(shape, mx.bfloat16)
    mine = emulated(built, where, x, weights, replace(choice, blocks=3))
    product = whole(mine, mx.zeros((2, 41), mx.bfloat16))
    assert apart(product, in_float64(x, weights)) < ROUNDING[mx.bfloat16]


PARTED = replace(CHOICE, parts=3)


@needs_compiler
@pytest.mark.parametrize("where", TILES)
@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("name", SHAPES)
def test_parts_add_up_to_the_product(
    built: Path, where: Backend, dtype: mx.Dtype, name: str
) -> None:
    x, weights = rows_of(SHAPES[name], dtype), packed(SHAPES[name], dtype)
    parts = emulated(built, where, x, weights, PARTED)
    product = whole(parts, mx.zeros(parts.shape[1:], dtype))
    assert (parts.shape[0], parts.dtype, product.dtype) == (3, mx.float32, dtype)
    assert apart(product, in_float64(x, weights)) < ROUNDING[dtype]


@needs_compiler
@pytest.mark.parametrize("where", TILES)
def test_a_rows_parts_have_the_same_bits_whatever_is_beside_it(built: Path, where: Backend) -> None:
    shape = (9, 41, 192, 32, 4)
    x, weights = rows_of(shape, mx.bfloat16), packed(shape, mx.bfloat16)
    all_rows = emulated(built, where, x, weights, PARTED)
    for rows in (1, 4):
        assert mx.array_equal(emulated(built, where, x[:rows], weights, PARTED), all_rows[:, :rows])


def test_a_product_that_is_whole_stays_what_it_is() -> None:
    product = mx.ones((2, 3), mx.bfloat16)
    assert whole(product, product) is product


@needs_compiler
@pytest.mark.parametrize("where", TILES)
@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if shape[1] % 2 == 0])
def test_a_gated_product_is_the_gating_of_the_product(
    built: Path, where: Backend, dtype: mx.Dtype, name: str
) -> None:
    x, weights = rows_of(SHAPES[name], dtype), packed(SHAPES[name], dtype)
    gated = emulated(built, where, x, weights, is_gated=True)
    product = emulated(built, where, x, weights)
    assert apart(gated, np.array(swiglu_plain(product).astype(mx.float32))) < ROUNDING[dtype]


@needs_compiler
@pytest.mark.parametrize("where", TILES)
@pytest.mark.parametrize("choice", [each for each in CHOICES if each.gives(Product.GATED)])
def test_every_choice_that_gates_does_so_whatever_is_beside_a_row(
    built: Path, where: Backend, choice: Choice
) -> None:
    shape = (4, 82, 320, 64, 4)
    x, weights = rows_of(shape, mx.bfloat16), packed(shape, mx.bfloat16)
    few = replace(choice, blocks=2)
    gated = emulated(built, where, x, weights, few, is_gated=True)
    product = emulated(built, where, x, weights, few)
    right = np.array(swiglu_plain(product).astype(mx.float32))
    assert apart(gated, right) < ROUNDING[mx.bfloat16]
    one = emulated(built, where, x[:1], weights, few, is_gated=True)
    assert mx.array_equal(one.view(mx.uint16), gated[:1].view(mx.uint16))


@needs_compiler
@pytest.mark.parametrize("where", TILES)
def test_zeros_give_zeros_and_extremes_stay_exact(built: Path, where: Backend) -> None:
    shape = (4, 24, 128, 64, 8)
    weights = packed(shape, mx.bfloat16)
    nothing = emulated(built, where, mx.zeros((4, 128), mx.bfloat16), weights)
    assert mx.array_equal(nothing, mx.zeros(nothing.shape, mx.bfloat16))
    full = Packed(
        mx.full(weights.weight.shape, 0xFFFFFFFF, mx.uint32),
        mx.ones(weights.scales.shape, mx.bfloat16),
        mx.full(weights.biases.shape, -254, mx.bfloat16),
        64,
        8,
    )
    one = emulated(built, where, mx.full((4, 128), 2.0**100, mx.bfloat16), full)
    assert mx.array_equal(one, mx.full(one.shape, 2.0**107, mx.bfloat16))


@needs_compiler
@pytest.mark.parametrize("where", TILES)
@pytest.mark.parametrize("share", [1, 3])
def test_each_slot_has_its_own_expert(built: Path, where: Backend, share: int) -> None:
    shape = (2, 20, 128, 32, 4)
    x, weights = rows_of(shape, mx.bfloat16), packed(shape, mx.bfloat16, experts=5)
    picks = mx.array([4, 0, 4, 2, 3, 1][: 2 * share], mx.uint32)
    mine = emulated(built, where, x, weights, picks=picks)
    plain = kernel.quant_matvec_plain(x, weights, picks)
    for slot, pick in enumerate(np.array(picks)):
        one = Packed(weights.weight[pick], weights.scales[pick], weights.biases[pick], 32, 4)
        right = in_float64(x[slot // share][None], one)
        assert apart(mine[slot : slot + 1], right) < ROUNDING[mx.bfloat16]
        assert apart(plain[slot : slot + 1], right) < 8 * ROUNDING[mx.bfloat16]


@needs_compiler
@pytest.mark.parametrize("where", TILES)
def test_rows_that_lie_off_a_vector_are_multiplied_too(built: Path, where: Backend) -> None:
    shape = (3, 24, 96, 32, 4)
    weights = packed(shape, mx.bfloat16)
    shifted = mx.concatenate([mx.zeros((1,), mx.bfloat16), rows_of(shape, mx.bfloat16).reshape(-1)])
    body = (
        "const int own_shape[] = {3, 96}, own_ndim = 2;\nconst auto* all = x;\n{ const auto* x = all + 1;\n"
        + kernel.BODY
        + "}\n"
    )
    inputs = {
        "x": shifted,
        "weight": weights.weight,
        "scales": weights.scales,
        "biases": weights.biases,
        "picks": mx.zeros((1,), mx.uint32),
    }
    constants = {
        "Bits": 4,
        "Group": 32,
        "Blocks": 1,
        "Warps": 2,
        "Depth": 2,
        "Stages": 2,
        "Tall": 1,
        "Parts": 1,
        "Whole": 0,
        "Picked": 0,
        "Gated": 0,
    }
    (y,) = emulate_blocks(
        built,
        (TILES[where], body.replace("x_shape", "own_shape").replace("x_ndim", "own_ndim")),
        inputs,
        {"y": ((3, 24), mx.bfloat16)},
        constants,
        (2, 2, 1),
    )
    right = in_float64(rows_of(shape, mx.bfloat16), weights)
    assert apart(y, right) < ROUNDING[mx.bfloat16]


def test_what_the_kernel_has_not_is_left_to_the_definition() -> None:
    x = mx.zeros((17, 64), mx.bfloat16)
    weights = packed((1, 8, 64, 64, 4), mx.bfloat16)
    assert kernel.is_supported(x[:16], weights, None)
    assert not kernel.is_supported(x, weights, None)
    assert not kernel.is_supported(x[:1].astype(mx.float32), weights, None)
    assert not kernel.is_supported(x[:1], packed((1, 8, 64, 64, 4), mx.float16), None)


def test_a_switch_turns_kernels_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "backend", lambda: Backend.CUDA)
    assert dispatch.backend_for("quant_matvec") is Backend.CUDA
    for value, is_off in (
        ("off", True),
        ("gated_delta", False),
        ("gated_delta, quant_matvec", True),
    ):
        monkeypatch.setenv("MTPLX_TUI_KERNELS", value)
        assert (dispatch.backend_for("quant_matvec") is Backend.PLAIN) is is_off
    assert dispatch.backend_for("cached_attention") is Backend.CUDA
    assert dispatch.backend_for("compiled_steps") is Backend.CUDA


def test_a_choice_that_differs_or_cannot_run_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (4, 24, 128, 64, 4)
    weights = packed(shape, mx.bfloat16)
    usual, wrong, broken, slower, faster, *others, parted = CHOICES

    def run(
        _: Backend, x: mx.array, weights: Packed, choice: Choice, picks: None, *, is_gated: bool
    ) -> mx.array:
        if choice == broken:
            raise RuntimeError("too many resources requested for launch")
        product = kernel.quant_matvec_plain(x, weights) * (1.5 if choice == wrong else 1)
        if choice.parts > 1:
            return mx.stack([product.astype(mx.float32) / choice.parts] * choice.parts)
        return swiglu_plain(product) if is_gated else product

    seconds = {usual: 3.0, wrong: 0.1, broken: 0.1, slower: 2.0, faster: 1.0, parted: 0.5}
    seconds |= dict.fromkeys(others, 4.0)
    monkeypatch.setattr(kernel, "_where", lambda _: Backend.CUDA)
    monkeypatch.setattr(kernel, "_run", run)
    monkeypatch.setattr(kernel, "_seconds", lambda *given: seconds[given[3]])
    assert kernel.measured([weights]) == faster
    assert kernel.measured([weights], Product.PARTS) == parted
    assert kernel.measured([weights], Product.GATED) == slower  # `faster` has one tile of outputs


def test_only_what_differs_on_a_backend_is_tried() -> None:
    for product in Product:
        tried = list(kernel._choices_for(Backend.METAL, product))
        cuts = [(c.warps, c.depth, c.stages, c.tall, c.parts) for c in tried]
        assert len(cuts) == len(set(cuts))
        assert all(choice.gives(product) for choice in tried)
        # What is remembered must be found again, and blocks are counted for one GPU of CUDA's.
        assert all(choice in CHOICES and choice.blocks == ANY_BLOCKS for choice in tried)


def test_a_kernel_that_differs_or_does_not_compile_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatch, "backend", lambda: Backend.CUDA)
    right = kernel.quant_matvec_plain
    weights = packed((2, 16, 64, 64, 4), mx.bfloat16)
    x = rows_of((2, 16, 64, 64, 4), mx.bfloat16)

    def wrong(
        _: Backend, x: mx.array, packed: Packed, __: Choice, picks: Any = None, **___: Any
    ) -> mx.array:
        return right(x, packed, picks) * 1.1

    def true(
        _: Backend, x: mx.array, packed: Packed, __: Choice, picks: Any = None, **asked: Any
    ) -> mx.array:
        product = right(x, packed, picks)
        return swiglu_plain(product) if asked.get("is_gated") else product

    def broken(*_: Any, **__: Any) -> mx.array:
        raise RuntimeError("no such instruction")

    for run, word in ((wrong, "is off by"), (broken, "no such instruction")):
        kernel._note.cache_clear()
        kernel._kept.cache_clear()
        monkeypatch.setattr(kernel, "_run", run)
        assert word in kernel.kernel_note(weights)
        assert mx.array_equal(kernel.quant_matvec(x, weights), right(x, weights))
    kernel._note.cache_clear()
    monkeypatch.setattr(kernel, "_run", true)
    assert kernel.kernel_note(weights) == ""
    kernel._note.cache_clear()


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("name", SHAPES)
def test_the_kernel_runs_on_this_gpu(dtype: mx.Dtype, name: str) -> None:
    if mx.default_device() != mx.gpu:
        pytest.skip("MLX has no GPU here")
    x, weights = rows_of(SHAPES[name], dtype), packed(SHAPES[name], dtype)
    assert kernel.kernel_note(weights) == ""
    for choice in CHOICES:
        mine = kernel.quant_matvec(x, weights, choice)
        product = whole(mine, mx.zeros(mine.shape[-2:], dtype))
        assert apart(product, in_float64(x, weights)) < ROUNDING[dtype]
        if choice.gives(Product.GATED) and weights.outputs % 2 == 0:
            gated = kernel.gated_matvec(x, weights, choice)
            right = np.array(swiglu_plain(product).astype(mx.float32))
            assert apart(gated, right) < ROUNDING[dtype]
