"""Where a checkpoint keeps its MTP head, found in names and headers alone.

A head is in the model's own files, in a sidecar beside them, or in a folder of its own. Its
tensors are given back under the names they have in the family, whatever stood in front.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.errors import HeadError
from engine.verdict.contract import CONTRACT_KEYS, Contract, read_contract
from engine.verdict.families import Family, has_head_names, head_layers, promises_head
from engine.verdict.headers import SafetensorsHeader, SafetensorsTensor, check_safetensors

__all__ = [
    "SIDECARS",
    "HeadFiles",
    "HeadTensor",
    "find_head",
    "head_names",
    "head_prefixes",
    "without_prefix",
]

SIDECARS = (
    "mtp.safetensors",
    "model-mtp.safetensors",
    "model-mtp-head.safetensors",
    "mtp/weights.safetensors",
    "mtp/model.safetensors",
)
"""Where a head lies apart from the model; names in there may lack the prefix."""

_IN_TRUNK_FILES = "model files"


@dataclass(frozen=True, slots=True)
class HeadTensor:
    """One tensor of a head, where it lies."""

    path: Path
    name: str
    """In the file."""
    header: SafetensorsTensor

    def read(self) -> bytes:
        """Return its values as they lie in the file.

        Raises:
            OSError: the file can't be read.
        """
        start = check_safetensors(self.path).data_start
        with self.path.open("rb") as file:
            file.seek(start + self.header.begin)
            return file.read(self.header.end - self.header.begin)


@dataclass(frozen=True, slots=True)
class HeadFiles:
    """A head that was found."""

    family: Family
    location: str
    """"model files", or the sidecar's name."""
    tensors: Mapping[str, HeadTensor]
    """By the name within the family, without prefix."""
    metadata: Mapping[str, str]
    """Of the sidecar's header."""
    is_trunk_raw: bool
    """Whether the trunk is as published, not converted: its convolutions' layout tells."""

    @property
    def own_contract(self) -> Contract:
        """What the sidecar itself declares.

        Raises:
            HeadError: it means nothing.
        """
        return read_contract({k: self.metadata[k] for k in CONTRACT_KEYS if k in self.metadata})

    def fed_as(self, beside: Contract) -> Contract:
        """Return a contract declared beside the weights, and what it leaves open of the head's own.

        But for how the gains are stored: that is a matter of the file that holds them.
        """
        own = dataclasses.replace(self.own_contract, norm_encoding=None)
        return beside.over(own)

    @property
    def is_apart(self) -> bool:
        """Whether it lies in a file of its own."""
        return self.location != _IN_TRUNK_FILES


def find_head(
    family: Family | None,
    config: Mapping[str, object],
    headers: Mapping[Path, SafetensorsHeader],
    sidecars: Mapping[Path, SafetensorsHeader],
) -> HeadFiles:
    """Return the head of a checkpoint.

    Args:
        family: of the config.
        config: of the checkpoint.
        headers: of the model's own files.
        sidecars: of files beside them, by the names in `SIDECARS`; may overlap with `headers`.

    Raises:
        HeadError: there is none, or none that can be run; one sentence says why.
    """
    names = [tensor.name for header in headers.values() for tensor in header.tensors]
    if family is None or family.cannot_run or family.parts is None:
        raise HeadError(_why_not(family, config, [*names, *_all_names(sidecars)]))
    found = _in_sidecar(family, config, sidecars)
    location, tensors = found or (_IN_TRUNK_FILES, _in_files(family, config, headers))
    if not tensors:
        raise HeadError(_absence(config))
    if not any(_is_in(name, family.parts.projection) for name in tensors):
        raise HeadError(f"its head is incomplete: {family.parts.projection}.weight missing")
    metadata = {k: v for path in sidecars for k, v in sidecars[path].metadata.items()}
    return HeadFiles(family, location, tensors, metadata if found else {}, _is_raw(headers))


