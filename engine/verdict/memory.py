"""How much memory a model needs at a length of context, from its config alone."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["CONTEXTS", "kv_bytes_per_token", "memory_bytes"]

CONTEXTS = (4_096, 32_768, 131_072)
"""Lengths that a person is told of, tokens."""
_STATE_BYTES = 2
"""Of a number in the caches: bfloat16."""
_OVERHEAD = 400 * 2**20
"""Bytes of the process itself and of what a pass works in."""


def kv_bytes_per_token(config: Mapping[str, object]) -> int | None:
    """Return the bytes that one token adds to the caches; None where the config doesn't tell.

    Layers with recurrent state or a sliding window don't grow and are not counted. A latent
    cache (MLA) holds one compressed row a layer.
    """
    inner = config.get("text_config")
    facts = {**config, **(inner if isinstance(inner, dict) else {})}
    layers = _count(facts, "num_hidden_layers")
    if layers == 0:
        return None
    growing = _growing_layers(facts, layers)
    rank = _count(facts, "kv_lora_rank")
    if rank:
        return growing * (rank + _count(facts, "qk_rope_head_dim")) * _STATE_BYTES
    heads = _count(facts, "num_attention_heads")
    key_heads = _count(facts, "num_key_value_heads") or heads
    width = _count(facts, "head_dim") or (_count(facts, "hidden_size") // heads if heads else 0)
    row = 2 * key_heads * width
    return growing * row * _STATE_BYTES if row else None


def memory_bytes(config: Mapping[str, object], weights_bytes: int, context: int) -> int | None:
    """Return the bytes in memory with a full context; None where the config doesn't tell.

    Args:
        config: of the model.
        weights_bytes: of its tensors.
        context: tokens.
    """
    each = kv_bytes_per_token(config)
    return None if each is None else weights_bytes + each * context + _OVERHEAD


def _growing_layers(facts: Mapping[str, object], layers: int) -> int:
    kinds = facts.get("layer_types")
    if isinstance(kinds, list) and len(kinds) == layers:
        return sum(kind in ("full_attention", "attention", "global") for kind in kinds)
    interval = _count(facts, "full_attention_interval")
    return layers // interval if interval else layers


def _count(facts: Mapping[str, object], key: str) -> int:
    value = facts.get(key)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and 0 < value < 2**31 else 0
