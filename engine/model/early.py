"""Few rows on their way through the layers on a CPU: what is built is computed while the next layer is built.

MLX computes in a thread of its own, which else begins when Python has built the whole pass.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn

from engine.model.arrays import weights_bytes
from engine.model.rebinding import called, modules

__all__ = ["use_early_starts"]

_MAX_ROWS = 16
"""Of more rows the building is little."""
_LEAST_BYTES = 1 << 20
"""Of a layer's weights: fewer are read sooner than a layer is handed over."""


def use_early_starts(model: nn.Module) -> None:
    """Let the layers of a model or head hand over what they give as soon as it is built, on a CPU."""
    if mx.default_device() != mx.cpu:
        return
    for module in modules(model):
        layers = module.get("layers")
        for layer in layers[:-1] if isinstance(layers, list) else []:
            if weights_bytes(layer) >= _LEAST_BYTES:
                layer.__class__ = _starting(type(layer))


def _starting(kind: type[nn.Module]) -> type[nn.Module]:
    def call(self: nn.Module, x: Any, *rest: Any, **named: Any) -> Any:
        y = kind.__call__(self, x, *rest, **named)
        if isinstance(y, mx.array) and y.size // y.shape[-1] <= _MAX_ROWS:
            mx.async_eval(y)
        return y

    return called(kind, call)
