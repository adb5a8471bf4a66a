"""A head's tensors on the disk to a head that runs, or the sentence that says why not.

Nothing is guessed and nothing is left out: every tensor of the head must be used, and every
weight of the head must be there, in its shape. mlx-lm's own `sanitize` brings the layers into
its layout, so a head is read as the trunk is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.utils import infer_quant_config

from engine.errors import HeadError
from engine.model.arrays import read_arrays, weights_of
from engine.model.heads.chain import ChainHead
from engine.model.heads.pair import PairHead
from engine.model.heads.shells import build_shell
from engine.model.norms import as_multiplied, is_gain
from engine.model.trunk import Trunk
from engine.verdict.contract import Contract
from engine.verdict.families import Family, Parts
from engine.verdict.head_files import HeadFiles

__all__ = ["load_head"]

_LAYERS = "layers"
_EXPERT = re.compile(r"(.*\.)experts\.(\d+)\.(.+)")


def load_head(
    files: HeadFiles, config: Mapping[str, object], contract: Contract, trunk: Trunk
) -> PairHead | ChainHead:
    """Return the head of a checkpoint, its weights not yet in memory.

    Args:
        files: where it lies.
        config: of the checkpoint.
        contract: what is declared beside the weights.
        trunk: it drafts for; not tapped here.

    Raises:
        HeadError: it can't be used; one sentence says why.
    """
    family = contract.applied_to(files.family)
    tensors = _read(files)
    if family.distinct_heads == 1:
        return _one(family, tensors, _Place(files, config, contract), trunk)
    numbered = _by_number(tensors)
    if sorted(numbered) != [str(index) for index in range(len(numbered))]:
        raise HeadError(f"its heads are numbered {_list(sorted(numbered))}")
    place = _Place(files, config, contract)
    return ChainHead([_one(family, numbered[key], place, trunk) for key in sorted(numbered)])


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a head was found, and what is declared of it."""

    files: HeadFiles
    config: Mapping[str, object]
    contract: Contract


def _by_number(tensors: Mapping[str, mx.array]) -> dict[str, dict[str, mx.array]]:
    """Return the tensors of each of several heads, whose names begin with its number."""
    heads: dict[str, dict[str, mx.array]] = {}
    for name, value in tensors.items():
        number, _, rest = name.partition(".")
        heads.setdefault(number, {})[rest] = value
    return heads


def _one(family: Family, tensors: dict[str, mx.array], place: _Place, trunk: Trunk) -> PairHead:
    if family.parts is None:
        raise HeadError(f"heads of the family {family.name} can't be built")
    shell = build_shell(family, place.config, tensors)
    width = int(trunk.embed(mx.array([0])).shape[-1])
    head = PairHead(shell, trunk, width, family)
    last = len(cast("list[nn.Module]", head.body[_LAYERS])) - 1
    parts = _numbered(family.parts, last)
    if family.norm == "one_plus":
        tensors = _with_gains(tensors, place.contract, parts, place.files)
    own = _take_own(tensors, parts, head)
    is_shifted = family.norm == "one_plus"
    layers = _Layers(parts.layer, last, is_shifted, parts.renamed)
    weights = own | _layer_weights(shell, head, layers, tensors)
    matrices = _own_matrices(trunk, weights)
    _fill(head, weights)
    _check_values(weights)
    head.keep_own(matrices)
    return head


def _read(files: HeadFiles) -> dict[str, mx.array]:
    opened: dict[Path, dict[str, mx.array]] = {}
    tensors = {}
    for name, place in files.tensors.items():
        if place.path not in opened:
            opened[place.path] = read_arrays(place.path)
        tensors[name] = opened[place.path][place.name]
    return tensors


def _numbered(parts: Parts, last: int) -> Parts:
    return replace(parts, final_norm=parts.final_norm.replace("{last}", str(last)))


