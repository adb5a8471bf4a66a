"""Facts of a checkpoint folder: config and tensor headers, checked before anything is loaded."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from engine.errors import HeadError, ModelFileError
from engine.verdict.bounded_json import check_cost
from engine.verdict.contract import CONTRACT_FILE, Contract, read_contract
from engine.verdict.family_table import family_of
from engine.verdict.head_files import SIDECARS, HeadFiles, find_head, head_names
from engine.verdict.headers import SafetensorsHeader, check_safetensors

__all__ = [
    "DEMO_HEAD",
    "MAX_CONFIG",
    "MAX_INDEX",
    "CheckpointFacts",
    "check_folder",
    "read_config",
    "read_index",
    "read_json_object",
]

DEMO_HEAD = Path(__file__).parents[1] / "data" / "demo" / "mtp.safetensors"
"""The head that comes with the engine."""
MAX_CONFIG = 2**20
MAX_INDEX = 64 * 2**20
_MAX_NESTING = 64
_MAX_PARTS = 5_000_000
_MAX_SHARDS = 4096
_INDEX = "model.safetensors.index.json"
_SHARD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}\.safetensors")
_RANGES = {
    "num_hidden_layers": 1024,
    "vocab_size": 2**21,
    "hidden_size": 2**20,
    "intermediate_size": 2**22,
    "num_attention_heads": 2**14,
    "num_key_value_heads": 2**14,
    "max_position_embeddings": 2**31 - 1,
}
"""Largest believable value of each number that sizes something."""


@dataclass(frozen=True, slots=True)
class CheckpointFacts:
    """What the files of a checkpoint folder say."""

    config: dict[str, object]
    model_type: str
    weights_bytes: int
    head: HeadFiles | None
    """Where its MTP head lies, if it has one of a family that runs here."""
    head_note: str
    """Why it has none; empty where it has one."""
    head_names: frozenset[str]
    """Of the tensors, those that are a head's, whether it can run or not."""
    contract: Contract
    """What is declared of its head beside the weights."""


def check_folder(path: Path) -> CheckpointFacts:
    """Return the facts of a folder with an mlx-lm checkpoint.

    Every file mlx-lm would open is checked, and none may lie outside the folder, but for the
    blobs of the hub's cache that a snapshot links to.

    Raises:
        ModelFileError: a file is missing, malformed, or links to somewhere else.
    """
    config = _config(path)
    headers = {shard: check_safetensors(shard) for shard in _shards(path)}
    _check_names(path, headers)
    size = sum(shard.stat().st_size - header.data_start for shard, header in headers.items())
    sidecars = _sidecars(path)
    head, note, contract = _head(path, config, headers, sidecars)
    return CheckpointFacts(
        config=config,
        model_type=str(config["model_type"]),
        weights_bytes=size,
        head=head,
        head_note=note,
        head_names=head_names(family_of(config), config, headers, sidecars),
        contract=contract,
    )


def _check_names(folder: Path, headers: dict[Path, SafetensorsHeader]) -> None:
    """Raises ModelFileError where two files have a tensor of one name."""
    names: set[str] = set()
    for header in headers.values():
        found = {tensor.name for tensor in header.tensors}
        if names & found:
            raise ModelFileError(f"tensor {min(names & found)} is in two files of {folder}")
        names |= found


def _sidecars(folder: Path) -> dict[Path, SafetensorsHeader]:
    """Return the headers of files that hold a head apart from the model."""
    found = [folder / name for name in SIDECARS if (folder / name).exists()]
    for path in found:
        _check_place(folder, path)
    return {path: check_safetensors(path) for path in found}


def _head(
    folder: Path,
    config: dict[str, object],
    headers: dict[Path, SafetensorsHeader],
    sidecars: dict[Path, SafetensorsHeader],
) -> tuple[HeadFiles | None, str, Contract]:
    try:
        head = find_head(family_of(config), config, headers, sidecars)
        return head, "", head.fed_as(_contract(folder))
    except HeadError as error:
        return None, error.message, Contract()


def _contract(folder: Path) -> Contract:
    if not (folder / CONTRACT_FILE).exists():
        return Contract()
    return read_contract(_read_json(folder, CONTRACT_FILE, MAX_CONFIG))


