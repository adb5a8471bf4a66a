"""What few rows take on a GPU, its kernels played by their definitions: the same numbers come out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx_lm.models.switch_layers import QuantizedSwitchLinear

from engine.model import attention, projections, residuals
from engine.model.arrays import reals
from engine.model.attention import use_window_attention, window_attention
from engine.model.rebinding import modules
from engine.model.trunk import Trunk
from kernels import quant_matvec, residual_norm, swiglu
from kernels.dispatch import Backend
from kernels.quant_choices import CHOICES, Choice, Product
from kernels.quant_matvec import Packed
from tests.fakes import families

TOKENS = mx.array([3, 1, 4, 1, 5], mx.uint32)


PARTED = Choice(2, 2, 2, 2, parts=3)
seen: Counter[str] = Counter()


def played(
    _: Backend,
    x: mx.array,
    packed: Packed,
    choice: Choice,
    picks: mx.array | None = None,
    *,
    is_gated: bool = False,
) -> mx.array:
    product = quant_matvec.quant_matvec_plain(x, packed, picks)
    if is_gated:
        seen["gated"] += 1
        return swiglu.swiglu_plain(product)
    if picks is not None or choice.parts == 1:
        return product
    seen["in parts"] += 1
    nothing = mx.zeros(product.shape)
    return mx.stack([nothing] * (choice.parts - 1) + [product.astype(mx.float32)])


def ran(work: Callable[[], mx.array]) -> float:
    """Stand in for timing it: what keeps a GPU busy for milliseconds takes a CPU minutes."""
    mx.eval(work())
    return 1.0


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    seen.clear()
    for module in (attention, projections, quant_matvec, residual_norm, residuals, swiglu):
        monkeypatch.setattr(module, "backend_for", lambda _: Backend.CUDA)
    for module in (residual_norm, swiglu):
        monkeypatch.setattr(module, "_note", lambda *_: "")
    monkeypatch.setattr(swiglu, "swiglu", lambda _, product: swiglu.swiglu_plain(product))
    plain = residual_norm.residual_norm_plain
    monkeypatch.setattr(residual_norm, "residual_norm", lambda _, *given: plain(*given))
    monkeypatch.setattr(quant_matvec, "_run", played)
    monkeypatch.setattr(quant_matvec, "seconds_behind_lead", ran)
    monkeypatch.setattr(projections, "_LEAST_BYTES", 0)
    quant_matvec._note.cache_clear()
    quant_matvec._kept.cache_clear()


def packed_model(name: str) -> nn.Module:
    model = families.build(families.config(name))
    model.set_dtype(mx.bfloat16)
    nn.quantize(
        model,
        32,
        4,
        class_predicate=lambda _, layer: (
            hasattr(layer, "to_quantized") and layer.weight.shape[-1] % 32 == 0
        ),
    )
    return model


def apart(one: mx.array, other: mx.array) -> float:
    return max(reals(mx.abs(one - other).reshape(-1)))


def logits(trunk: Trunk) -> mx.array:
    cache = trunk.make_cache()
    first = trunk.forward(TOKENS, cache).logits
    cache.commit(2)
    return mx.concatenate([first, trunk.forward(TOKENS[:1], cache).logits])


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("name", ["qwen3_5", "mimo"])
def test_joined_projections_give_the_same_logits_bit_for_bit(name: str, tmp_path: Path) -> None:
    model = packed_model(name)
    before = logits(Trunk(model))
    assert projections.use_few_row_matmuls(model, tmp_path, lambda *_: None) == ""
    ours = [layer for layer in modules(model) if isinstance(layer, projections._FewRows)]
    assert sum(layer._family is not None for layer in ours) >= 4
    assert mx.array_equal(logits(Trunk(model)), before)


@pytest.mark.usefixtures("gpu")
def test_sums_in_parts_and_gating_matmuls_give_the_same_logits_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(_: object, product: Product) -> Choice:
        return PARTED if product is Product.PARTS else CHOICES[0]

    monkeypatch.setattr(quant_matvec, "measured", measured)
    model = packed_model("qwen3_5")
    residuals.use_fused_mlps(model)
    residuals.use_fused_sums(model)
    before = logits(Trunk(model))
    assert not seen
    projections.use_few_row_matmuls(model, tmp_path, lambda *_: None)
    assert mx.array_equal(logits(Trunk(model)), before)
    assert seen["in parts"] > 0
    assert seen["gated"] > 0


@pytest.mark.usefixtures("gpu")
def test_without_one_that_adds_up_parts_none_are_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def measured(_: object, product: Product) -> Choice:
        asked.append(product)
        return CHOICES[0]

    monkeypatch.setattr(quant_matvec, "measured", measured)
    projections.use_few_row_matmuls(packed_model("qwen3_5"), tmp_path, lambda *_: None)
    assert set(asked) == {Product.WHOLE}


@pytest.mark.usefixtures("gpu")
def test_a_family_multiplies_once_and_lets_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate_proj = nn.Linear(64, 40, bias=False)
            self.up_proj = nn.Linear(64, 24, bias=False)

    pair = Pair()
    pair.set_dtype(mx.bfloat16)
    nn.quantize(pair, 32, 4)
    x, other = (
        mx.random.normal((1, 3, 64), key=mx.random.key(i)).astype(mx.bfloat16) for i in (1, 2)
    )
    right = [pair.gate_proj(x), pair.up_proj(x), pair.up_proj(other)]
    projections.use_few_row_matmuls(pair, tmp_path, lambda *_: None)
    calls = []

    def counted(x: mx.array, packed: Packed, choice: Choice = CHOICES[0]) -> mx.array:
        calls.append(packed.outputs)
        return quant_matvec.quant_matvec_plain(x, packed)

    monkeypatch.setattr(quant_matvec, "quant_matvec", counted)
    both = [pair.gate_proj(x), pair.up_proj(x)]
    assert calls == [64]
    assert pair.gate_proj._family._x is None
    assert all(mx.array_equal(a, b) for a, b in zip(both, right[:2], strict=True))
    pair.gate_proj(x)
    assert mx.array_equal(pair.up_proj(other), right[2])


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("is_sorted", [False, True])
def test_experts_take_their_rows_by_the_kernel(is_sorted: bool, tmp_path: Path) -> None:
    layer = QuantizedSwitchLinear(64, 24, 5, bias=True, group_size=32, bits=4)
    layer.set_dtype(mx.float32)
    shape = (6, 1, 64) if is_sorted else (1, 2, 1, 1, 64)
    x = mx.random.normal(shape, key=mx.random.key(3))
    picks = mx.array([0, 1, 1, 3, 4, 4], mx.uint32)
    picks = picks if is_sorted else picks.reshape(1, 2, 3)
    right = layer(x, picks, sorted_indices=is_sorted)
    holder = nn.Module()
    holder.layer = layer
    projections.use_few_row_matmuls(holder, tmp_path, lambda *_: None)
    assert type(holder.layer) is projections._Experts
    mine = holder.layer(x, picks, sorted_indices=is_sorted)
    assert mine.shape == right.shape
    assert apart(mine, right) < 1e-5


@pytest.mark.usefixtures("gpu")
def test_what_was_measured_is_remembered_and_a_broken_file_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def measured(packed: list[Packed], _: Product) -> Choice:
        asked.append(packed[0].weight.shape)
        return CHOICES[2]

    monkeypatch.setattr(quant_matvec, "measured", measured)

    def choices() -> set[Choice]:
        model = packed_model("mimo")
        projections.use_few_row_matmuls(model, tmp_path, lambda *_: None)
        return {x._choice for x in modules(model) if isinstance(x, projections._FewRows)}

    choices()
    (file,) = (tmp_path / "kernels").iterdir()
    known, first = json.loads(file.read_text("utf-8")), len(asked)
    assert first == len(known)
    assert set(map(tuple, known.values())) == {astuple(CHOICES[2])}
    choices()
    assert len(asked) == first
    file.write_text("{", "utf-8")
    choices()
    assert len(asked) == 2 * first


@pytest.mark.usefixtures("gpu")
def test_cuts_of_small_matrices_are_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = (x for x in modules(packed_model("mimo")) if isinstance(x, nn.QuantizedLinear))
    largest = max(layer.weight.nbytes for layer in layers)
    asked = []

    def measured(packed: list[Packed], _: Product) -> Choice:
        asked.append(packed[0].weight.nbytes)
        return CHOICES[2]

    monkeypatch.setattr(quant_matvec, "measured", measured)
    monkeypatch.setattr(projections, "_LEAST_BYTES", largest)
    model = packed_model("mimo")
    projections.use_few_row_matmuls(model, tmp_path, lambda *_: None)
    assert set(asked) == {largest}
    chosen = {x._choice for x in modules(model) if isinstance(x, projections._FewRows)}
    assert chosen == {CHOICES[0], CHOICES[2]}


def test_nothing_is_changed_without_a_gpu(tmp_path: Path) -> None:
    if mx.default_device() != mx.cpu:
        pytest.skip("there is a GPU")
    model = packed_model("mimo")
    kinds = [type(layer) for layer in modules(model)]
    assert projections.use_few_row_matmuls(model, tmp_path, lambda *_: None) == ""
    assert [type(layer) for layer in modules(model)] == kinds
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("rows", [1, 4, 9, 40])
@pytest.mark.parametrize("length", [50, 500])
@pytest.mark.parametrize("mask", ["causal", "bool", "added", "out of reach", None])
def test_window_attention_is_mlxs(rows: int, length: int, mask: str | None) -> None:
    keys = mx.random.split(mx.random.key(rows), 4)
    q = 3 * mx.random.normal((1, 6, rows, 32), key=keys[0])
    k, v = (mx.random.normal((1, 2, length, 32), key=key) for key in keys[1:3])
    given: Any = mask
    if mask == "bool":
        given = mx.random.uniform(shape=(rows, length), key=keys[3]) > 0.5
    elif mask == "added":
        given = mx.random.normal((rows, length), key=keys[3])
    elif mask == "out of reach":
        given = mx.where(mx.random.uniform(shape=(rows, length), key=keys[3]) > 0.5, 0.0, -mx.inf)
    right = mx.fast.scaled_dot_product_attention(q, k, v, scale=0.2, mask=given)
    assert apart(window_attention(q, k, v, 0.2, given), right) < 1e-5


def test_attention_of_high_scores_is_mlxs() -> None:
    q, k, v = (mx.random.normal((1, 2, 20, 32), key=mx.random.key(seed)) for seed in (1, 2, 3))
    right = mx.fast.scaled_dot_product_attention(200 * q, k, v, scale=0.2, mask=None)
    assert apart(window_attention(200 * q, k, v, 0.2, None), right) < 1e-4


@pytest.mark.parametrize("seen", [1, 300])
def test_what_is_out_of_reach_has_no_part_in_attention(seen: int) -> None:
    q, k, v = (mx.random.normal((1, 2, 20, 32), key=mx.random.key(seed)) for seed in (1, 2, 3))
    k, v = (mx.repeat(each, 25, axis=2) for each in (k, v))
    mask = mx.arange(500) < mx.full((20, 1), seen)
    found = window_attention(q, k, v, 0.2, mask)
    v[:, :, seen:] = 1e30
    assert mx.array_equal(window_attention(q, k, v, 0.2, mask), found)


@pytest.mark.parametrize("is_cpu", [True, False])
@pytest.mark.parametrize("name", families.CONFIGS)
def test_trunks_attend_alike_with_window_attention(
    name: str, is_cpu: bool, request: pytest.FixtureRequest
) -> None:
    if not is_cpu:
        request.getfixturevalue("gpu")
    model = families.build(families.config(name))
    before = logits(Trunk(model))
    use_window_attention(model)
    assert apart(logits(Trunk(model)), before) < 1e-3