def _with_gains(
    tensors: dict[str, mx.array], contract: Contract, parts: Parts, files: HeadFiles
) -> dict[str, mx.array]:
    gains = {name: value for name, value in tensors.items() if is_gain(name, value)}
    declared = files.own_contract.norm_encoding or contract.norm_encoding
    final_is_raw = None if files.is_apart else files.is_trunk_raw
    final = f"{parts.final_norm}.weight"
    return tensors | as_multiplied(gains, declared, final, final_is_raw=final_is_raw)


def _take_own(tensors: dict[str, mx.array], parts: Parts, head: PairHead) -> dict[str, mx.array]:
    """Take the head's own modules out of the tensors, by their names in `PairHead`."""
    names = {
        parts.embedding_norm: "embedding_norm",
        parts.hidden_norm: "hidden_norm",
        parts.projection: "projection",
        parts.final_norm: f"body.{head.final_norm_name}.norm",
        parts.embedding: "embedding",
        parts.lm_head: "lm_head",
    }
    own = {}
    for name in list(tensors):
        module, _, kind = name.rpartition(".")
        if module and module in names:
            own[f"{names[module]}.{kind}"] = tensors.pop(name)
    return own


@dataclass(frozen=True, slots=True)
class _Layers:
    """How the tensors of a head's layers are named."""

    prefix: str
    """Of layer {j}."""
    last: int
    keeps_gains: bool
    """Whether gains were brought over already, so that mlx-lm must not shift them again."""
    renamed: Mapping[str, str]
    """Names in mlx-lm's layer that its own `sanitize` doesn't bring about."""

    def name(self, name: str) -> str:
        """Return a tensor's name among the layers; what belongs to none keeps its own."""
        for index in range(self.last + 1):
            prefix = self.prefix.replace("{j}", str(index))
            if name.startswith(prefix):
                rest = name.removeprefix(prefix)
                return f"{_LAYERS}.{index}.{self.renamed.get(rest, rest)}"
        return name


def _layer_weights(
    shell: nn.Module, head: PairHead, layers: _Layers, tensors: Mapping[str, mx.array]
) -> dict[str, mx.array]:
    """Return the layers' weights in mlx-lm's layout, by their names in `PairHead`."""
    path = _path(shell, head.body)
    gains = {k: v for k, v in tensors.items() if layers.keeps_gains and is_gain(k, v)}
    rest = {name: value for name, value in tensors.items() if name not in gains}
    named = {f"{path}{layers.name(name)}": value for name, value in rest.items()}
    sanitize = getattr(shell, "sanitize", None)
    try:
        found = named if sanitize is None else sanitize(named)
    except Exception as error:  # mlx-lm's model classes raise whatever their code runs into
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise HeadError(f"its head's layers are in a layout not known here: {reason}") from error
    kept = {name.removeprefix(path): value for name, value in _stacked(found).items()}
    kept |= {layers.name(name): value for name, value in gains.items()}
    return {f"body.{name}": value for name, value in kept.items()}


def _stacked(weights: Mapping[str, mx.array]) -> dict[str, mx.array]:
    """Stack experts that mlx-lm left one by one, as it has them in its layers."""
    experts: dict[str, dict[int, mx.array]] = {}
    rest = {}
    for name, value in weights.items():
        match = _EXPERT.fullmatch(name)
        if match:
            experts.setdefault(f"{match[1]}switch_mlp.{match[3]}", {})[int(match[2])] = value
        else:
            rest[name] = value
    stacks = {name: [each[index] for index in sorted(each)] for name, each in experts.items()}
    return rest | {
        name: mx.stack(each)
        for name, each in stacks.items()
        if len({one.shape for one in each}) == 1
    }


def _path(shell: nn.Module, body: nn.Module) -> str:
    for name, module in shell.named_modules():
        if module is body:
            return f"{name}." if name else ""
    raise HeadError("its head's layers were not found in mlx-lm's model")


