"""What several families have in common: names, prefixes, reasons. Data only."""

from __future__ import annotations

from engine.verdict.families import Parts

__all__ = [
    "APPENDED",
    "DEEPSEEK_PARTS",
    "DEEPSEEK_SHELL",
    "DISTINCT",
    "NO_TRUNK",
    "QWEN_PARTS",
    "QWEN_PREFIXES",
    "QWEN_SHELL",
]

NO_TRUNK = "mlx-lm has no trunk for it"
DISTINCT = "its heads differ from depth to depth, which this version cannot run yet"
APPENDED = ("model.layers.{N}.", "language_model.model.layers.{N}.")
QWEN_PREFIXES = ("mtp.", "language_model.mtp.", "model.mtp.", "model.language_model.mtp.")
QWEN_PARTS = Parts(
    embedding_norm="pre_fc_norm_embedding",
    hidden_norm="pre_fc_norm_hidden",
    projection="fc",
    final_norm="norm",
    layer="layers.{j}.",
)
DEEPSEEK_PARTS = Parts(
    embedding_norm="enorm",
    hidden_norm="hnorm",
    projection="eh_proj",
    final_norm="shared_head.norm",
    layer="",
    embedding="embed_tokens",
    lm_head="shared_head.head",
)
DEEPSEEK_SHELL: dict[str, object] = {
    "num_hidden_layers": 1,
    "first_k_dense_replace": 0,
    "moe_layer_freq": 1,
}
QWEN_SHELL: dict[str, object] = {
    "num_hidden_layers": 1,
    "full_attention_interval": 1,
    "mlp_only_layers": [],
    "decoder_sparse_step": 1,
}
