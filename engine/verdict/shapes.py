"""Shapes of published models, for measuring what they cost without their weights: data alone.

A shape is the text part of a release's config.json, as far as mlx-lm builds a model from it, and how
conversions to MLX pack its weights. Two tiny ones are nobody's model: they try everything on any machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["SHAPES", "Shape", "UnknownShape", "shape_of"]


class UnknownShape(ValueError):
    """No shape goes by that name; the message is one line."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One model's shape."""

    name: str
    model_type: str
    text: Mapping[str, object]
    """Of config.json's text_config."""
    source: str
    """Where its figures are known from, and which of them are not confirmed."""
    group: int = 64
    bits: int = 4

    @property
    def layers(self) -> int:
        """How many layers its trunk has."""
        return int(str(self.text["num_hidden_layers"]))

    def config(self, layers: int) -> dict[str, object]:
        """Return what config.json would hold, with this many of the trunk's layers."""
        text = {**self.text, "num_hidden_layers": layers}
        packing = {"group_size": self.group, "bits": self.bits}
        return {"model_type": self.model_type, "text_config": text, "quantization": packing}


_QWEN: dict[str, object] = {
    "model_type": "qwen3_5_text",
    "head_dim": 256,
    "vocab_size": 248320,
    "max_position_embeddings": 262144,
    "rms_norm_eps": 1e-6,
    "linear_num_key_heads": 16,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4,
    "full_attention_interval": 4,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mtp_num_hidden_layers": 1,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000000.0,
        "partial_rotary_factor": 0.25,
        "mrope_section": [11, 11, 10],
    },
}
_CARD = "its model card and copies of its config.json; 4 bits in groups of 64 are mlx-lm's default"
_27B = Shape(
    "qwen3.6-27b",
    "qwen3_5",
    {
        **_QWEN,
        "hidden_size": 5120,
        "intermediate_size": 17408,
        "num_hidden_layers": 64,
        "num_attention_heads": 24,
        "num_key_value_heads": 4,
        "linear_num_value_heads": 48,
    },
    _CARD,
)
_9B = Shape(
    "qwen3.5-9b",
    "qwen3_5",
    {
        **_QWEN,
        "hidden_size": 4096,
        "intermediate_size": 12288,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "linear_num_value_heads": 32,
    },
    _CARD,
)
_4B = Shape(
    "qwen3.5-4b",
    "qwen3_5",
    {
        **_QWEN,
        "hidden_size": 2560,
        "intermediate_size": 9216,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "linear_num_value_heads": 32,
        "tie_word_embeddings": True,
    },
    _CARD,
)
_35B_A3B = Shape(
    "qwen3.6-35b-a3b",
    "qwen3_5_moe",
    {
        **_QWEN,
        "model_type": "qwen3_5_moe_text",
        "hidden_size": 2048,
        "num_hidden_layers": 40,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "linear_num_value_heads": 32,
        "num_experts": 256,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 512,
        "shared_expert_intermediate_size": 512,
    },
    _CARD
    + ", routers 8 bits. That its head has as many experts as a layer of the trunk is assumed",
)
_TINY = Shape(
    "tiny",
    "qwen3_5",
    {
        **_QWEN,
        "head_dim": 32,
        "vocab_size": 512,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "linear_num_value_heads": 4,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 32,
        "linear_value_head_dim": 32,
    },
    "made up",
)
_TINY_EXPERTS = Shape(
    "tiny-experts",
    "qwen3_5_moe",
    {
        **_TINY.text,
        "model_type": "qwen3_5_moe_text",
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 64,
        "shared_expert_intermediate_size": 64,
    },
    "made up",
)
SHAPES: tuple[Shape, ...] = (_27B, _9B, _4B, _35B_A3B, _TINY, _TINY_EXPERTS)


def shape_of(name: str) -> Shape:
    """Return the shape of a name, in full or without the release before its size: "9b".

    Raises:
        UnknownShape: there is none.
    """
    wanted = name.lower()
    for shape in SHAPES:
        if wanted in (shape.name, shape.name.partition("-")[2]):
            return shape
    known = ", ".join(shape.name for shape in SHAPES)
    raise UnknownShape(f"no shape is named {name!r:.40}; there are {known}")
