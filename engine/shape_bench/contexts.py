"""Caches that hold a context of random rows, without a pass over it.

The rows' values cost what any would; what a model says after them means nothing.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import KVCache, make_prompt_cache

from engine.errors import ModelError
from engine.model.cache import Cache, evaluate, leaves_of
from engine.model.head import Head
from engine.model.recurrent import RecurrentCache
from engine.shape_bench.models import Both
from engine.speculation.cycle import read_prompt
from engine.speculation.stream import Stream

__all__ = ["own_cache", "stock_cache", "stream_at"]

_START = [1, 2, 3, 4]
"""Tokens whose pass gives caches their shapes, and recurrent states a value."""


def own_cache(both: Both, context: int) -> Cache:
    """Return caches of our trunk that hold a context."""
    cache = both.own.trunk.make_cache()
    both.own.trunk.forward(mx.array(_START), cache)
    cache.commit(len(_START))
    _lengthen(cache.layers, context)
    cache.restored(context, ())
    evaluate(cache)
    return cache


def stock_cache(both: Both, context: int) -> list[Any]:
    """Return caches of stock's model that hold a context."""
    layers = make_prompt_cache(both.stock)
    mx.eval(both.stock(mx.array([_START]), cache=layers))
    _lengthen(layers, context)
    mx.eval([layer.state for layer in layers])
    return layers


def stream_at(both: Both, head: Head, context: int, seed: int) -> Stream:
    """Return a stream whose trunk and head hold a context, ready to draft."""
    stream = Stream(both.own.trunk.make_cache(), head, seed)
    read_prompt(both.own.trunk, stream, _START, _START[-1])
    for cache in stream.caches():
        _lengthen(cache.layers, context)
        cache.restored(context, ())
        evaluate(cache)
    return stream


def _lengthen(layers: Any, context: int) -> None:
    """Put random rows in place of what KV caches hold; recurrent states have no length."""
    for index, layer in enumerate(leaves_of(layers)):
        if isinstance(layer, KVCache):
            keys = mx.random.split(mx.random.key(index))
            layer.state = (
                _rows(layer.keys, context, keys[0]), _rows(layer.values, context, keys[1]), context
            )  # fmt: skip
            mx.eval(layer.keys, layer.values)
        elif not isinstance(layer, RecurrentCache) and type(layer).__name__ != "ArraysCache":
            raise ModelError(f"a cache of the kind {type(layer).__name__} can't be filled here")


def _rows(like: mx.array | None, context: int, key: mx.array) -> mx.array:
    if like is None:
        raise ModelError("a cache is empty after a pass")
    batch, heads, _, width = like.shape
    return mx.random.normal((batch, heads, context, width), like.dtype, key=key)
