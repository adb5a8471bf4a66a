"""The head of a repository on a hub, by the byte ranges of its tensors: what a graft needs, no more.

A folder gets the release's config, a contract declared there, and of each file that holds the head
a file of the same name with the head's tensors alone. Knows no engine.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import HeadError
from engine.verdict.checkpoint import MAX_CONFIG, MAX_INDEX, read_config, read_index
from engine.verdict.contract import CONTRACT_FILE
from engine.verdict.families import Family
from engine.verdict.family_table import family_of
from engine.verdict.graft_source import check_same_trunk
from engine.verdict.head_files import SIDECARS, HeadTensor, find_head
from engine.verdict.headers import SafetensorsHeader
from engine.verdict.tiers import head_tensors
from mtplx_tui.library.header import HubSource
from mtplx_tui.library.hub import HubError

__all__ = ["HeadPlan", "fetch_head", "plan_head"]

_INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class HeadPlan:
    """A head that was found on a hub, and fits."""

    config: bytes
    """Of the release, as it lies there."""
    contract: bytes | None
    """What is declared there."""
    headers: Mapping[str, SafetensorsHeader]
    tensors: Mapping[str, Sequence[HeadTensor]]
    """By file, in the file's order."""

    @property
    def size(self) -> int:
        """Bytes of the head."""
        return sum(t.header.end - t.header.begin for own in self.tensors.values() for t in own)


def plan_head(source: HubSource, trunk: Mapping[str, object]) -> HeadPlan:
    """Find the head of a repository, in names and headers alone.

    Args:
        source: the repository.
        trunk: config of the trunk that it is for.

    Raises:
        ModelFileError: a file of the repository is malformed, or missing.
        HeadError: it has no head that can run here, or one for another trunk.
        HubError: the hub doesn't give it.
    """
    raw = _small(source, "config.json", MAX_CONFIG)
    config = read_config(raw, source.name)
    check_same_trunk(trunk, config)
    family = family_of(config)
    headers = _headers(source, config, family)
    head = find_head(
        family,
        config,
        {Path(path): header for path, header in headers.items() if path not in SIDECARS},
        {Path(path): header for path, header in headers.items() if path in SIDECARS},
    )
    tensors: dict[str, list[HeadTensor]] = {}
    for tensor in sorted(head.tensors.values(), key=lambda one: (one.header.begin, one.header.end)):
        tensors.setdefault(tensor.path.as_posix(), []).append(tensor)
    is_declared = CONTRACT_FILE in source.files
    contract = _small(source, CONTRACT_FILE, MAX_CONFIG) if is_declared else None
    return HeadPlan(raw, contract, headers, tensors)


def fetch_head(
    source: HubSource, plan: HeadPlan, folder: Path, tell: Callable[[int, int], object]
) -> None:
    """Put a head into an empty folder, as a release that holds nothing else.

    Args:
        source: the repository.
        plan: of it.
        folder: there already.
        tell: told how many bytes came, and how many there are.

    Raises:
        HubError: the hub doesn't give it.
        OSError: the folder can't be written.
    """
    (folder / "config.json").write_bytes(plan.config)
    if plan.contract is not None:
        (folder / CONTRACT_FILE).write_bytes(plan.contract)
    done = 0
    for path, tensors in plan.tensors.items():
        header = plan.headers[path]
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        with (folder / path).open("wb") as file:
            file.write(_header_of(tensors, header.metadata))
            for begin, end in _runs(tensors):
                at = header.data_start
                for piece in source.pieces(path, at + begin, at + end):
                    file.write(piece)
                    done += len(piece)
                    tell(done, plan.size)


def _small(source: HubSource, path: str, limit: int) -> bytes:
    if path not in source.files:
        raise HeadError(f"{source.name} has no {path}", "is it a model's release?")
    return source.read(path, limit)


def _headers(
    source: HubSource, config: Mapping[str, object], family: Family | None
) -> dict[str, SafetensorsHeader]:
    """Return the headers of the files that hold a head, as far as an index tells which."""
    weights = [path for path in source.files if path.endswith(".safetensors")]
    places: dict[str, str] = {}
    if _INDEX in source.files:
        places = read_index(source.read(_INDEX, MAX_INDEX), source.name)
    holding = {places[name] for name in head_tensors(config, places, family)}
    unlisted = set(weights) - set(places.values())
    found = {}
    for path in weights:
        if path in holding or path in unlisted:
            header = source.header(path)
            if header is None:
                raise HubError(
                    f"the head of {source.name} lies in too many files to be picked out",
                    "pull the repository, then try again",
                )
            found[path] = header
    return found


def _header_of(tensors: Sequence[HeadTensor], metadata: Mapping[str, str]) -> bytes:
    entries: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    for tensor in tensors:
        size = tensor.header.end - tensor.header.begin
        entries[tensor.name] = {
            "dtype": tensor.header.dtype,
            "shape": list(tensor.header.shape),
            "data_offsets": [at, at + size],
        }
        at += size
    raw = json.dumps(entries).encode()
    raw += b" " * (-len(raw) % 8)
    return struct.pack("<Q", len(raw)) + raw


def _runs(tensors: Sequence[HeadTensor]) -> list[tuple[int, int]]:
    """Return the ranges of tensors in their file; those that touch are one."""
    runs: list[tuple[int, int]] = []
    for tensor in tensors:
        begin, end = tensor.header.begin, tensor.header.end
        if runs and runs[-1][1] == begin:
            runs[-1] = (runs[-1][0], end)
        else:
            runs.append((begin, end))
    return runs
