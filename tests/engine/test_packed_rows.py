"""Packed weights on a CPU: the kernel against float64, and layers of a model that it stands under."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from engine.protocol import MAX_DEPTH
from tests.fakes.few_rows import FLOATS, VECTORS, Kernel, loaded, made, needs_compiler

pytestmark = needs_compiler
KINDS = [(bits, group) for bits in (4, 8) for group in (32, 64, 128)]
POINTER = ctypes.POINTER(ctypes.c_uint32)


@dataclass
class Weights:
    """Random packed weights, in tiles as the kernel has them and as numbers."""

    words: np.ndarray
    scales: np.ndarray
    biases: np.ndarray
    numbers: np.ndarray
    """float64 [columns, inputs]"""
    group: int
    bits: int


@pytest.fixture(scope="module", params=VECTORS)
def kernel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    found = loaded(request.param, tmp_path_factory.mktemp("cache"))
    found.multiply = library
    hold = found.functions.packed_rows_hold
    hold.argtypes = [POINTER, FLOATS, FLOATS, *(ctypes.c_int,) * 4]
    found.functions.packed_rows_release.argtypes = [POINTER]
    found.functions.packed_rows_release.restype = None
    return found


def library(*arguments: Any) -> None:
    """Multiply as the library does, by a plain matrix that is not transposed."""
    _, _, _, m, n, k, _, a, lda, b, ldb, _, c, ldc = arguments
    rows, weights, out = (
        np.ctypeslib.as_array(at, (count, stride))
        for at, count, stride in ((a, m, lda), (b, k, ldb), (c, m, ldc))
    )
    out[:, :n] = rows[:, :k] @ weights[:, :n]


def tiled(part: np.ndarray, lanes: int) -> np.ndarray:
    columns, width = part.shape
    return np.ascontiguousarray(part.reshape(-1, lanes, width).swapaxes(1, 2)).reshape(
        columns, width
    )


def packed(kernel: Kernel, columns: int, inputs: int, bits: int, group: int) -> Weights:
    rng = np.random.default_rng((columns, inputs, bits, group))
    each, lanes = 32 // bits, kernel.functions.packed_rows_lanes()
    words = rng.integers(0, 2**32, (columns, inputs // each), np.uint32)
    scales, biases = (
        rng.standard_normal((columns, inputs // group)).astype(np.float32) for _ in range(2)
    )
    shifts = np.arange(each, dtype=np.uint32) * np.uint32(bits)
    whole = (words[:, :, None] >> shifts & np.uint32(2**bits - 1)).reshape(columns, inputs)
    numbers = whole * np.repeat(scales.astype(np.float64), group, 1) + np.repeat(biases, group, 1)
    parts = (tiled(part, lanes) for part in (words, scales, biases))
    return Weights(*parts, numbers, group, bits)


def hold(kernel: Kernel, weights: Weights) -> int:
    parts = (
        weights.words.ctypes.data_as(POINTER),
        weights.scales.ctypes.data_as(FLOATS),
        weights.biases.ctypes.data_as(FLOATS),
    )
    return kernel.functions.packed_rows_hold(
        *parts, *weights.numbers.shape, weights.group, weights.bits
    )


def release(kernel: Kernel, weights: Weights) -> None:
    kernel.functions.packed_rows_release(weights.words.ctypes.data_as(POINTER))


def product(kernel: Kernel, rows: np.ndarray, weights: Weights, spare: int = 0) -> np.ndarray:
    """Return float32 [rows, columns + spare]: rows times weights, and columns that stay 7."""
    columns, inputs = weights.numbers.shape
    out = np.full((len(rows), columns + spare), 7, np.float32)
    kernel.call(rows, weights.words.view(np.float32), out, n=columns, k=inputs, ldb=inputs)
    return out


@pytest.mark.parametrize(("columns", "inputs"), [(16, 128), (80, 640), (1104, 384)])
@pytest.mark.parametrize(("bits", "group"), KINDS)
def test_products_are_those_of_float64(
    kernel: Kernel, bits: int, group: int, columns: int, inputs: int
) -> None:
    weights = packed(kernel, columns, inputs, bits, group)
    assert hold(kernel, weights)
    for count in (*range(1, MAX_DEPTH + 2), 10, 40, 48, 70):
        rows = made(count, inputs + 16)[:, :inputs]
        wanted = rows.astype(np.float64) @ weights.numbers.T
        most = np.abs(rows).astype(np.float64) @ np.abs(weights.numbers).T
        # Of a group, whole numbers are multiplied before scale and bias may cancel.
        most += 2**bits * np.abs(rows).sum(1, keepdims=True) * np.abs(weights.scales).max()
        out = product(kernel, rows, weights, spare=2)
        assert (np.abs(out[:, :columns] - wanted) <= most * inputs * 2.0**-24).all(), count
        assert (out[:, columns:] == 7).all()
    assert kernel.left
    assert all(asked[3] >= 48 for asked in kernel.left)
    kernel.left.clear()
    release(kernel, weights)


@pytest.mark.parametrize(("bits", "group"), KINDS)
def test_rows_of_a_window_have_the_bits_of_single_rows(
    kernel: Kernel, bits: int, group: int
) -> None:
    weights, rows = packed(kernel, 1104, 384, bits, group), made(9, 384)
    assert hold(kernel, weights)
    alone = np.concatenate([product(kernel, row[None], weights) for row in rows])
    for count in range(2, 10):
        assert (product(kernel, rows[:count], weights) == alone[:count]).all()
    release(kernel, weights)


def test_callers_at_once_all_get_their_own(kernel: Kernel) -> None:
    weights = [packed(kernel, 1104, 384, 4, group) for group in (32, 64)]
    assert all(hold(kernel, each) for each in weights)
    asked = [(made(1 + number % 9, 384) + number, weights[number % 2]) for number in range(24)]
    wanted = [product(kernel, *each) for each in asked]

    def same(number: int) -> bool:
        return all((product(kernel, *asked[number]) == wanted[number]).all() for _ in range(60))

    with ThreadPoolExecutor(6) as callers:
        assert all(callers.map(same, range(24)))
    for each in weights:
        release(kernel, each)


@pytest.mark.parametrize(
    ("columns", "inputs", "bits", "group"),
    [(20, 128, 4, 32), (32, 128, 3, 32), (32, 128, 4, 16), (32, 160, 4, 64), (32, 1 << 18, 4, 128)],
)
def test_what_it_has_not_is_not_held(
    kernel: Kernel, columns: int, inputs: int, bits: int, group: int
) -> None:
    nothing = np.zeros(4, np.float32)
    shape = np.broadcast_to(nothing[:1], (columns, inputs))
    weights = Weights(nothing.view(np.uint32), nothing, nothing, shape, group, bits)
    assert not hold(kernel, weights)


def test_what_is_let_go_of_is_held_until_others_are(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, rows = packed(kernel, 48, 128, 4, 32), made(2, 128)
    assert hold(kernel, weights)
    assert not hold(kernel, weights)
    first = product(kernel, rows, weights)
    others = [packed(kernel, 48, 128, 4, group) for group in (64, 128)]
    assert hold(kernel, others[0])
    release(kernel, weights)
    release(kernel, weights)
    assert (product(kernel, rows, weights) == first).all()
    assert hold(kernel, others[1])
    monkeypatch.setattr(kernel, "multiply", None)
    assert (product(kernel, made(10, 128), weights) == 7).all()
    assert len(kernel.left) == 1
    kernel.left.clear()
    for each in others:
        release(kernel, each)


def test_other_numbers_in_the_place_of_held_ones_are_plain(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = packed(kernel, 48, 128, 4, 32)
    assert hold(kernel, weights)
    weights.words[:] = 3
    monkeypatch.setattr(kernel, "multiply", None)
    assert (product(kernel, made(10, 128), weights) == 7).all()
    assert len(kernel.left) == 1
    kernel.left.clear()
    release(kernel, weights)


LAYERS = """
import gc, json, sys
from pathlib import Path
from engine.blas import prepare
blas = prepare("auto", Path(sys.argv[1]))
import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models import llama
from engine.model import packed_rows
from engine.model.draft_head import trimmed_head
from engine.model.heads.pair import PairHead
from engine.model.trunk import Trunk
mx.set_default_device(mx.cpu)

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = [
            nn.QuantizedLinear(256, 96, True, 64, 4), nn.QuantizedLinear(256, 64, False, 32, 8),
            nn.QuantizedEmbedding(160, 256, 64, 4), nn.QuantizedLinear(256, 96, False, 64, 3),
            nn.QuantizedLinear(256, 40, False, 64, 4), nn.QuantizedLinear(256, 96, False, 64, 4),
        ]
        self.layers[0].bias = mx.random.normal((96,), key=mx.random.key(3))
        self.layers[5].set_dtype(mx.bfloat16)

