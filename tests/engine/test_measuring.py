"""What the speed of this machine is measured with."""

from __future__ import annotations

import mlx.core as mx
import pytest

from engine import measuring

SHAPE = (256, 128)
PER_WEIGHT = {"plain": 4, "8-bit": 1 + 8 / 64, "4-bit": 0.5 + 8 / 64}
"""Bytes, scales and biases of a group counted in; as float32, which a CPU computes with."""


def test_weights_of_each_kind_outgrow_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    if mx.default_device() != mx.cpu:
        pytest.skip("there is a GPU")
    monkeypatch.setattr(measuring, "_BYTES", 1_000_000)
    found = {}
    for kind, run, count in measuring._products(SHAPE):
        run(1)
        run(4)
        found[kind] = count * SHAPE[0] * SHAPE[1] * PER_WEIGHT[kind]
    assert found.keys() == PER_WEIGHT.keys()
    assert all(1_000_000 <= size < 1_200_000 for size in found.values())
