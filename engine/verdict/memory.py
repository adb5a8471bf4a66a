"""How much memory a model needs at a length of context, and what a step reads: from its config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["CONTEXTS", "StepReads", "kv_bytes_per_token", "memory_bytes", "step_reads"]

CONTEXTS = (4_096, 32_768, 131_072)
"""Lengths that a person is told of, tokens."""
_STATE_BYTES = 2
"""Of a number in the caches: bfloat16."""
_OVERHEAD = 400 * 2**20
"""Bytes of the process itself and of what a pass works in."""


@dataclass(frozen=True, slots=True)
class StepReads:
    """The weights that a step reads, in numbers of parameters."""

    trunk: int
    """By a plain step: all but the embedding, and of the experts those that one token takes."""
    draft: int
    """By a draft, the LM head among them; 0 where no head's size is known."""
    bits: int
    """Of a weight as it is stored: 16 where it is not quantised."""
    is_unpacked_on_cpu: bool = False
    """Whether a CPU keeps them as float32 where it multiplies those faster, whatever they are stored as."""
    layers: int = 0
    """Of the trunk."""


def step_reads(
    config: Mapping[str, object], weights_bytes: int, head_bytes: int
) -> StepReads | None:
    """Return what a step reads; None where the config doesn't tell, or contradicts the files.

    Args:
        config: of the model.
        weights_bytes: of its tensors, those of the head among them.
        head_bytes: of the head's.
    """
    facts = _facts(config)
    bits, stored = _stored_bits(config)
    lm_head = _count(facts, "vocab_size") * _count(facts, "hidden_size")
    head = int(head_bytes * 8 / stored)
    trunk = int(weights_bytes * 8 / stored) - head - _resting_experts(facts)
    if not facts.get("tie_word_embeddings"):
        trunk -= lm_head
    draft = head + lm_head if head else 0
    layers = _count(facts, "num_hidden_layers")
    return StepReads(trunk, draft, bits, layers=layers) if lm_head and trunk > 0 else None


def _stored_bits(config: Mapping[str, object]) -> tuple[int, float]:
    """Return the bits of a weight, and those it takes with its share of scales."""
    packing = _facts(config).get("quantization") or config.get("quantization")
    if isinstance(packing, dict):
        bits, group = _count(packing, "bits"), _count(packing, "group_size")
        if bits and group:
            return bits, bits + 32 / group
    is_wide = "float32" in (_facts(config).get("torch_dtype"), _facts(config).get("dtype"))
    return 16, 32.0 if is_wide else 16.0


def _resting_experts(facts: Mapping[str, object]) -> int:
    """Return the parameters of the experts that a token does not take."""
    names = ("num_experts", "n_routed_experts", "num_local_experts")
    experts = next((count for name in names if (count := _count(facts, name))), 0)
    taken = _count(facts, "num_experts_per_tok")
    width = _count(facts, "moe_intermediate_size") or _count(facts, "intermediate_size")
    layers = _count(facts, "num_hidden_layers") - _count(facts, "first_k_dense_replace")
    if not 0 < taken < experts:
        return 0
    return layers * (experts - taken) * 3 * width * _count(facts, "hidden_size")


def kv_bytes_per_token(config: Mapping[str, object]) -> int | None:
    """Return the bytes that one token adds to the caches; None where the config doesn't tell.

    Layers with recurrent state or a sliding window don't grow and are not counted. A latent
    cache (MLA) holds one compressed row a layer.
    """
    facts = _facts(config)
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


def _facts(config: Mapping[str, object]) -> dict[str, object]:
    inner = config.get("text_config")
    return {**config, **(inner if isinstance(inner, dict) else {})}


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
