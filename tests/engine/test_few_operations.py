"""Norms, rotations, gates and attention of few rows on a CPU: MLX's numbers, in fewer operations."""

from __future__ import annotations

import io
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.models import llama
from mlx_lm.models.activations import swiglu
from mlx_lm.models.rope_utils import Llama3RoPE, YarnRoPE

from engine.model import few_operations
from engine.model.arrays import reals
from engine.model.attention import use_window_attention
from engine.model.few_operations import use_fewer_operations
from engine.model.rebinding import modules
from engine.model.trunk import Trunk
from tests.fakes import families, tiny

pytestmark = pytest.mark.skipif(mx.default_device() != mx.cpu, reason="there is a GPU")

LLAMA3 = {"factor": 8.0, "original_max_position_embeddings": 64}
ROPES: dict[str, Any] = {
    "halves": lambda: nn.RoPE(32),
    "pairs": lambda: nn.RoPE(32, traditional=True),
    "a part of the width": lambda: nn.RoPE(16, base=500.0, scale=0.5),
    "llama 3": lambda: Llama3RoPE(32, scaling_config=LLAMA3),
    "yarn": lambda: YarnRoPE(32, scaling_factor=4.0, original_max_position_embeddings=64),
}


def apart(one: mx.array, other: mx.array) -> float:
    return max(reals(mx.abs(one - other).reshape(-1)))


def random(*shape: int, seed: int = 0) -> mx.array:
    return mx.random.normal(shape, key=mx.random.key(seed))


def ours(layer: nn.Module) -> nn.Module:
    use_fewer_operations(layer)
    return layer


@pytest.mark.parametrize("width", [16, 576])
def test_a_norm_is_mlxs(width: int) -> None:
    norm = nn.RMSNorm(width, eps=1e-3)
    norm.weight = random(width, seed=1)
    x = random(1, 5, width) * mx.array([0.0, 1e-4, 1, 30, 1e4])[:, None]
    right = norm(x)
    found = ours(norm)(x)
    assert apart(found / (1 + mx.abs(right)), right / (1 + mx.abs(right))) < 1e-5
    assert mx.array_equal(found[:, 2:3], norm(x[:, 2:3]))
    assert mx.array_equal(found[0, 4], norm(x[0, 4]))
    assert norm(x.astype(mx.bfloat16)).dtype == mx.float32
    halves = norm(x.astype(mx.float16))
    assert mx.array_equal(halves, mx.fast.rms_norm(x.astype(mx.float16), norm.weight, 1e-3))


def test_two_norms_of_one_model_keep_their_own_eps() -> None:
    x = random(1, 1, 8) * 1e-3
    for eps in (1e-6, 1e-2):
        norm = nn.RMSNorm(8, eps=eps)
        right = norm(x)
        assert apart(ours(norm)(x), right) < 1e-5


@pytest.mark.parametrize("rows", [1, 2, 8, 9, 16])
@pytest.mark.parametrize("name", ROPES)
def test_a_rotation_is_mlxs(name: str, rows: int) -> None:
    rope = ROPES[name]()
    x = random(1, rows, 3, 32).swapaxes(1, 2)
    offsets = (0, 1, 7, 8, 23, 1000)
    right = [rope(x, offset=offset) for offset in offsets]
    use_fewer_operations(rope)
    for offset, wanted in zip(offsets, right, strict=True):
        found = rope(x, offset=offset)
        assert found.shape == wanted.shape
        assert apart(found, wanted) < 1e-4
        alone = [rope(x[:, :, row : row + 1], offset=offset + row) for row in range(rows)]
        assert mx.array_equal(found, mx.concatenate(alone, axis=2))