def given(model):
    x = mx.random.normal((1, 3, 256), key=mx.random.key(1))
    many = mx.random.normal((2, 70, 256), key=mx.random.key(2))
    tokens = mx.array([[0, 159, 17], [16, 15, 1]])
    gives = []
    for layer in model.layers:
        is_embedding = isinstance(layer, nn.QuantizedEmbedding)
        multiply = layer.as_linear if is_embedding else layer
        gives += [multiply(x), multiply(many)]
        if not is_embedding:
            gives.append(multiply(x.astype(mx.bfloat16)))
        if is_embedding:
            gives += [layer(tokens), layer(tokens[0]), multiply(x[0, 1])]
    return gives

args = llama.ModelArgs("llama", 64, 1, 64, 2, 1e-5, 96, tie_word_embeddings=True)
whole = llama.Model(args)
nn.quantize(whole, 32, 4)
trunk, tokens = Trunk(whole), mx.array([95, 0, 17, 31])
head = PairHead.__new__(PairHead)
nn.Module.__init__(head)
own = {"embedding": nn.QuantizedEmbedding(96, 64, 32, 4), "lm_head": nn.QuantizedLinear(64, 96, False, 32, 4)}
head.keep_own(own)

def others():
    rows = mx.random.normal((3, 64), key=mx.random.key(4))
    return [trunk.lm_head_rows(tokens), head._embed(tokens), head.draft_head.logits(rows)]

