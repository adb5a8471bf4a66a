"""Families whose trunk keeps a recurrent state; see `families.Family`. Data only."""

from __future__ import annotations

from engine.verdict.families import Family, Parts
from engine.verdict.family_parts import (
    APPENDED,
    DEEPSEEK_PARTS,
    NO_TRUNK,
    QWEN_PARTS,
    QWEN_PREFIXES,
    QWEN_SHELL,
)

__all__ = ["RECURRENT"]

_BAILING_PARTS = Parts(
    embedding_norm="enorm",
    hidden_norm="hnorm",
    projection="eh_proj",
    final_norm="final_layernorm",
    layer="",
)
QWEN3_5 = Family(
    name="qwen3_5",
    model_types=("qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text"),
    concat="embedding,hidden",
    hidden="post",
    recycle="post",
    norm="one_plus",
    prefixes=QWEN_PREFIXES,
    block="gated full attention, dense or experts as the trunk",
    parts=QWEN_PARTS,
    config_keys=("mtp_num_hidden_layers",),
    recurrent="gated delta",
    shell=QWEN_SHELL,
)
QWEN3_NEXT = Family(
    name="qwen3_next",
    model_types=("qwen3_next",),
    concat="embedding,hidden",
    hidden="post",
    recycle="post",
    norm="one_plus",
    prefixes=QWEN_PREFIXES,
    block="gated full attention, experts",
    parts=QWEN_PARTS,
    config_keys=("mtp_num_hidden_layers", "num_nextn_predict_layers"),
    recurrent="gated delta",
    shell=QWEN_SHELL,
)
QWEN4_EXP = Family(
    name="qwen4_exp",
    model_types=("qwen4_exp", "qwen4_exp_text"),
    concat="separate",
    hidden="lanes",
    recycle="lanes",
    norm="one_plus",
    prefixes=QWEN_PREFIXES,
    block="sparse attention, experts, hyper-connections",
    config_keys=("mtp_num_hidden_layers", "num_nextn_predict_layers"),
    cache="latent,indexer",
    recurrent="gated delta",
    cannot_run=NO_TRUNK,
)
NEMOTRON_H = Family(
    name="nemotron_h",
    model_types=("nemotron_h",),
    concat="embedding,hidden",
    hidden="post",
    recycle="post",
    norm="plain",
    prefixes=("mtp.", "language_model.mtp."),
    block="attention sub-layer, then experts sub-layer",
    parts=Parts(
        embedding_norm="layers.0.enorm",
        hidden_norm="layers.0.hnorm",
        projection="layers.0.eh_proj",
        final_norm="layers.{last}.final_layernorm",
        layer="layers.{j}.",
    ),
    recurrent="mamba-2",
)
NEMOTRON_PUZZLE = Family(
    name="nemotron_h_puzzle",
    model_types=("nemotron_h_puzzle",),
    concat="embedding,hidden",
    hidden="post",
    recycle="post",
    norm="plain",
    prefixes=("mtp.",),
    block="attention sub-layer, then experts sub-layer",
    recurrent="mamba-2",
    cannot_run=NO_TRUNK,
)
BAILING_V3 = Family(
    name="bailing_moe_v3",
    model_types=("bailing_hybrid",),
    architectures=("BailingMoeV3ForCausalLM",),
    concat="embedding,hidden",
    hidden="post",
    recycle="post",
    norm="plain",
    prefixes=APPENDED,
    block="latent attention, experts",
    parts=_BAILING_PARTS,
    cache="latent",
    recurrent="kda",
    shell={"num_hidden_layers": 1, "first_k_dense_replace": 0, "layer_group_size": 1},
)
BAILING_V2_5 = Family(
    name="bailing_hybrid",
    model_types=("bailing_hybrid",),
    concat="embedding,hidden",
    hidden="post",
    recycle="post",
    norm="plain",
    prefixes=APPENDED,
    block="latent attention, experts",
    parts=_BAILING_PARTS,
    cache="latent",
    recurrent="lightning",
    shell={"num_hidden_layers": 1, "first_k_dense_replace": 0, "layer_group_size": 1},
)
KIMI_K3 = Family(
    name="kimi_k3",
    model_types=("kimi_k3",),
    concat="embedding,hidden",
    hidden="pre",
    recycle="pre",
    norm="plain",
    prefixes=APPENDED,
    block="latent attention, experts",
    parts=DEEPSEEK_PARTS,
    cache="latent",
    recurrent="kda",
    shell={
        "num_hidden_layers": 1,
        "first_k_dense_replace": 0,
        "attn_res_block_size": None,
        "linear_attn_config": {"kda_layers": [], "full_attn_layers": [1]},
    },
)

RECURRENT: tuple[Family, ...] = (
    QWEN3_5,
    QWEN3_NEXT,
    QWEN4_EXP,
    NEMOTRON_H,
    NEMOTRON_PUZZLE,
    BAILING_V3,
    BAILING_V2_5,
    KIMI_K3,
)
