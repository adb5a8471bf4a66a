"""Attention in plain MLX, where MLX's own takes longer: of a window's few rows on CUDA, of any on a CPU.

On CUDA MLX hands windows of several rows with heads of up to 128 numbers to cuDNN, which plans anew
for each length of the cache: about 50 ms a cycle. On a CPU it multiplies the cache by each head that
looks at it, one after another; here all that share a part of it are one product. And its softmax calls libm for each
number, which takes longer than all products of a prompt's attention.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from engine.model.few_operations import FARTHEST, exponential
from engine.model.rebinding import methods_naming, modules, rebound
from kernels.dispatch import Backend, backend_for

__all__ = ["WINDOW_ROWS", "use_window_attention", "window_attention"]

WINDOW_ROWS = 16
_PLANNED_WIDTH = 128
"""Heads up to this wide go to cuDNN; wider ones MLX multiplies out itself."""
_NAME = "scaled_dot_product_attention"


def use_window_attention(model: nn.Module) -> None:
    """Let the attention layers of a model or head multiply rows out, a window's on CUDA and any on a CPU."""
    if backend_for("window_attention") is Backend.CUDA:
        rows, widest = range(2, WINDOW_ROWS + 1), _PLANNED_WIDTH
    elif mx.default_device() == mx.cpu:
        rows, widest = range(1, sys.maxsize), sys.maxsize
    else:
        return
    for module in modules(model):
        kind = type(module)
        methods = (
            methods_naming(kind, _NAME) if kind.__module__.startswith("mlx_lm.models.") else {}
        )
        for method in methods.values():
            original = method.__globals__[_NAME]
            ours = functools.partial(_attend, original, rows, widest)
            module.__class__ = rebound(kind, _NAME, ours)
            break


def _attend(
    original: Any,
    rows: range,
    widest: int,
    queries: mx.array,
    keys: mx.array,
    values: mx.array,
    *positional: Any,
    **named: Any,
) -> mx.array:
    """Stand in for mlx-lm's function for so many rows, and for heads up to so wide."""
    options = dict(zip(("cache", "scale", "mask", "sinks"), positional, strict=False)) | named
    count, is_masked = queries.shape[2], isinstance(options.get("mask"), mx.array)
    is_ours = (count in rows or (count == 1 and is_masked)) and queries.shape[-1] <= widest
    is_plain = isinstance(keys, mx.array) and not hasattr(options.get("cache"), "bits")
    if not is_ours or not is_plain or options.get("sinks") is not None:
        return original(queries, keys, values, *positional, **named)
    return window_attention(queries, keys, values, options["scale"], options.get("mask"))


def window_attention(
    queries: mx.array, keys: mx.array, values: mx.array, scale: float, mask: mx.array | str | None
) -> mx.array:
    """Return the attention of some rows.

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
    if mask is not None:
        scores = _masked(scores.reshape(batch, heads, rows, length), mask)
        scores = scores.reshape(*grouped.shape[:-1], length)
    return _weighted(scores, values).reshape(batch, heads, rows, values.shape[-1])


def _weighted(scores: mx.array, values: mx.array) -> mx.array:
    """Return the sums of values by the softmax of scores; [..., rows, length] to [..., rows, width].

    On a CPU one way for however many rows, so that a row has the same numbers wherever a window or a chunk of a
    prompt begins.
    """
    if scores.dtype != mx.float32 or mx.default_device() != mx.cpu:
        return mx.softmax(scores, axis=-1, precise=True) @ values
    powers = _powers(scores, scores.max(axis=-1, keepdims=True))
    return powers @ values / powers.sum(axis=-1, keepdims=True)


@functools.partial(mx.compile, shapeless=True)
def _powers(scores: mx.array, highest: mx.array) -> mx.array:
    """Return e to the scores, each row's highest as 0; what is out of reach has none."""
    below = scores - highest
    return mx.where(below > -FARTHEST, exponential(below), 0.0)


def _masked(scores: mx.array, mask: mx.array | str) -> mx.array:
    """Return [B, heads, rows, length] with what may not be looked at put out of reach."""
    if isinstance(mask, str):
        mask = _causal(scores.shape[-2], scores.shape[-1], scores.dtype)
    if mask.dtype == mx.bool_:
        return mx.where(mask, scores, mx.finfo(scores.dtype).min)
    return scores + mask


@functools.lru_cache(maxsize=2)
def _causal(rows: int, length: int, dtype: mx.Dtype) -> mx.array:
    """Return what is added, so that each row looks at no place after it; all layers share it."""
    is_seen = mx.arange(length) <= mx.arange(length - rows, length)[:, None]
    return mx.where(is_seen, mx.array(0, dtype), -mx.inf).astype(dtype)
