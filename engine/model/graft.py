"""A head of the original release made fit for a converted trunk that lost its own.

The head is read as any other, against the trunk it is to draft for, so what fits here drafts there.
It is written as a sidecar in mlx-lm's layout, with gains as they multiply, and says where it is from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import mlx.core as mx
import mlx.nn as nn

from engine.errors import HeadError, ModelError
from engine.made_files import clear_unfinished, made_whole
from engine.model.arrays import weights_of
from engine.model.heads.chain import ChainHead
from engine.model.heads.load import load_head
from engine.model.heads.pair import PairHead
from engine.model.load import build_trunk
from engine.model.trunk import Trunk
from engine.verdict.checkpoint import check_folder
from engine.verdict.families import Family
from engine.verdict.graft_source import GraftSource
from engine.verdict.head_files import HeadFiles

__all__ = ["Packing", "graft"]

Packing = tuple[int, int]
"""Bits and group size."""


def graft(source: GraftSource, trunk: Path, target: Path, packing: Packing | None) -> int:
    """Write a sidecar for a trunk, whole or not at all; return its bytes.

    Args:
        source: the head, its config compared with the trunk's.
        trunk: folder of the converted trunk.
        target: the sidecar; its folder is there.
        packing: to quantise by; None keeps the values as they are.

    Raises:
        ModelError: the head doesn't fit, or can't be read.
        OSError: the sidecar can't be written.
    """
    facts = check_folder(trunk)
    model = Trunk(build_trunk(trunk, facts))
    head = load_head(source.head, facts.config, source.contract, model)
    heads = head.heads if isinstance(head, ChainHead) else [head]
    weights: dict[str, mx.array] = {}
    for number, one in enumerate(heads):
        if packing is not None:
            _quantise(one, packing)
        front = f"{number}." if isinstance(head, ChainHead) else ""
        weights |= {f"{front}{k}": v for k, v in _published(one, source.head.family).items()}
    metadata = {
        "format": "mlx",
        **source.contract.told(),
        "norm_encoding": "plain",
        "family": source.head.family.name,
        "source": source.name,
        "source_sha256": _digest(source.head),
        "quantization": "none" if packing is None else f"{packing[0]}-bit, group {packing[1]}",
    }
    return _write(target, weights, metadata)


def _quantise(head: PairHead, packing: Packing) -> None:
    bits, group = packing

    def is_packed(path: str, module: nn.Module) -> bool:
        is_router = path.endswith((".gate", ".shared_expert_gate"))
        return (
            hasattr(module, "to_quantized")
            and not is_router
            and module["weight"].shape[-1] % group == 0
        )

    nn.quantize(head, group_size=group, bits=bits, class_predicate=is_packed)


def _published(head: PairHead, family: Family) -> dict[str, mx.array]:
    """Return a head's weights by the names of its family."""
    parts = family.parts
    if parts is None:
        raise HeadError(f"heads of the family {family.name} can't be written")
    last = len(cast("list[nn.Module]", head.body["layers"])) - 1
    modules = {
        "embedding_norm.": parts.embedding_norm,
        "hidden_norm.": parts.hidden_norm,
        "projection.": parts.projection,
        f"body.{head.final_norm_name}.norm.": parts.final_norm.replace("{last}", str(last)),
        "embedding.": parts.embedding,
        "lm_head.": parts.lm_head,
    }
    back = {theirs: ours for ours, theirs in parts.renamed.items()}
    found = {}
    leaves = weights_of(head)
    for name, value in leaves:
        front = next((own for own in modules if name.startswith(own)), None)
        if front is not None:
            found[f"{modules[front]}.{name.removeprefix(front)}"] = value
            continue
        index, _, rest = name.removeprefix("body.layers.").partition(".")
        found[parts.layer.replace("{j}", index) + back.get(rest, rest)] = value
    return found


def _digest(head: HeadFiles) -> str:
    """Return a hash of the head as it was released."""
    digest = hashlib.sha256()
    for name in sorted(head.tensors):
        digest.update(name.encode())
        digest.update(head.tensors[name].read())
    return digest.hexdigest()


def _write(target: Path, weights: Mapping[str, mx.array], metadata: Mapping[str, str]) -> int:
    clear_unfinished(target.parent, target.name)
    try:
        with made_whole(target) as fresh:
            mx.save_safetensors(str(fresh), dict(weights), metadata=dict(metadata))
    except RuntimeError as error:
        raise ModelError(f"{target} can't be written: {error}") from error
    return target.stat().st_size
