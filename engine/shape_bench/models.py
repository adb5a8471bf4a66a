"""Both models of a shape, over the same weights: ours as the engine runs it, and stock mlx-lm's."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from mlx_lm.models.cache import ArraysCache

from engine.errors import ModelError
from engine.model.arrays import weights_bytes, weights_of
from engine.model.cache import Cache, leaves_of
from engine.model.head import Head
from engine.model.load import Assembled, assemble, memory_bytes
from engine.model.random_weights import fill, unfilled_head, unfilled_model
from engine.model.trunk import Trunk
from engine.verdict.shape_costs import Plan
from engine.verdict.shapes import shape_of
from kernels.dispatch import keep_compiled

__all__ = ["Both", "Stage", "cache_bytes", "held_bytes", "made"]

Stage = Callable[[str], None]
"""Told what is being done."""
_MARGIN = 1 << 30
"""Bytes for what a pass holds beside weights and caches, and for random numbers under way."""


@dataclass(frozen=True, slots=True)
class Both:
    """The models, and what making them took."""

    own: Assembled
    stock: nn.Module
    """mlx-lm's own, as it runs anywhere; its arrays are ours."""
    weights_bytes: int
    """Of our trunk and head."""
    vocabulary: int
    making_s: float
    readying_s: float


def made(plan: Plan, cache_folder: Path, stage: Stage) -> Both:
    """Make both models of a plan's shape.

    Args:
        plan: says which.
        cache_folder: for what was measured of kernels.
        stage: told what is being done.

    Raises:
        ModelError: there is too little memory for it.
    """
    keep_compiled(cache_folder / "kernels")
    shape = shape_of(plan.shape)
    config = shape.config(plan.layers or shape.layers)
    dtype = mx.float32 if mx.default_device() == mx.cpu else mx.bfloat16
    _check_memory(plan, config, dtype)
    begin = time.perf_counter()
    own, stock = unfilled_model(config, dtype), unfilled_model(config, dtype)

    stage("making weights")
    fill(own, 0)
    making_s = time.perf_counter() - begin
    head_s = 0.0

    def head_of(trunk: Trunk) -> tuple[Head, str]:
        # Where weights were laid out anew, stock's model is to read them there, not keep others.
        stock.load_weights(weights_of(own))
        nonlocal head_s
        start = time.perf_counter()
        head = unfilled_head(config, trunk, dtype)
        fill(head, 1)
        head_s = time.perf_counter() - start
        return head, ""

    begin = time.perf_counter()
    ready = assemble(own, head_of, cache_folder, lambda name, *_: stage(name))
    readying_s = time.perf_counter() - begin - head_s
    held = weights_bytes(own) + weights_bytes(cast("nn.Module", ready.head))
    return Both(ready, stock, held, ready.trunk.vocabulary, making_s + head_s, readying_s)


def _check_memory(plan: Plan, config: Mapping[str, Any], dtype: mx.Dtype) -> None:
    """Raise ModelError where what is to be made won't fit; nothing is made to find out."""
    model = unfilled_model(config, dtype)
    trunk = Trunk(model)
    head = unfilled_head(config, trunk, dtype)
    largest = max(leaf.nbytes for _, leaf in weights_of(model))
    cache = trunk.make_cache()
    trunk.forward(mx.array([1]), cache)
    kv, state = cache_bytes(cache.layers)
    first, most = plan.contexts[0], max(plan.contexts)
    streams = (plan.deepest + 1) * (kv * first + state) + 2 * (kv * most + state)
    needed = weights_bytes(model) + weights_bytes(head) + 2 * largest + streams + _MARGIN
    there = _room()
    if needed > there:
        raise ModelError(
            f"{plan.shape} needs {needed / 1e9:.1f} GB here, and there are {there / 1e9:.1f}",
            "take fewer --layers or a shorter --context",
        )


def cache_bytes(layers: Any) -> tuple[int, int]:
    """Return the bytes of keys and values a position, and of recurrent state, of filled caches."""
    kv = state = 0
    for leaf in leaves_of(layers):
        if isinstance(leaf, ArraysCache):
            state += sum(part.nbytes for part in leaf.cache if isinstance(part, mx.array))
        else:
            keys, values = leaf.state[:2]
            kv += (keys.nbytes + values.nbytes) // keys.shape[2]
    return kv, state


def held_bytes(cache: Cache) -> int:
    """Return what caches hold in memory."""
    arrays = cast("list[tuple[str, object]]", tree_flatten(cache.arrays()))
    return sum(part.nbytes for _, part in arrays if isinstance(part, mx.array))


def _room() -> int:
    """Return the bytes that models may take here, as the device tells them."""
    if mx.default_device() == mx.cpu:
        return memory_bytes()
    facts = mx.device_info()
    for name in ("free_memory", "max_recommended_working_set_size", "total_memory"):
        if name in facts:
            return int(facts[name])
    return memory_bytes()
