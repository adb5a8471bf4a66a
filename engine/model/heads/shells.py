"""mlx-lm's model of the trunk's class with a head's layers alone: where its layers come from.

The trunk's config with a few changes makes it. Most families say theirs in the table; for some
the checkpoint itself has to be asked, or a layer that mlx-lm insists on taken out again.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.utils import _get_classes

from engine.errors import HeadError
from engine.model.trunk import body_of
from engine.verdict.families import Family, sublayers

__all__ = ["build_shell"]

Config = Mapping[str, Any]
Tensors = Mapping[str, mx.array]


def build_shell(family: Family, config: Mapping[str, object], tensors: Tensors) -> nn.Module:
    """Let mlx-lm build a model with a head's layers alone; its weights mean nothing.

    Args:
        family: of the head.
        config: of the checkpoint.
        tensors: of the head, by their names in the family.

    Raises:
        HeadError: mlx-lm can't build it.
    """
    settings = cast("dict[str, Any]", copy.deepcopy(dict(config)))
    level = settings["text_config"] if isinstance(settings.get("text_config"), dict) else settings
    ask = _ASKED.get(family.name)
    changes = {**family.shell, **(ask(level, tensors) if ask else {})}
    for key, value in changes.items():
        old = level.get(key)
        is_part = isinstance(old, dict) and isinstance(value, dict)
        level[key] = {**old, **value} if is_part else value
    level["vocab_size"] = 1
    try:
        model_class, args_class = _get_classes(settings)
        shell = cast("nn.Module", model_class(args_class.from_dict(settings)))
    except Exception as error:  # mlx-lm's model classes raise whatever their code runs into
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise HeadError(f"its head's layers can't be built: {reason}") from error
    if family.name in _MENDED:
        _MENDED[family.name](body_of(shell))
    return shell


def _nemotron_h(level: Config, _: Tensors) -> dict[str, Any]:
    pattern = sublayers(level)
    key = "hybrid_override_pattern" if isinstance(pattern, str) else "layers_block_type"
    nothing: dict[str, Any] = {"hybrid_override_pattern": None, "layer_types": None}
    return {**nothing, key: pattern, "num_hidden_layers": len(pattern)}


def _exaone_moe(_: Config, tensors: Tensors) -> dict[str, Any]:
    return {"is_moe_layer": [any(".gate." in name for name in tensors)]}


def _mimo_v2(_: Config, tensors: Tensors) -> dict[str, Any]:
    return {"add_swa_attention_sink_bias": any("sink" in name for name in tensors)}


def _drop_full_attention(body: nn.Module) -> None:
    """Leave MiMo-V2's sliding layer alone; mlx-lm builds no model without one that is full."""
    body["layers"] = cast("list[nn.Module]", body["layers"])[:1]
    body.ga_idx = 0


_ASKED: dict[str, Callable[[Config, Tensors], dict[str, Any]]] = {
    "exaone_moe": _exaone_moe,
    "mimo_v2": _mimo_v2,
    "nemotron_h": _nemotron_h,
}
"""What a checkpoint says of its head's layers, by family."""
_MENDED: dict[str, Callable[[nn.Module], None]] = {"mimo_v2": _drop_full_attention}
