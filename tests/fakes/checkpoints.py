"""Tiny random-weight checkpoints of every family, heads and all, as real files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from engine.verdict.contract import CONTRACT_FILE
from tests.fakes import families, tiny

Weights = dict[str, mx.array]

WIDTH = 32
DONORS: dict[str, tuple[int, ...]] = {
    "qwen3_5": (3,),
    "qwen3_5_moe": (3,),
    "qwen3_next": (3,),
    "deepseek_v3": (1,),
    "deepseek_v32": (1,),
    "glm_moe_dsa": (1,),
    "glm4_moe_lite": (1,),
    "glm4_moe": (1,),
    "mimo": (1,),
    "nemotron_h": (2, 1),
    "ernie4_5_moe": (0,),
    "exaone_moe": (1,),
    "bailing_hybrid": (3,),
    "bailing_moe_v3": (3,),
    "kimi_k3": (2,),
    "mimo_v2_flash": (1,),
}
"""Layers of the tiny trunk that are of the kind that the family's head has."""

_QWEN = {
    "embedding_norm": "mtp.pre_fc_norm_embedding",
    "hidden_norm": "mtp.pre_fc_norm_hidden",
    "projection": "mtp.fc",
    "final_norm": "mtp.norm",
    "layers": "mtp.layers.{j}.",
}
_APPENDED = {
    "embedding_norm": "model.layers.{N}.enorm",
    "hidden_norm": "model.layers.{N}.hnorm",
    "projection": "model.layers.{N}.eh_proj",
    "final_norm": "model.layers.{N}.shared_head.norm",
    "layers": "model.layers.{N}.",
    "embedding": "model.layers.{N}.embed_tokens",
    "lm_head": "model.layers.{N}.shared_head.head",
}
_BAILING = {
    "embedding_norm": "model.layers.{N}.enorm",
    "hidden_norm": "model.layers.{N}.hnorm",
    "projection": "model.layers.{N}.eh_proj",
    "final_norm": "model.layers.{N}.final_layernorm",
    "layers": "model.layers.{N}.",
}
NAMES: dict[str, dict[str, str]] = {
    "qwen3_5": _QWEN,
    "qwen3_5_moe": _QWEN,
    "qwen3_next": _QWEN,
    "exaone_moe": _QWEN,
    "deepseek_v3": _APPENDED,
    "deepseek_v32": _APPENDED,
    "glm_moe_dsa": _APPENDED,
    "glm4_moe_lite": _APPENDED,
    "glm4_moe": _APPENDED,
    "kimi_k3": {k: f"language_model.{v}" for k, v in _APPENDED.items()},
    "bailing_hybrid": _BAILING,
    "bailing_moe_v3": _BAILING,
    "mimo": {
        "embedding_norm": "model.mtp_layers.0.token_layernorm",
        "hidden_norm": "model.mtp_layers.0.hidden_layernorm",
        "projection": "model.mtp_layers.0.input_proj",
        "final_norm": "model.mtp_layers.0.final_layernorm",
        "layers": "model.mtp_layers.0.",
    },
    "nemotron_h": {
        "embedding_norm": "mtp.layers.0.enorm",
        "hidden_norm": "mtp.layers.0.hnorm",
        "projection": "mtp.layers.0.eh_proj",
        "final_norm": "mtp.layers.1.final_layernorm",
        "layers": "mtp.layers.{j}.",
    },
    "mimo_v2_flash": {
        "embedding_norm": "model.mtp.layers.{h}.enorm",
        "hidden_norm": "model.mtp.layers.{h}.hnorm",
        "projection": "model.mtp.layers.{h}.eh_proj",
        "final_norm": "model.mtp.layers.{h}.final_layernorm",
        "layers": "model.mtp.layers.{h}.",
    },
    "ernie4_5_moe": {
        "embedding_norm": "model.mtp_emb_norm.0",
        "hidden_norm": "model.mtp_hidden_norm.0",
        "projection": "model.mtp_linear_proj.0",
        "layers": "model.mtp_block.{j}.",
    },
}
"""Published names of a head's parts; {N} is the trunk's number of layers, {j} a head's layer,
{h} the number of one of several heads."""
RENAMED = {
    "mimo_v2_flash": {"post_attention_layernorm.weight": "pre_mlp_layernorm.weight"},
}
"""Tensors of a layer that are published under another name than mlx-lm's."""
DISTINCT = {"mimo_v2_flash": 3}
"""How many heads there are where each depth has its own."""


