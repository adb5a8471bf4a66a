"""mlx-lm's gated attention layers with one kernel before they attend and one after, for few rows.

Where the kernel of cached attention runs they attend by it too, over a cache that keeps all its places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.qwen3_next import Qwen3NextAttention

from engine.model.graph_caches import keeps_all, position_of
from engine.model.projections import joined
from engine.model.rebinding import called, methods_naming, modules
from kernels import cached_attention
from kernels import gated_heads as kernel
from kernels.dispatch import Backend
from kernels.gated_heads import HeadShape

__all__ = ["reads_written", "use_gated_heads"]

_MAX_ROWS = 16
_ATTEND = "scaled_dot_product_attention"
_BY_KERNEL = "attends_by_kernel"


def use_gated_heads(model: nn.Module) -> str:
    """Let the gated attention layers of a model or head run few rows by the kernels, on a GPU.

    Call it after `use_window_attention`: how they attend is theirs.

    Returns:
        Why the kernels are left out; empty where they run or are not wanted.
    """
    notes = []
    for module in modules(model):
        shape = _shape_of(module)
        if shape is None:
            continue
        dtype = module.q_norm.weight.dtype
        notes.append(kernel.kernel_note(shape, dtype))
        where = kernel.runs_on(shape, dtype)
        notes.append(cached_attention.kernel_note(*_heads(shape), dtype))
        if where is not Backend.PLAIN:
            attends = cached_attention.runs_on(*_heads(shape), dtype)
            module.__class__ = _fused(type(module), shape, where, attends)
    return next((note for note in notes if note), "")


def reads_written(model: nn.Module, caches: Sequence[object]) -> bool:
    """Return whether all layers of a model or head that keep keys and values attend by the kernel.

    Args:
        model: whose layers they are.
        caches: of its layers.
    """
    attending = sum(getattr(module, _BY_KERNEL, False) for module in modules(model))
    return attending == sum(keeps_all(cache) for cache in caches)


def _shape_of(layer: nn.Module) -> HeadShape | None:
    """Return the shape of a layer that is one of these, and turned by plain frequencies."""
    if not isinstance(layer, Qwen3NextAttention) or type(layer.rope) is not nn.RoPE:
        return None
    rope = layer.rope
    if rope.traditional or layer.q_norm.eps != layer.k_norm.eps:
        return None
    heads, key_heads = int(layer.num_attention_heads), int(layer.num_key_value_heads)
    sizes = heads, key_heads, int(layer.head_dim), int(rope.dims)
    return HeadShape(*sizes, float(rope.base), float(rope.scale), float(layer.q_norm.eps))


def _heads(shape: HeadShape) -> tuple[int, int, int]:
    return shape.heads, shape.key_heads, shape.width


def _fused(
    kind: type[nn.Module], shape: HeadShape, where: Backend, attends: Backend
) -> type[nn.Module]:
    (method, *_) = methods_naming(kind, _ATTEND).values()
    attend = method.__globals__[_ATTEND]

    def call(self: Any, x: mx.array, mask: Any = None, cache: Any = None) -> mx.array:
        if cache is None or x.size // x.shape[-1] > _MAX_ROWS:
            return kind.__call__(self, x, mask, cache)
        rows = joined([self.q_proj, self.k_proj, self.v_proj], x)
        position = position_of(cache)
        norms = self.q_norm.weight, self.k_norm.weight
        queries, keys, values = kernel.split_heads(where, rows, *norms, position, shape)
        keys, values = cache.update_and_fetch(keys, values)
        if attends is Backend.PLAIN or not keeps_all(cache):
            attended = attend(queries, keys, values, cache=cache, scale=self.scale, mask=mask)
        else:
            whole = cache.keys, cache.values
            attended = cached_attention.cached_attention(
                attends, queries, *whole, position, self.scale
            )
        return self.o_proj(kernel.gate_heads(where, attended, rows))

    return called(kind, call, **{_BY_KERNEL: attends is not Backend.PLAIN})
