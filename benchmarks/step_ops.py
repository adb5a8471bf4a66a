"""How many operations MLX is given for a layer, with the kernels between its matmuls and without.

    python -m benchmarks.step_ops [--rows 1]

Counts on any machine, over a tiny model of the 27B's kind: a kernel is counted where it would be
called, MLX's own norms, rotations and attention as one each, as they are on a GPU, and what is around
them as the graph has it. Views move no data but are handed over too. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models import qwen3_5

from engine.model import gated_attention, projections, residuals
from engine.model.trunk import Trunk
from kernels import delta_mixer, gated_delta, gated_heads, quant_matvec, residual_norm, swiglu
from kernels.dispatch import Backend

SIZES: dict[str, Any] = {
    "model_type": "qwen3_5_text",
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 256,
    "vocab_size": 64,
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 64,
    "linear_value_head_dim": 64,
    "linear_conv_kernel_dim": 4,
    "full_attention_interval": 4,
}
VIEWS = {
    "AsStrided",
    "Broadcast",
    "ExpandDims",
    "Flatten",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unflatten",
}
WAYS = ("without", "with")


class Tally:
    """Stands in for kernels: counts a call, and gives arrays that no graph leads to."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.taken: list[mx.array] = []
        self._is_inside = False

    def of(self, name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        """Return what stands in for a kernel that is defined by `plain`."""

        def call(_: object, *given: Any) -> Any:
            is_own = self._is_inside
            if not is_own:
                self.calls[name] += 1
                self.taken += [each for each in _flat(given) if isinstance(each, mx.array)]
            self._is_inside = True
            result = _evaluated(plain(*(_like(each) for each in given)))
            self._is_inside = is_own
            return result

        return call

    def fast(self, name: str) -> Callable[..., Any]:
        """Return what stands in for one of MLX's own, which a CPU's graph has in parts."""
        plain = getattr(mx.fast, name)

        def call(*given: Any, **options: Any) -> Any:
            return self.of(name, lambda *own: plain(*own, **options))(None, *given)

        return call


def _flat(given: tuple[Any, ...]) -> list[Any]:
    """Return what was given, with what tuples hold in their place."""
    return [each for one in given for each in (one if isinstance(one, tuple) else (one,))]


def _like(given: Any) -> Any:
    """Return zeros in place of an array, whose own graph is to stay as it is."""
    if isinstance(given, tuple):
        return tuple(_like(each) for each in given)
    return mx.zeros(given.shape, given.dtype) if isinstance(given, mx.array) else given


def _evaluated(result: Any) -> Any:
    for each in result if isinstance(result, tuple) else (result,):
        if isinstance(each, gated_delta.DeltaOutput):
            mx.eval(each.y, each.state, each.tape.delta)
        else:
            mx.eval(each if isinstance(each, mx.array) else each.arrays())
    return result


def kinds(roots: list[mx.array]) -> Counter[str]:
    """Return the operations that lead to arrays, by name."""
    written = io.StringIO()
    mx.export_to_dot(written, *roots)
    return Counter(re.findall(r'label ="(\w+)", shape=rectangle', written.getvalue()))


def stood_in(tally: Tally, way: str) -> list[Any]:
    """Return what has to be patched for a way."""
    patches = [
        mock.patch.object(projections, "backend_for", return_value=Backend.CUDA),
        mock.patch.object(quant_matvec, "quant_matvec", _multiplied(tally, "quant_matvec")),
        mock.patch.object(quant_matvec, "gated_matvec", _multiplied(tally, "gated_matvec")),
    ]
    for name in ("rms_norm", "rope", "scaled_dot_product_attention"):
        patches.append(mock.patch.object(mx.fast, name, tally.fast(name)))
    if way != WAYS[1]:
        return patches
    named: list[tuple[Any, str, Callable[..., Any]]] = [
        (delta_mixer, "delta_mixer", delta_mixer.delta_mixer_plain),
        (residual_norm, "residual_norm", residual_norm.residual_norm_plain),
        (swiglu, "swiglu", swiglu.swiglu_plain),
        (gated_heads, "split_heads", gated_heads.split_heads_plain),
        (gated_heads, "gate_heads", gated_heads.gate_heads_plain),
    ]
    for module, name, plain in named:
        patches.append(mock.patch.object(module, name, tally.of(name, plain)))
        patches.append(mock.patch.object(module, "runs_on", return_value=Backend.CUDA))
    return patches


def _multiplied(tally: Tally, name: str) -> Callable[..., mx.array]:
    """Return what stands in for a packed matmul, one that gates what it gives where its name says so."""

    def call(x: mx.array, packed: quant_matvec.Packed, *_: object) -> mx.array:
        def plain(rows: mx.array) -> mx.array:
            product = quant_matvec.quant_matvec_plain(rows, packed)
            return swiglu.swiglu_plain(product) if name == "gated_matvec" else product

        return tally.of(name, plain)(None, x)

    return call


def counted(way: str, rows: int) -> dict[str, dict[str, int]]:
    """Return operations of one layer of each kind."""
    tally = Tally()
    model = qwen3_5.Model(qwen3_5.ModelArgs(model_type="qwen3_5", text_config=dict(SIZES)))
    model.set_dtype(mx.bfloat16)
    nn.quantize(model, group_size=64, bits=4)
    mx.eval(model.parameters())
    patches = stood_in(tally, way)
    for patch in patches:
        patch.start()
    if way == WAYS[1]:
        gated_attention.use_gated_heads(model)
        residuals.use_fused_mlps(model)
        residuals.use_fused_sums(model)
    with tempfile.TemporaryDirectory() as folder:
        projections.use_few_row_matmuls(model, Path(folder), lambda *_: None)
    delta = tally.of("gated_delta", gated_delta.gated_delta_plain)
    with mock.patch("engine.model.recurrences.gated_delta", lambda *given: delta(None, *given)):
        trunk = Trunk(model)
        cache = trunk.make_cache()
        trunk.forward(mx.array([1, 2, 3, 4]), cache)
        cache.commit(4)
        mx.eval(cache.arrays())
        found = {
            name: _layer(model, cache, tally, index, rows)
            for name, index in (("gated DeltaNet", 1), ("attention", 3))
        }
    for patch in patches:
        patch.stop()
    return found


def _layer(model: Any, cache: Any, tally: Tally, index: int, rows: int) -> dict[str, int]:
    layer = model.model.layers[index]
    x: Any = mx.zeros((1, rows, SIZES["hidden_size"]), mx.bfloat16)
    if type(layer.input_layernorm) is not nn.RMSNorm:
        x = residuals._Pending(Backend.CUDA, x, x)
    tally.calls.clear()
    tally.taken.clear()
    before = [id(each) for each in _slots(cache, index)]
    y = layer(x, None if rows == 1 or layer.is_linear else "causal", cache.layers[index])
    roots = list(tally.taken)
    roots += [y] if isinstance(y, mx.array) else [y._rows, *y._summands]
    roots += [each for each in _slots(cache, index) if id(each) not in before]
    graph = kinds(roots)
    views = sum(count for name, count in graph.items() if name in VIEWS)
    total = sum(graph.values()) + tally.calls.total()
    return {"operations": total, "of them views": views, **dict(sorted(tally.calls.items()))}


def _slots(cache: Any, index: int) -> list[mx.array]:
    return [each for each in cache.arrays()[index] if isinstance(each, mx.array)]


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1)
    options = parser.parse_args()
    document = {way: counted(way, options.rows) for way in WAYS}
    sys.stdout.write(json.dumps({"rows": options.rows, **document}, indent=1) + "\n")


if __name__ == "__main__":
    main()
