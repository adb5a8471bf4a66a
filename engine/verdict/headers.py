"""Headers of safetensors files, read within bounds of time and memory.

MLX crashes on malformed files, so it opens a file only after its header passed here. Nothing
is believed: every count is held against the file's size before anything is read or built.
Knows no model and reads no tensor's values.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Never

from engine.verdict.bounded_json import check_cost
from engine.verdict.header_faults import (
    MAX_TENSORS,
    HeaderFault,
    checked,
    element_count,
    malformed,
    shown_name,
)

__all__ = [
    "SafetensorsHeader",
    "SafetensorsTensor",
    "check_safetensors",
    "check_safetensors_bytes",
    "safetensors_header_bytes",
]

_MAX_HEADER = 32 * 2**20
_MAX_PARTS = 2_500_000
_MAX_DEPTH = 4
_MAX_DIMS = 8
_FIELDS = {"dtype", "shape", "data_offsets"}
_DTYPE_BITS = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E8M0": 8,
    "U16": 16,
    "I16": 16,
    "F16": 16,
    "BF16": 16,
    "U32": 32,
    "I32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}


@dataclass(frozen=True, slots=True)
class SafetensorsTensor:
    """One tensor of a safetensors file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    """Bytes from the start of the file's data; `end` is past the last."""
    end: int


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """What a checked safetensors file says of itself."""

    data_start: int
    metadata: Mapping[str, str]
    tensors: tuple[SafetensorsTensor, ...]


def check_safetensors(path: Path) -> SafetensorsHeader:
    """Return the header of a safetensors file that MLX may open.

    Refuses whatever the safetensors library refuses, and what crashes or fools MLX besides.

    Raises:
        ModelFileError: unreadable, cut short, or malformed in any way known to matter.
    """
    return checked(path, _read_safetensors)


def safetensors_header_bytes(first: bytes, size: int, name: str) -> int:
    """Return how many bytes of a safetensors file, its first eight included, are its header.

    Args:
        first: the file's first eight bytes.
        size: of the whole file, bytes.
        name: of the file, for the message.

    Raises:
        ModelFileError: no believable length stands there.
    """
    try:
        return 8 + _header_length(first, size)
    except HeaderFault as fault:
        raise malformed(name, fault) from fault


def check_safetensors_bytes(raw: bytes, size: int, name: str) -> SafetensorsHeader:
    """Return the header of a safetensors file of which only the header is here.

    Args:
        raw: the file's beginning, as long as `safetensors_header_bytes` says.
        size: of the whole file, bytes.
        name: of the file, for the message.

    Raises:
        ModelFileError: as for `check_safetensors`.
    """
    try:
        return _read_safetensors(BytesIO(raw), size)
    except HeaderFault as fault:
        raise malformed(name, fault) from fault


def _read_safetensors(file: BinaryIO, size: int) -> SafetensorsHeader:
    length = _header_length(file.read(8), size)
    raw = file.read(length)
    if len(raw) < length:
        raise HeaderFault("it is cut short")
    entries = _header_json(raw)
    metadata = _string_map(entries.pop("__metadata__", {}))
    if len(entries) > MAX_TENSORS:
        raise HeaderFault(f"it holds {len(entries)} tensors")
    tensors = [_safetensor(name, entry) for name, entry in entries.items()]
    _check_safetensors_spans(tensors, size - 8 - length)
    return SafetensorsHeader(8 + length, MappingProxyType(metadata), tuple(tensors))


def _header_length(first: bytes, size: int) -> int:
    if size < 10 or len(first) < 8:
        raise HeaderFault("it is cut short")
    (length,) = struct.unpack("<Q", first)
    if not 2 <= length <= min(_MAX_HEADER, size - 8):
        raise HeaderFault(f"its header claims {length} bytes")
    return length


def _header_json(raw: bytes) -> dict[str, object]:
    if not raw.startswith(b"{"):
        raise HeaderFault("its header is no JSON object")
    try:
        check_cost(raw, _MAX_DEPTH, _MAX_PARTS)
        entries = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_without_duplicates,
            parse_int=_natural,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
    except (ValueError, RecursionError) as error:
        raise HeaderFault("its header is no valid JSON") from error
    if not isinstance(entries, dict):
        raise HeaderFault("its header is no JSON object")
    return entries


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise HeaderFault("a name comes twice in its header")
    return entries


def _natural(digits: str) -> int:
    if digits.startswith("-") or len(digits) > 20:
        _refuse_number(digits)
    return int(digits)


def _refuse_number(digits: str) -> Never:
    raise HeaderFault(f"its header holds the number {digits[:20]}")


def _string_map(value: object) -> dict[str, str]:
    if value is None:  # MLX writes null where there is no metadata
        return {}
    if not isinstance(value, dict):
        raise HeaderFault("its metadata is no map of strings")
    for key, text in value.items():
        if not isinstance(text, str) or not _is_text(key) or not _is_text(text):
            raise HeaderFault("its metadata is no map of strings")
    return value


def _is_text(value: str) -> bool:
    """Return whether a string holds no lone surrogate."""
    return value.isascii() or not any("\ud800" <= char <= "\udfff" for char in value)


def _safetensor(name: str, entry: object) -> SafetensorsTensor:
    shown_name(name.encode("utf-8", "surrogatepass"), "tensor")
    if not isinstance(entry, dict) or entry.keys() != _FIELDS:
        raise HeaderFault(f"tensor {name} is not described by dtype, shape and data_offsets")
    dtype = entry["dtype"]
    shape, offsets = _numbers(entry["shape"], name), _numbers(entry["data_offsets"], name)
    if not isinstance(dtype, str) or dtype not in _DTYPE_BITS:
        raise HeaderFault(f"tensor {name} has an unknown dtype")
    if len(shape) > _MAX_DIMS or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise HeaderFault(f"tensor {name} has an impossible shape or place")
    begin, end = offsets
    if element_count(shape, name) * _DTYPE_BITS[dtype] != (end - begin) * 8:
        raise HeaderFault(f"the shape of tensor {name} does not fit its data")
    return SafetensorsTensor(name, dtype, shape, begin, end)


def _numbers(value: object, name: str) -> tuple[int, ...]:
    if not isinstance(value, list) or any(type(item) is not int for item in value):
        raise HeaderFault(f"tensor {name} has a shape or place that is no list of numbers")
    return tuple(value)


def _check_safetensors_spans(tensors: list[SafetensorsTensor], length: int) -> None:
    at = 0
    for tensor in sorted(tensors, key=lambda tensor: (tensor.begin, tensor.end)):
        if tensor.begin != at:
            raise HeaderFault(f"tensor {tensor.name} overlaps another or leaves a hole")
        at = tensor.end
    if at != length:
        raise HeaderFault(f"its tensors cover {at} of {length} bytes")
