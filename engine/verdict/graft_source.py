"""A head to be grafted: found in what is there of a release, compared with the trunk it is for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from engine.errors import HeadError, ModelFileError
from engine.verdict.checkpoint import MAX_CONFIG, read_config
from engine.verdict.contract import CONTRACT_FILE, Contract, read_contract
from engine.verdict.families import HEAD_MARKERS, levels
from engine.verdict.family_table import family_of
from engine.verdict.head_files import SIDECARS, HeadFiles, find_head
from engine.verdict.headers import check_safetensors

__all__ = ["GraftSource", "check_same_trunk", "differences", "find_graft_source"]

_FREE = (
    "architectures", "attention_dropout", "bos_token_id", "dtype", "eos_token_id", "initializer_range",
    "model_type", "pad_token_id", "quantization", "quantization_config", "text_config", "torch_dtype",
    "transformers_version", "use_cache", "vision_config",
    *HEAD_MARKERS.config_keys,
)  # fmt: skip
"""Keys of a config that say nothing of a head's shape or meaning."""


@dataclass(frozen=True, slots=True)
class GraftSource:
    """See the module."""

    name: str
    """As a person named it."""
    head: HeadFiles
    contract: Contract
    """What is declared beside it."""


def find_graft_source(name: str, folder: Path, trunk: Mapping[str, object]) -> GraftSource:
    """Return the head in a folder; of its weights only the files with the head need be there.

    Args:
        name: as a person named it.
        folder: with a config.json and safetensors.
        trunk: config of the trunk that the head is for.

    Raises:
        ModelFileError: a file is missing or malformed.
        HeadError: it holds no head that can run here, or one for another trunk.
    """
    config = read_config(_small(folder, "config.json"), str(folder))
    check_same_trunk(trunk, config)
    own = [folder / name for name in SIDECARS if (folder / name).is_file()]
    found = sorted(folder.glob("*.safetensors"))
    headers = {path: check_safetensors(path) for path in found if path not in own}
    head = find_head(
        family_of(config), config, headers, {path: check_safetensors(path) for path in own}
    )
    names = [tensor.name for header in headers.values() for tensor in header.tensors]
    if not any(name.endswith("conv1d.weight") for name in names):
        # Without the trunk's convolutions nothing tells of the trunk; the head speaks for itself.
        head = replace(head, location=head.location if head.is_apart else "a release")
    declared = (folder / CONTRACT_FILE).exists()
    contract = read_contract(json.loads(_small(folder, CONTRACT_FILE))) if declared else Contract()
    return GraftSource(name, head, head.fed_as(contract))


def check_same_trunk(trunk: Mapping[str, object], head: Mapping[str, object]) -> None:
    """Raise HeadError, with the list, where configs of a trunk and of a head's release differ."""
    different = differences(trunk, head)
    if different:
        raise HeadError(
            f"the head is for another trunk: {'; '.join(different)}",
            "take it from the release that the trunk was made from",
        )


def differences(trunk: Mapping[str, object], head: Mapping[str, object]) -> list[str]:
    """Return in what the configs of a trunk and of a head's release differ, where it counts."""
    found = []
    ours, theirs = family_of(trunk), family_of(head)
    if ours is not theirs:
        names = [str(config.get("model_type"))[:40] for config in (head, trunk)]
        found.append(f"model_type is {names[0]}, not {names[1]}")
    mine, others = _merged(trunk), _merged(head)
    return found + [
        f"{key} is {str(others[key])[:40]}, not {str(mine[key])[:40]}"
        for key in sorted(mine.keys() & others.keys())
        if key not in _FREE and mine[key] != others[key]
    ]


def _merged(config: Mapping[str, object]) -> dict[str, object]:
    return {key: value for level in levels(config) for key, value in level.items()}


def _small(folder: Path, name: str) -> bytes:
    try:
        with (folder / name).open("rb") as file:
            return file.read(MAX_CONFIG + 1)[:MAX_CONFIG]
    except OSError as error:
        raise ModelFileError(f"{folder / name} can't be read: {error.strerror}") from error
