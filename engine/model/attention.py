"""Attention of a window's few rows on CUDA, where MLX's own builds a plan for each new length.

MLX hands windows of several rows with heads of up to 128 numbers to cuDNN, which plans anew for
each length of the cache: about 50 ms a cycle. So there they are multiplied out here, in plain MLX.
"""

from __future__ import annotations

import functools
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from engine.model.rebinding import methods_naming, modules, rebound
from kernels.dispatch import Backend, backend_for

__all__ = ["WINDOW_ROWS", "use_window_attention", "window_attention"]

WINDOW_ROWS = 16
_PLANNED_WIDTH = 128
"""Heads up to this wide go to cuDNN; wider ones MLX multiplies out itself."""
_NAME = "scaled_dot_product_attention"


def use_window_attention(model: nn.Module) -> None:
    """Let the attention layers of a model or head run windows without a plan, on CUDA."""
    if backend_for("window_attention") is not Backend.CUDA:
        return
    for module in modules(model):
        kind = type(module)
        methods = (
            methods_naming(kind, _NAME) if kind.__module__.startswith("mlx_lm.models.") else {}
        )
        for method in methods.values():
            original = method.__globals__[_NAME]
            module.__class__ = rebound(kind, _NAME, functools.partial(_attend, original))
            break


def _attend(
    original: Any,
    queries: mx.array,
    keys: mx.array,
    values: mx.array,
    *positional: Any,
    **named: Any,
) -> mx.array:
    """Stand in for mlx-lm's function."""
    options = dict(zip(("cache", "scale", "mask", "sinks"), positional, strict=False)) | named
    least = 1 if isinstance(options.get("mask"), mx.array) else 2
    is_window = least <= queries.shape[2] <= WINDOW_ROWS and queries.shape[-1] <= _PLANNED_WIDTH
    is_plain = isinstance(keys, mx.array) and not hasattr(options.get("cache"), "bits")
    if not is_window or not is_plain or options.get("sinks") is not None:
        return original(queries, keys, values, *positional, **named)
    return window_attention(queries, keys, values, options["scale"], options.get("mask"))


def window_attention(
    queries: mx.array, keys: mx.array, values: mx.array, scale: float, mask: mx.array | str | None
) -> mx.array:
    """Return the attention of a window's rows.

    Args:
        queries: [B, heads, rows, width].
        keys: [B, key heads, length, width]; heads is a multiple of key heads.
        values: [B, key heads, length, value width].
        scale: of the products.
        mask: "causal", where the rows are the cache's last; or what broadcasts to [B, heads, rows,
            length]: bool, where True lets through, or added to the products; or None.

    Returns:
        [B, heads, rows, value width], in the type of the queries.
    """
    batch, heads, rows, width = queries.shape
    key_heads, length = keys.shape[1], keys.shape[2]
    grouped = (queries * scale).reshape(batch, key_heads, -1, width)
    scores = grouped @ keys.swapaxes(-1, -2)
    scores = scores.reshape(batch, heads, rows, length)
    if isinstance(mask, str):
        mask = _causal(rows, length)
    if mask is not None and mask.dtype == mx.bool_:
        scores = mx.where(mask, scores, mx.finfo(scores.dtype).min)
    elif mask is not None:
        scores = scores + mask
    weights = mx.softmax(scores, axis=-1, precise=True)
    summed = weights.reshape(batch, key_heads, -1, length) @ values
    return summed.reshape(batch, heads, rows, values.shape[-1])


@functools.lru_cache(maxsize=8)
def _causal(rows: int, length: int) -> mx.array:
    """Return which places each row may look at; all layers of a pass share it."""
    return mx.arange(length) <= mx.arange(length - rows, length)[:, None]