def _own_matrices(trunk: Trunk, weights: dict[str, mx.array]) -> dict[str, nn.Module]:
    """Take the head's own embedding and LM head out; keep only what is no copy of the trunk's."""
    kept = {}
    for name, theirs in (("embedding", trunk.embedding), ("lm_head", trunk.lm_head)):
        own = {
            key.removeprefix(f"{name}."): weights.pop(key)
            for key in [key for key in weights if key.startswith(f"{name}.")]
        }
        if own and not _is_copy(own, theirs):
            kept[name] = _own_module(own, theirs)
    return kept


def _is_copy(own: Mapping[str, mx.array], theirs: nn.Module) -> bool:
    """Return whether the trunk's module holds the same values; it may hold them packed."""
    weight = own.get("weight")
    if weight is None:
        raise HeadError("a copy of the trunk's embedding or LM head has no weight")
    mine: Mapping[str, mx.array] = own
    if "scales" in theirs and "scales" not in own:
        packed = mx.quantize(
            weight.astype(theirs["scales"].dtype), theirs.group_size, theirs.bits, theirs.mode
        )
        mine = dict(zip(("weight", "scales", "biases"), packed, strict=False))
    return all(
        key in mine
        and mine[key].shape == value.shape
        and bool(mx.array_equal(mine[key].astype(value.dtype), value).item())
        for key, value in theirs.parameters().items()
    )


def _own_module(own: dict[str, mx.array], theirs: nn.Module) -> nn.Module:
    rows, width = theirs.weight.shape
    if "scales" in theirs:
        width = width * 32 // theirs.bits
    module: nn.Module = (
        nn.Embedding(rows, width)
        if isinstance(theirs, (nn.Embedding, nn.QuantizedEmbedding))
        else nn.Linear(width, rows, bias=False)
    )
    _fill(module, own)
    return module


def _fill(module: nn.Module, weights: dict[str, mx.array]) -> None:
    """Load weights that must fit exactly; packed ones bring their own group size and bits.

    Raises:
        HeadError: one is missing, too many, of another shape, or all zero.
    """

    def packing(path: str, part: nn.Module) -> bool | dict[str, Any]:
        if not hasattr(part, "to_quantized") or f"{path}.scales" not in weights:
            return False
        return infer_quant_config(path, part, weights)

    try:
        nn.quantize(module, class_predicate=packing)
    except ValueError as error:
        raise HeadError(f"its head is quantised in a way not known here: {error}") from error
    wanted = dict(weights_of(module))
    _check_names(wanted, weights)
    for name, value in weights.items():
        if wanted[name].shape != value.shape:
            shapes = f"{list(value.shape)}, not {list(wanted[name].shape)}"
            raise HeadError(f"{_shown(name)} of its head has the shape {shapes}")
    module.load_weights(list(weights.items()), strict=False)
    module.eval()


def _check_values(weights: Mapping[str, mx.array]) -> None:
    """Raise HeadError where a conversion left a matrix or a gain of zeros, or what is no number.

    The least and the largest value tell: what is no number is both, and no copy is made.
    """
    for name, value in weights.items():
        is_packed = f"{name.removesuffix('.weight')}.scales" in weights
        if is_packed and name.endswith(".weight"):
            continue
        ends = mx.stack([mx.min(value), mx.max(value)]).astype(mx.float32)
        if not mx.isfinite(ends).all().item():
            raise HeadError(f"{_shown(name)} of its head holds what is no number")
        if (value.ndim > 1 or is_gain(name, value)) and not mx.any(ends).item():
            raise HeadError(f"{_shown(name)} of its head is all zeros")


def _check_names(wanted: Mapping[str, mx.array], weights: Mapping[str, mx.array]) -> None:
    missing, surplus = sorted(set(wanted) - set(weights)), sorted(set(weights) - set(wanted))
    if missing:
        raise HeadError(f"its head is incomplete: {_list(missing)} missing")
    if surplus:
        raise HeadError(f"its head has tensors that are not known here: {_list(surplus)}")


def _list(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(_shown(name) for name in names[:3]) + more


def _shown(name: str) -> str:
    return name.removeprefix("body.")[:120]