def test_what_is_no_window_of_one_text_is_left_to_mlx(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> mx.array:
        raise AssertionError("no matrices are wanted")

    monkeypatch.setattr(few_operations._Turns, "_made", refuse)
    rope, wide = ours(nn.RoPE(32)), ours(nn.RoPE(256))
    for x in (random(2, 3, 4, 32), random(1, 3, 17, 32), random(1, 3, 4, 32).astype(mx.float16)):
        right = mx.fast.rope(x, 32, traditional=False, base=10_000, scale=1.0, offset=5)
        assert mx.array_equal(rope(x, offset=5), right)
    x = random(1, 3, 4, 32)
    right = mx.fast.rope(x, 32, traditional=False, base=10_000, scale=1.0, offset=5)
    assert mx.array_equal(rope(x, offset=mx.array(5)), right)
    assert wide(random(1, 2, 1, 256), offset=3).shape == (1, 2, 1, 256)


def test_equal_ropes_share_their_matrices_and_others_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[int] = []
    own = few_operations._Turns._made

    def counted(self: few_operations._Turns, index: int, width: int) -> mx.array:
        made.append(index)
        return own(self, index, width)

    monkeypatch.setattr(few_operations._Turns, "_made", counted)
    model = nn.Module()
    model.layers = [nn.RoPE(32), nn.RoPE(32), nn.RoPE(32, base=500.0)]
    use_fewer_operations(model)
    x = random(1, 2, 2, 32)
    first, second, third = (layer(x, offset=6) for layer in model.layers)
    assert made == [0, 0]
    assert mx.array_equal(first, second)
    assert apart(first, third) > 0.1
    model.layers[1](x, offset=7)
    assert made == [0, 0, 1]


def test_a_gate_is_mlxs() -> None:
    gate = mx.array([-1e4, -200, -88, -30, -3, -1e-6, 0, 1e-6, 3, 30, 88, 1e4])
    x = random(12) * 3
    found, right = few_operations._gated(gate, x), swiglu(gate, x)
    assert mx.all(mx.isfinite(found))
    assert apart(found / (1 + mx.abs(right)), right / (1 + mx.abs(right))) < 1e-6
    for dtype in (mx.float16, mx.bfloat16):
        narrow = gate.astype(dtype), x.astype(dtype)
        assert mx.array_equal(few_operations._gated(*narrow), swiglu(*narrow))


def test_a_layer_gates_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(few_operations, "_gated", lambda gate, x: 0 * gate * x)
    layer = llama.MLP(tiny.arguments())
    assert apart(layer(random(1, 2, 32)), mx.zeros(())) > 0
    use_fewer_operations(layer)
    assert apart(layer(random(1, 2, 32)), mx.zeros(())) == 0


def test_a_gate_of_a_models_own_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = llama.MLP(tiny.arguments())
    monkeypatch.setattr(llama, "swiglu", lambda gate, x: gate + x)
    use_fewer_operations(layer)
    assert type(layer) is llama.MLP


@pytest.mark.parametrize(("farthest", "error"), [(1, 2e-6), (10, 3e-6), (20, 2e-3)])
def test_the_exponential_is_as_near_as_it_says(farthest: float, error: float) -> None:
    x = mx.linspace(-farthest, farthest, 10_001)
    found = np.array(few_operations.exponential(x), np.float64)
    assert np.abs(found / np.exp(np.array(x, np.float64)) - 1).max() < error


@pytest.mark.parametrize("name", families.CONFIGS)
def test_every_familys_trunk_gives_the_same_logits(name: str) -> None:
    def logits() -> mx.array:
        trunk = Trunk(model)
        cache = trunk.make_cache()
        rows = [trunk.forward(mx.arange(1, 21), cache).logits]
        cache.commit(20)
        for count in (1, 4):
            rows.append(trunk.forward(mx.arange(3, 3 + count), cache).logits)
            cache.commit(count)
        return mx.concatenate(rows)

    model = families.build(families.config(name))
    before, kinds = logits(), [type(layer) for layer in modules(model)]
    use_fewer_operations(model)
    assert [type(layer) for layer in modules(model)] != kinds
    assert apart(logits(), before) < 1e-3


@pytest.mark.parametrize("rows", [1, 4])
def test_a_pass_takes_fewer_operations(rows: int) -> None:
    def operations() -> int:
        cache = trunk.make_cache()
        mx.eval(trunk.forward(mx.arange(4), cache).logits)
        cache.commit(4)
        graph = io.StringIO()
        mx.export_to_dot(graph, trunk.forward(mx.arange(rows), cache).logits)
        return graph.getvalue().count("shape=rectangle")

    trunk, _ = tiny.trunk_and_head()
    before = operations()
    use_fewer_operations(trunk.model)
    assert operations() < 0.62 * before
    # Attention has three more a layer than MLX's own, which together take less time.
    use_window_attention(trunk.model)
    assert operations() < 0.68 * before