def head_names(
    family: Family | None,
    config: Mapping[str, object],
    headers: Mapping[Path, SafetensorsHeader],
    sidecars: Mapping[Path, SafetensorsHeader],
) -> frozenset[str]:
    """Return the tensors in the model's own files that are a head's, whole or not.

    The trunk must not see them. What only stands where a head would is left to the trunk.
    """
    apart = [tensor.name for path in sidecars for tensor in sidecars[path].tensors]
    if family is None or family.parts is None:
        return frozenset(apart)
    inside = _in_files(family, config, headers)
    own = (family.parts.embedding_norm, family.parts.hidden_norm, family.parts.projection)
    if not any(_is_in(name, part) for name in inside for part in own):
        return frozenset(apart)
    return frozenset([*apart, *(tensor.name for tensor in inside.values())])


def _in_files(
    family: Family, config: Mapping[str, object], headers: Mapping[Path, SafetensorsHeader]
) -> dict[str, HeadTensor]:
    prefixes = head_prefixes(family, config)
    tensors: dict[str, HeadTensor] = {}
    for path, header in headers.items():
        for tensor in header.tensors:
            name = without_prefix(tensor.name, prefixes)
            if name is not None:
                tensors[name] = HeadTensor(path, tensor.name, tensor)
    return tensors


def _in_sidecar(
    family: Family, config: Mapping[str, object], sidecars: Mapping[Path, SafetensorsHeader]
) -> tuple[str, dict[str, HeadTensor]] | None:
    """Return the head of the one sidecar; its names may lack the prefix."""
    if not sidecars:
        return None
    if len(sidecars) > 1:
        names = ", ".join(sorted(path.name for path in sidecars))
        raise HeadError(f"its head is there more than once: {names}")
    ((path, header),) = sidecars.items()
    prefixes = head_prefixes(family, config)
    tensors: dict[str, HeadTensor] = {}
    for tensor in header.tensors:
        name = without_prefix(tensor.name, prefixes) or tensor.name
        tensors[name] = HeadTensor(path, tensor.name, tensor)
    return path.name, tensors


def head_prefixes(family: Family, config: Mapping[str, object]) -> tuple[str, ...]:
    """Return what the names of a head's tensors begin with in a checkpoint of this config."""
    layers = head_layers(config)
    known = [prefix for prefix in family.prefixes if layers or "{N}" not in prefix]
    return tuple(prefix.replace("{N}", str(layers)) for prefix in known)


def without_prefix(name: str, prefixes: tuple[str, ...]) -> str | None:
    """Return a tensor's name within its family; None where it is none of the head's."""
    for prefix in prefixes:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return None


def _is_in(name: str, module: str) -> bool:
    """Return whether a tensor is of a module, of a single head or of a numbered one."""
    number, _, rest = name.partition(".")
    return (rest if number.isdigit() else name).startswith(f"{module}.")


def _is_raw(headers: Mapping[Path, SafetensorsHeader]) -> bool:
    """Published convolutions are [channels, 1, width], converted ones [channels, width, 1]."""
    return any(
        tensor.name.endswith("conv1d.weight") and tensor.shape[-1] != 1
        for header in headers.values()
        for tensor in header.tensors
    )


def _all_names(headers: Mapping[Path, SafetensorsHeader]) -> list[str]:
    return [f"mtp.{tensor.name}" for header in headers.values() for tensor in header.tensors]


def _why_not(family: Family | None, config: Mapping[str, object], names: list[str]) -> str:
    if not has_head_names(config, names):
        return _absence(config)
    model_type = str(config.get("model_type", "of unknown type"))[:40]
    if family is None or not family.cannot_run:
        return f"it has an MTP head ({model_type}) of a family not known here"
    return f"it has an MTP head ({model_type}), but {family.cannot_run}"


def _absence(config: Mapping[str, object]) -> str:
    if promises_head(config):
        return "its config promises an MTP head, but the tensors were dropped in conversion"
    return "no head: the checkpoint has no MTP tensors"
