"""Layers that hand over what they give: the same numbers, and begun while the pass is built."""

from __future__ import annotations

import mlx.core as mx
import pytest

from engine.model import early
from engine.model.arrays import weights_bytes
from engine.model.trunk import Trunk, body_of
from tests.fakes import families

PASSES = ((20, 20), (1, 1), (4, 2), (9, 9), (1, 0), (1, 1))
"""Rows of a pass, and how many of them are kept."""


@pytest.fixture(autouse=True)
def small_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early, "_LEAST_BYTES", 0)


def logits(trunk: Trunk) -> list[mx.array]:
    cache = trunk.make_cache()
    found = []
    for rows, kept in PASSES:
        found.append(trunk.forward(mx.arange(1, rows + 1, dtype=mx.uint32), cache).logits)
        cache.commit(kept if cache.can_roll_back else rows)
    return found


@pytest.mark.parametrize("name", families.CONFIGS)
def test_logits_are_the_same_bit_for_bit(name: str) -> None:
    model = families.build(families.config(name))
    before = logits(Trunk(model))
    early.use_early_starts(model)
    assert all(mx.array_equal(a, b) for a, b in zip(logits(Trunk(model)), before, strict=True))


@pytest.mark.parametrize(("rows", "is_early"), [(1, True), (9, True), (16, True), (17, False)])
def test_all_layers_but_the_last_begin_while_few_rows_are_built(
    rows: int, is_early: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = families.build(families.config("qwen3_5"))
    early.use_early_starts(model)
    trunk = Trunk(model)
    cache = trunk.make_cache()
    handed: list[tuple[int, ...]] = []
    monkeypatch.setattr(mx, "async_eval", lambda each: handed.append(each.shape))
    trunk.forward(mx.arange(rows, dtype=mx.uint32), cache)
    layers = len(body_of(model).layers)
    assert layers > 2
    assert [shape[1] for shape in handed] == [rows] * (layers - 1) * is_early


def test_a_layer_of_few_weights_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = families.build(families.config("qwen3_5"))
    layers = body_of(model).layers
    kinds = [type(layer) for layer in layers]
    monkeypatch.setattr(early, "_LEAST_BYTES", weights_bytes(layers[0]) + 1)
    assert weights_bytes(layers[0]) > 1000
    early.use_early_starts(model)
    assert type(layers[0]) is kinds[0]


def test_a_gpu_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = families.build(families.config("qwen3_5"))
    kinds = [type(layer) for layer in body_of(model).layers]
    monkeypatch.setattr(mx, "default_device", lambda: mx.gpu)
    early.use_early_starts(model)
    assert [type(layer) for layer in body_of(model).layers] == kinds
