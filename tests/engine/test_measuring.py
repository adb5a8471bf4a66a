"""What the speed of this machine is measured with."""

from __future__ import annotations

import statistics
from pathlib import Path

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


def test_a_layer_takes_its_share_of_a_step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    steps = [0.03, 0.01, 0.02]

    def seconds(run: object, passes: int) -> tuple[float, float]:
        assert callable(run)
        run()
        assert passes == measuring._STEPS
        return statistics.median(steps), min(steps)

    monkeypatch.setattr(measuring, "_seconds", seconds)
    assert measuring._layer(tmp_path) == [0.02 / measuring._LAYERS, 0.01 / measuring._LAYERS]


@pytest.mark.parametrize(("limit", "passes"), [(60.0, 5), (0.0, 2)])
def test_passes_end_in_time_but_two_always_run(
    monkeypatch: pytest.MonkeyPatch, limit: float, passes: int
) -> None:
    monkeypatch.setattr(measuring, "_LIMIT_S", limit)
    ran: list[None] = []
    median, least = measuring._seconds(lambda: ran.append(None), 5)
    assert len(ran) == 1 + passes, "the first is not counted"
    assert 0 <= least <= median
