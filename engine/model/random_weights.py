"""A model of a real shape, and a head of its family, with random weights made on the device.

The numbers keep what runs through them in range and mean nothing else: packed words are uniform, with a
scale that makes a matrix's outputs about as large as its inputs; gains are near one. mlx-lm's own
classes are built as from a checkpoint, and packed as its conversion packs them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.utils import _get_classes

from engine.errors import ModelError
from engine.model.arrays import weights_of
from engine.model.heads.pair import PairHead
from engine.model.heads.shells import build_shell
from engine.model.trunk import Trunk
from engine.verdict.family_table import family_of

__all__ = ["fill", "unfilled_head", "unfilled_model", "weights"]

Config = Mapping[str, Any]
_PIECE = 1 << 24
"""Packed words made at a time: their random numbers take some times the words' own memory."""


def unfilled_model(config: Config, dtype: mx.Dtype) -> nn.Module:
    """Return mlx-lm's model of a config; its weights are neither in memory nor meant to be read.

    Args:
        config: of a checkpoint, with its `quantization`.
        dtype: of all that is not packed.
    """
    model_class, args_class = _get_classes(dict(config))
    settings = copy.deepcopy(dict(config))  # mlx-lm's arguments change what they are given
    model = cast("nn.Module", model_class(args_class.from_dict(settings)))
    return _packed(model, model, config, dtype)


def unfilled_head(config: Config, trunk: Trunk, dtype: mx.Dtype) -> PairHead:
    """Return a head of the config's family for a trunk, and tap the trunk as the family wants it.

    Args:
        config: of the trunk's checkpoint.
        trunk: it drafts for.
        dtype: of all that is not packed.

    Raises:
        ModelError: no head of such a model is known.
    """
    family = family_of(config)
    if family is None:
        raise ModelError(f"no family has heads for {config.get('model_type')}")
    shell = build_shell(family, config, {})
    head = PairHead(shell, trunk, int(config["text_config"]["hidden_size"]), family)
    trunk.tap(family.hidden)
    return cast("PairHead", _packed(head, shell, config, dtype))


def _packed(module: nn.Module, model: nn.Module, config: Config, dtype: mx.Dtype) -> nn.Module:
    """Pack a module's matrices as mlx-lm's conversion packs those of a model of that class."""
    group, bits = config["quantization"]["group_size"], config["quantization"]["bits"]
    special = getattr(model, "quant_predicate", None)

    def packing(path: str, part: nn.Module) -> bool | dict[str, Any]:
        if not hasattr(part, "to_quantized") or part.weight.shape[-1] % group:
            return False
        return True if special is None else special(path, part)

    module.set_dtype(dtype)
    nn.quantize(module, group, bits, class_predicate=packing)
    module.eval()
    return module


def fill(module: nn.Module, seed: int) -> None:
    """Give a model or head its random weights, one after the other, in memory.

    Args:
        module: its arrays need not be in memory; they say shapes and types. Changed in place.
        seed: the same one gives the same weights.
    """
    for name, value in weights(module, seed):
        module.load_weights([(name, value)], strict=False)
    mx.clear_cache()


def weights(module: nn.Module, seed: int) -> Iterator[tuple[str, mx.array]]:
    """Yield random weights for a model or head by their names, each in memory; see `fill`."""
    parts = dict(module.named_modules())
    leaves = weights_of(module)
    shapes = [(name, leaf.shape, leaf.dtype) for name, leaf in leaves]
    del leaves  # what is replaced is let go of at once
    for index, (name, shape, dtype) in enumerate(shapes):
        key = mx.random.key(seed * len(shapes) + index)
        value = _packed_values(name, shape, dtype, parts[name.rpartition(".")[0]], key)
        if value is None:
            value = _plain_values(name, shape, dtype, key)
        mx.eval(value)
        yield name, value


def _packed_values(
    name: str, shape: tuple[int, ...], dtype: mx.Dtype, part: nn.Module, key: mx.array
) -> mx.array | None:
    """Return words, scales or biases of a packed matrix; None for what is none of them."""
    if "scales" not in part:
        return None
    if dtype == mx.uint32:
        return _words(shape, key)
    most = 2 ** int(part.bits) - 1
    deviation = math.sqrt(most * (most + 2) / 12)
    step = 1 / (deviation * math.sqrt(shape[-1] * int(part.group_size)))
    return mx.full(shape, step if name.endswith(".scales") else -step * most / 2, dtype)


def _words(shape: tuple[int, ...], key: mx.array) -> mx.array:
    """Return uniform uint32 words; made in halves, since MLX's integers have 24 random bits."""
    rows, width = math.prod(shape[:-1]), shape[-1]
    at_once = max(1, _PIECE // width)
    begins = range(0, rows, at_once)
    pieces = []
    for begin, piece_key in zip(begins, mx.random.split(key, len(begins)), strict=True):
        size = (min(at_once, rows - begin), 2 * width)
        halves = mx.random.randint(0, 1 << 16, size, mx.uint16, key=piece_key)
        pieces.append(halves.view(mx.uint32))
        mx.eval(pieces[-1])
    return mx.concatenate(pieces).reshape(shape)


def _plain_values(name: str, shape: tuple[int, ...], dtype: mx.Dtype, key: mx.array) -> mx.array:
    if name.endswith("A_log"):
        return mx.log(mx.random.uniform(0.5, 8, shape, key=key))
    if "norm" in name:
        return (1 + 0.05 * mx.random.normal(shape, key=key)).astype(dtype)
    return (0.3 * mx.random.normal(shape, key=key)).astype(dtype)