model = Model()
before = [*given(model), *others()]
mx.eval(before)
sizes = [(p.shape, str(p.dtype)) for layer in model.layers for p in layer.parameters().values()]
if len(sys.argv) > 2:
    exec(sys.argv[2])
packed_rows.use_packed_rows(model)
packed_rows.use_packed_rows(whole)
packed_rows.use_packed_rows(head)
after = [*given(model), *others()]
class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = [nn.Linear(128, 96), nn.Linear(96, 48), nn.QuantizedLinear(64, 32, False, 32, 4), nn.RMSNorm(96)]

drafting = Head()
row = mx.random.normal((2, 128), key=mx.random.key(5))
plain = drafting.layers[1](drafting.layers[0](row))
packed_rows.pack(drafting)
packed_rows.use_packed_rows(drafting)
close = drafting.layers[1](drafting.layers[0](row))
hidden = mx.random.normal((2, 64), key=mx.random.key(6))
full, trimmed = (trimmed_head(trunk, range(0, 96, 2), bits).logits(hidden) for bits in (None, 8))

told = {
    "head": [type(layer).__mro__[1].__name__ for layer in drafting.layers],
    "drafts": [(mx.abs(a - b).max() / mx.abs(a).max()).item() for a, b in ((plain, close), (full, trimmed))],
    "blas": blas.name,
    "ours": [isinstance(layer, packed_rows.Tiled) for layer in model.layers],
    "apart": [(mx.abs(a - b).max() / mx.abs(a).max()).item() for a, b in zip(before, after)],
    "alike": [(a.shape, a.dtype) == (b.shape, b.dtype) for a, b in zip(before, after)],
    "same sizes": sizes == [(p.shape, str(p.dtype)) for layer in model.layers for p in layer.parameters().values()],
    "is there": packed_rows.is_there(),
    "others": [isinstance(each, packed_rows.Tiled) for each in (trunk.lm_head, *own.values())],
}
del model, before, after
gc.collect()
again = Model()
packed_rows.use_packed_rows(again)
told["again"] = [isinstance(layer, packed_rows.Tiled) for layer in again.layers]
print(json.dumps(told))
"""


def told(folder: object, change: str = "", first: str = "") -> dict[str, Any]:
    command = [sys.executable, "-c", first + LAYERS, str(folder), *([change] if change else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> object:
    return tmp_path_factory.mktemp("cache")


OURS = [True, True, True, False, False, False]
"""Not those of three bits, of columns that fill no tile, of 16-bit scales."""


def test_layers_give_what_mlx_gives(cache: object) -> None:
    found = told(cache)
    assert found["blas"].endswith("few_rows")
    assert found["ours"] == found["again"] == OURS
    assert max(found["apart"]) < 1e-5
    assert all(found["alike"])
    assert found["same sizes"]
    assert found["others"] == [True] * 3
    assert found["is there"]
    # Inputs of 96 fill no group of what is packed here.
    assert found["head"] == ["Tiled", "Module", "Tiled", "Module"]
    assert all(0 < apart < 0.02 for apart in found["drafts"])


def test_a_layer_whose_product_is_wrong_is_left_to_mlx(cache: object) -> None:
    wrong = "tiled = packed_rows._tiled; packed_rows._tiled = lambda part, lanes: tiled(part, lanes) if part.dtype == mx.uint32 else part"
    found = told(cache, wrong)
    assert not any(found["ours"])
    assert found["head"] == ["Module", "Module", "Module", "Module"]
    assert max(found["apart"]) == 0
    assert found["same sizes"]


def test_where_mlx_asks_another_library_its_own_layers_stay(cache: object) -> None:
    found = told(cache, first="import mlx.core")
    assert found["blas"].endswith("few_rows")
    assert not found["is there"]  # Else a matrix that is not there would be read.
    assert not any(found["ours"])
    assert found["head"] == ["Module", "Module", "Module", "Module"]
    assert max(found["apart"]) == 0