def read_config(raw: bytes, place: str) -> dict[str, object]:
    """Return a config.json whose numbers can be believed.

    Args:
        raw: the file, at most MAX_CONFIG bytes.
        place: the folder or repository it is of, for messages.

    Raises:
        ModelFileError: it is malformed.
    """
    return _checked_config(read_json_object(raw, "config.json", place), place)


def read_index(raw: bytes, place: str) -> dict[str, str]:
    """Return the file of each tensor from a model.safetensors.index.json.

    Args:
        raw: the file, at most MAX_INDEX bytes.
        place: the folder or repository it is of, for messages.

    Raises:
        ModelFileError: it is malformed.
    """
    return _weight_map(read_json_object(raw, _INDEX, place), place)


def _config(folder: Path) -> dict[str, object]:
    return _checked_config(_read_json(folder, "config.json", MAX_CONFIG), str(folder))


def _checked_config(config: dict[str, object], place: str) -> dict[str, object]:
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", model_type):
        raise ModelFileError(f"config.json of {place} names no model_type")
    inner = config.get("text_config")
    for level in (config, inner if isinstance(inner, dict) else {}):
        for key, limit in _RANGES.items():
            value = level.get(key)
            if isinstance(value, int) and not 0 < value <= limit:
                raise ModelFileError(f"config.json of {place}: {key} can't be {value:.6g}")
    return config


def _shards(folder: Path) -> list[Path]:
    """Return all weight files that mlx-lm would open; those an index names must be there."""
    found = sorted(folder.glob("model*.safetensors"))
    if (folder / _INDEX).exists():
        for name in sorted(_indexed(folder)):
            if not (folder / name).exists():
                raise ModelFileError(
                    f"{name} is missing from {folder}", "finish its download, then try again"
                )
            if folder / name not in found:
                found.append(folder / name)
    if not found:
        raise ModelFileError(f"{folder} holds no model*.safetensors", "is it an MLX model?")
    if len(found) > _MAX_SHARDS:
        raise ModelFileError(f"{folder} holds {len(found)} weight files")
    for shard in found:
        _check_place(folder, shard)
    return found


def _indexed(folder: Path) -> set[str]:
    return set(_weight_map(_read_json(folder, _INDEX, MAX_INDEX), str(folder)).values())


def _weight_map(index: dict[str, object], place: str) -> dict[str, str]:
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelFileError(f"{_INDEX} of {place} has no weight_map")
    for name in weight_map.values():
        if not isinstance(name, str) or not _SHARD_NAME.fullmatch(name):
            raise ModelFileError(f"{_INDEX} of {place} names the file {name!r:.80}")
    return weight_map


def _read_json(folder: Path, name: str, limit: int) -> dict[str, object]:
    path = folder / name
    if not path.is_file():
        raise ModelFileError(f"there is no {name} in {folder}", "is it a model folder?")
    _check_place(folder, path)
    try:
        with path.open("rb") as file:
            raw = file.read(limit + 1)
        if len(raw) > limit:
            raise ModelFileError(f"{name} of {folder} is larger than {limit} bytes")
    except OSError as error:
        raise ModelFileError(f"{path} can't be read: {error.strerror}") from error
    return read_json_object(raw, name, str(folder))


def read_json_object(raw: bytes, name: str, place: str) -> dict[str, object]:
    """Return the object that a JSON file holds, read within bounds of depth and size.

    Args:
        raw: the file.
        name: of the file, for messages.
        place: the folder or repository it is of, for messages.

    Raises:
        ModelFileError: it is malformed.
    """
    try:
        check_cost(raw, _MAX_NESTING, _MAX_PARTS)
        content = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ModelFileError(f"{name} of {place} is no valid JSON: {reason}") from error
    if not isinstance(content, dict):
        raise ModelFileError(f"{name} of {place} is no JSON object")
    return content


def _check_place(folder: Path, path: Path) -> None:
    """Raise ModelFileError if a file lies elsewhere than in its folder or its hub blobs."""
    try:
        real, home = path.resolve(strict=True), folder.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise ModelFileError(f"{path} can't be read: its link leads nowhere") from error
    is_inside = real.is_relative_to(home)
    is_snapshot = home.parent.name == "snapshots"
    is_blob = is_snapshot and real.parent == home.parent.parent / "blobs"
    if not (is_inside or is_blob):
        raise ModelFileError(f"{path} links to a file outside its folder")
