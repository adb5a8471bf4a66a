"""Tiny shapes of every family whose trunk mlx-lm has, and random weights for them."""

from __future__ import annotations

import copy
import importlib
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map_with_path
from mlx_lm.utils import _get_classes

VOCABULARY = 257
"""That of `tiny.vocabulary_of_bytes`."""

_COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}
_QWEN: dict[str, Any] = {
    **_COMMON,
    "num_hidden_layers": 4,
    "full_attention_interval": 4,
    "head_dim": 16,
    "linear_num_value_heads": 6,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 12,
    "linear_conv_kernel_dim": 4,
    "partial_rotary_factor": 0.5,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.5,
        "mrope_section": [2, 1, 1],
    },
    "mtp_num_hidden_layers": 1,
}
_QWEN_EXPERTS: dict[str, Any] = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "decoder_sparse_step": 1,
    "shared_expert_intermediate_size": 16,
    "moe_intermediate_size": 16,
    "norm_topk_prob": True,
    "mlp_only_layers": [],
}
_LATENT: dict[str, Any] = {
    **_COMMON,
    "num_hidden_layers": 2,
    "num_key_value_heads": 4,
    "moe_intermediate_size": 16,
    "n_shared_experts": 1,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "routed_scaling_factor": 1.5,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "topk_method": "noaux_tc",
    "scoring_func": "sigmoid",
    "norm_topk_prob": True,
    "n_group": 1,
    "topk_group": 1,
    "moe_layer_freq": 1,
    "first_k_dense_replace": 1,
    "attention_bias": False,
    "rope_scaling": None,
    "num_nextn_predict_layers": 1,
}
_INDEXER: dict[str, Any] = {"index_head_dim": 16, "index_n_heads": 2, "index_topk": 2048}
_KDA: dict[str, Any] = {
    "num_heads": 2,
    "head_dim": 8,
    "short_conv_kernel_size": 4,
    "kda_layers": [1, 2],
    "full_attn_layers": [3],
}

