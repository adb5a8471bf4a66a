"""Measures how fast this machine reads weights: `python -P -m engine.measuring --blas auto --cache FOLDER`.

Decoding is bound by reading weights, so products of one row and of a few rows with more weights
than a cache holds tell what a step takes. Standard output gets one JSON object: device, versions,
and by kind of weights and number of rows, in parameters a second, the median pass of the shape that
is slowest and the fastest pass of all; and whether passes of one shape were alike, which they are not
while something else keeps the machine busy. A CPU also tells what a layer takes beside its weights.
"""

from __future__ import annotations

import importlib.metadata
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from engine.one_answer import Asked, answer_once

__all__ = ["ROWS"]

ROWS = (1, 2, 4)
"""Rows of a product: plain decoding, and windows of one draft and of three."""
_SHAPES = ((5120, 3072), (1536, 1536))
"""Of matrices, as large and as small models have them."""
_BYTES = 190_000_000
"""Of all matrices of a shape and kind: more than any cache of a processor of these machines holds."""
_GROUP = 64
_STEADY = 1.4
"""The median pass takes at most so many times the fastest where nothing else runs."""
_PASSES = 7
_LAYERS, _STEPS = 8, 40
"""Of the model whose weights take nothing, and how often it runs."""
_LIMIT_S = 0.2
"""Of the passes of one kind and number of rows, two of which run whatever they take."""


def main() -> int:
    """Run the process; return its exit code."""
    return answer_once("engine.measuring", __doc__, _measured)


def _measured(asked: Asked) -> dict[str, object]:
    """Return what the process prints."""
    import mlx.core as mx

    kinds, is_steady = _kinds()
    return {
        "device": "cpu" if mx.default_device() == mx.cpu else "gpu",
        "blas": asked.blas.name,
        "mlx": importlib.metadata.version("mlx"),
        "is_steady": is_steady,
        "kinds": kinds,
        "layer_s": _layer(asked.cache) if mx.default_device() == mx.cpu else [0.0, 0.0],
    }


def _kinds() -> tuple[dict[str, dict[str, list[float]]], bool]:
    """Return rates by kind and rows, and whether passes of one shape were alike."""
    found: dict[str, dict[str, list[float]]] = {}
    is_steady = True
    for shape in _SHAPES:
        for kind, run, count in _products(shape):
            for rows in ROWS:
                median, fastest = _rates(
                    lambda rows=rows, run=run: run(rows), count * math.prod(shape)
                )
                is_steady = is_steady and fastest < _STEADY * median
                known = found.setdefault(kind, {}).setdefault(str(rows), [median, fastest])
                known[:] = [min(median, known[0]), max(fastest, known[1])]
    return found, is_steady


def _products(shape: tuple[int, int]) -> Iterator[tuple[str, Callable[[int], None], int]]:
    """Give kinds of weights as the engine keeps them here, what runs rows through matrices, and how many."""
    import mlx.core as mx
    import mlx.nn as nn

    from engine.model.packed_rows import use_packed_rows

    is_cpu = mx.default_device() == mx.cpu
    dtype = mx.float32 if is_cpu else mx.bfloat16
    base = mx.random.normal(shape, key=mx.random.key(0)).astype(dtype)

    def plain() -> tuple[Callable[[int], None], int]:
        wide = [base + 0 for _ in range(_count(base.nbytes))]
        mx.eval(wide)

        def run(rows: int) -> None:
            mx.eval([mx.ones((rows, shape[1]), dtype) @ weight.T for weight in wide])

        return run, len(wide)

    def packed(bits: int) -> tuple[Callable[[int], None], int]:
        of_one = mx.quantize(base, group_size=_GROUP, bits=bits)
        count = _count(sum(part.nbytes for part in of_one))
        names = ("weight", "scales", "biases")
        model = nn.Sequential(
            *(nn.QuantizedLinear(shape[1], shape[0], False, _GROUP, bits) for _ in range(count))  # noqa: FBT003 - MLX's
        )
        for layer in model.layers:
            layer.update({name: part + 0 for name, part in zip(names, of_one, strict=True)})
        mx.eval(model.parameters())
        use_packed_rows(model)

        def run(rows: int) -> None:
            row = mx.ones((rows, shape[1]), dtype)
            mx.eval([layer(row) for layer in model.layers])

        return run, count

    yield "plain", *plain()
    yield "8-bit", *packed(8)
    yield "4-bit", *packed(4)


def _count(bytes_each: int) -> int:
    return -(-_BYTES // bytes_each)


def _layer(cache_folder: Path) -> list[float]:
    """Return the seconds that a layer takes whose weights take none, the median and the least."""
    import mlx.core as mx
    from mlx_lm.models.llama import Model, ModelArgs

    from engine.model.load import speed_up

    config = ModelArgs(
        model_type="llama",
        hidden_size=64,
        num_hidden_layers=_LAYERS,
        intermediate_size=128,
        num_attention_heads=4,
        rms_norm_eps=1e-5,
        vocab_size=64,
    )
    model = Model(config)
    speed_up(model, cache_folder, lambda *_: None)
    caches = model.make_cache()
    mx.eval(model(mx.zeros((1, 64), mx.uint32), cache=caches))

    def step() -> None:
        mx.eval(model(mx.zeros((1, 1), mx.uint32), cache=caches))

    return [each / _LAYERS for each in _seconds(step, _STEPS)]


def _rates(run: Callable[[], None], parameters: int) -> tuple[float, float]:
    """Return the median and the fastest pass, in parameters a second."""
    median, least = _seconds(run, _PASSES)
    return parameters / median, parameters / least


def _seconds(run: Callable[[], None], passes: int) -> tuple[float, float]:
    """Return what the median of so many passes took and the fastest, or of as many as there is time for."""
    run()
    seconds: list[float] = []
    while len(seconds) < 2 or (len(seconds) < passes and sum(seconds) < _LIMIT_S):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds), min(seconds)


if __name__ == "__main__":
    sys.exit(main())