def trunk_weights(model: nn.Module) -> Weights:
    """Return a model's weights by name."""
    return dict(cast("list[tuple[str, mx.array]]", tree_flatten(model.parameters())))


def read(path: Path) -> Weights:
    """Return the arrays of a safetensors file."""
    return cast("Weights", mx.load(str(path)))


def head_weights(name: str, model: nn.Module, settings: dict[str, Any]) -> Weights:
    """Return heads with random weights, by the family's published names."""
    weights: Weights = {}
    for number in range(DISTINCT.get(name, 1)):
        weights |= _head_weights(name, model, settings, number)
    return weights


def _head_weights(name: str, model: nn.Module, settings: dict[str, Any], number: int) -> Weights:
    keys = iter(mx.random.split(mx.random.key(77 + number), 512))
    count = {**settings, **settings.get("text_config", {})}["num_hidden_layers"]
    names = {
        role: text.replace("{N}", str(count)).replace("{h}", str(number))
        for role, text in NAMES[name].items()
    }

    def noise(shape: tuple[int, ...]) -> mx.array:
        random = mx.random.normal(shape, key=next(keys))
        return 0.2 * random if len(shape) > 1 else 1 + 0.1 * random

    weights = {
        f"{names[role]}.weight": noise((WIDTH,))
        for role in ("embedding_norm", "hidden_norm", "final_norm")
        if role in names
    }
    weights[f"{names['projection']}.weight"] = noise((WIDTH, 2 * WIDTH))
    layers = cast("list[nn.Module]", cast("Any", model).layers)
    for index, donor in enumerate(DONORS[name]):
        for part, value in trunk_weights(layers[donor]).items():
            if "_res_" not in part:
                inner = RENAMED.get(name, {}).get(part, part)
                weights[names["layers"].replace("{j}", str(index)) + inner] = noise(value.shape)
    for role in ("embedding", "lm_head"):
        if role in names:
            weights[f"{names[role]}.weight"] = noise((families.VOCABULARY, WIDTH))
    return weights


def write(
    folder: Path,
    name: str,
    *,
    head: str | None = "model.safetensors",
    edit: Callable[[Weights], Weights] = lambda weights: weights,
    contract: dict[str, Any] | None = None,
    **config: Any,
) -> Path:
    """Write a checkpoint with a head into a folder.

    Args:
        folder: made if need be.
        name: of the family's trunk, as in `families.CONFIGS`.
        head: file that holds the head; None leaves it out.
        edit: changes the head's weights before they are written.
        contract: what is declared; by default that norms are stored as they multiply.
        config: changes to config.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = {**families.config(name), **config}
    model = families.build(settings)
    files: dict[str, Weights] = {"model.safetensors": trunk_weights(model)}
    if head is not None:
        weights = edit(head_weights(name, model, settings))
        files[head] = {**files.get(head, {}), **weights}
    for path, weights in files.items():
        (folder / path).parent.mkdir(exist_ok=True)
        mx.save_safetensors(str(folder / path), weights, metadata={"format": "mlx"})
    (folder / "config.json").write_text(json.dumps(settings), "utf-8")
    declared = {"norm_encoding": "plain"} if contract is None else contract
    if declared:
        (folder / CONTRACT_FILE).write_text(json.dumps(declared), "utf-8")
    tiny.write_tokenizer(folder)
    return folder