CONFIGS: dict[str, dict[str, Any]] = {
    "qwen3_5": {"model_type": "qwen3_5", "text_config": {"model_type": "qwen3_5_text", **_QWEN}},
    "qwen3_5_moe": {
        "model_type": "qwen3_5_moe",
        "text_config": {"model_type": "qwen3_5_moe_text", **_QWEN, **_QWEN_EXPERTS},
    },
    "qwen3_next": {"model_type": "qwen3_next", **_QWEN, **_QWEN_EXPERTS},
    "deepseek_v3": {"model_type": "deepseek_v3", **_LATENT},
    "deepseek_v32": {"model_type": "deepseek_v32", **_LATENT, **_INDEXER},
    "glm_moe_dsa": {
        "model_type": "glm_moe_dsa",
        **_LATENT,
        **_INDEXER,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    },
    "glm4_moe_lite": {"model_type": "glm4_moe_lite", **_LATENT},
    "glm4_moe": {
        "model_type": "glm4_moe",
        **_LATENT,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "use_qk_norm": True,
        "partial_rotary_factor": 0.5,
    },
    "mimo": {
        "model_type": "mimo",
        **_COMMON,
        "num_hidden_layers": 2,
        "num_nextn_predict_layers": 1,
    },
    "mimo_v2_flash": {
        "model_type": "mimo_v2_flash",
        **_LATENT,
        "num_hidden_layers": 3,
        "hybrid_layer_pattern": [0, 1, 1],
        "moe_layer_freq": [0, 0, 1],
        "add_swa_attention_sink_bias": True,
        "add_full_attention_sink_bias": False,
        "sliding_window_size": 8,
        "num_key_value_heads": 2,
        "layernorm_epsilon": 1e-6,
        "swa_rope_theta": 10000.0,
        "swa_num_attention_heads": 4,
        "swa_num_key_value_heads": 2,
        "head_dim": 8,
        "v_head_dim": 8,
        "swa_head_dim": 8,
        "swa_v_head_dim": 8,
        "partial_rotary_factor": 0.5,
    },
    "step3p5": {
        "model_type": "step3p5",
        **_COMMON,
        "num_hidden_layers": 3,
        "num_attention_groups": 2,
        "head_dim": 8,
        "sliding_window": 8,
        "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
        "attention_other_setting": {
            "attention_type": "sliding_attention",
            "num_attention_heads": 4,
            "num_attention_groups": 2,
            "head_dim": 8,
        },
        "moe_num_experts": 4,
        "moe_top_k": 2,
        "moe_intermediate_size": 16,
        "share_expert_dim": 16,
        "moe_layers_enum": "1,2",
        "num_nextn_predict_layers": 3,
    },
    "nemotron_h": {
        "model_type": "nemotron_h",
        **_COMMON,
        "attention_bias": False,
        "head_dim": 8,
        "mamba_num_heads": 4,
        "mamba_head_dim": 8,
        "mamba_proj_bias": False,
        "ssm_state_size": 16,
        "conv_kernel": 4,
        "n_groups": 2,
        "mlp_bias": False,
        "layer_norm_epsilon": 1e-5,
        "use_bias": False,
        "use_conv_bias": True,
        "hybrid_override_pattern": "ME*M",
        "num_hidden_layers": 4,
        "moe_intermediate_size": 16,
        "moe_shared_expert_intermediate_size": 16,
        "n_group": 1,
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "topk_group": 1,
        "num_experts_per_tok": 2,
        "norm_topk_prob": True,
        "routed_scaling_factor": 1.5,
        "num_nextn_predict_layers": 1,
        "mtp_hybrid_override_pattern": "*E",
    },
    "ernie4_5_moe": {
        "model_type": "ernie4_5_moe",
        **_COMMON,
        "num_hidden_layers": 2,
        "use_bias": False,
        "moe_num_experts": 4,
        "moe_k": 2,
        "moe_layer_start_index": 1,
        "moe_intermediate_size": 16,
        "moe_num_shared_experts": 1,
        "num_nextn_predict_layers": 1,
    },
    "longcat_flash": {
        "model_type": "longcat_flash",
        **_LATENT,
        "attention_method": "MLA",
        "zero_expert_type": "identity",
        "ffn_hidden_size": 48,
        "moe_topk": 2,
        "expert_ffn_hidden_size": 16,
        "zero_expert_num": 2,
        "num_layers": 2,
        "mla_scale_q_lora": True,
        "mla_scale_kv_lora": True,
    },
    "exaone_moe": {
        "model_type": "exaone_moe",
        **_COMMON,
        "num_hidden_layers": 3,
        "moe_intermediate_size": 16,
        "head_dim": 8,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "num_shared_experts": 1,
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
        "is_moe_layer": [False, True, True],
        "routed_scaling_factor": 2.5,
        "num_nextn_predict_layers": 1,
    },
    "bailing_hybrid": {
        "model_type": "bailing_hybrid",
        **_LATENT,
        "architectures": ["BailingMoeV2_5ForCausalLM"],
        "num_hidden_layers": 4,
        "num_key_value_heads": 4,
        "num_experts": 4,
        "num_shared_experts": 1,
        "layer_group_size": 4,
        "group_norm_size": 2,
        "head_dim": 8,
        "partial_rotary_factor": 0.5,
    },
    "bailing_moe_v3": {
        "model_type": "bailing_hybrid",
        **_LATENT,
        "architectures": ["BailingMoeV3ForCausalLM"],
        "num_hidden_layers": 4,
        "num_experts": 4,
        "num_shared_experts": 1,
        "moe_shared_expert_intermediate_size": 16,
        "layer_group_size": 4,
        "head_dim": 8,
    },
    "kimi_linear": {
        "model_type": "kimi_linear",
        **_LATENT,
        "num_hidden_layers": 3,
        "head_dim": 8,
        "linear_attn_config": _KDA,
        "model_max_length": 4096,
        "num_experts": 4,
        "num_experts_per_token": 2,
        "num_shared_experts": 1,
    },
    "kimi_k3": {
        "model_type": "kimi_k3",
        "text_config": {
            **_LATENT,
            "model_type": "kimi_linear",
            "num_hidden_layers": 3,
            "linear_attn_config": {**_KDA, "gate_lower_bound": -5.0},
            "attn_res_block_size": 2,
            "activation_situ_beta": 4.0,
            "num_experts": 4,
            "num_experts_per_token": 2,
            "num_shared_experts": 1,
        },
    },
}
"""config.json of a tiny checkpoint, by the name of mlx-lm's module."""


def config(name: str) -> dict[str, Any]:
    """Return a copy of a family's tiny config."""
    return copy.deepcopy(CONFIGS[name])


def build(settings: dict[str, Any], seed: int = 1) -> nn.Module:
    """Return mlx-lm's model of a config, with random float32 weights."""
    model_class, args_class = _get_classes(copy.deepcopy(settings))
    model = cast("nn.Module", model_class(args_class.from_dict(copy.deepcopy(settings))))
    randomise(model, seed)
    return model


def randomise(module: nn.Module, seed: int) -> None:
    """Give a module random float32 weights; gains of norms near 1."""
    keys = iter(mx.random.split(mx.random.key(seed), 4096))

    def noisy(name: str, weight: mx.array) -> mx.array:
        noise = mx.random.normal(weight.shape, key=next(keys))
        if weight.ndim > 1:
            return 0.2 * noise
        middle = -1 if name.endswith("A_log") else weight.astype(mx.float32)
        return middle + 0.1 * noise

    module.update(tree_map_with_path(noisy, module.parameters()))
    module.eval()
    mx.eval(module.parameters())


def module_of(name: str) -> Any:
    """Return mlx-lm's module of that name."""
    return importlib.import_module(f"mlx_lm.models.{name}")
