"""Headers of GGUF files, read within bounds of time and memory.

MLX crashes on malformed files, so it opens one only after its header passed here. Nothing is
believed: every count is held against the file's size before anything is read or built.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from engine.verdict.header_faults import (
    MAX_NAME,
    MAX_TENSORS,
    HeaderFault,
    checked,
    element_count,
    shown_name,
)

__all__ = ["GgufHeader", "GgufTensor", "Omitted", "check_gguf"]

_CHUNK = 4 * 2**20
_MAX_KEYS = 65_536
_MAX_STRING = 2**20
_MAX_KEPT = 1024
"""Longer strings are told by length only."""
_MAX_VOCABULARY = 2**22
_MAX_TOKEN = 2**16
_MAX_ITEMS = 2**20
_MAX_ALIGNMENT = 4096
_LEAST_KEY = 8 + 1 + 4 + 1
_LEAST_TENSOR = 8 + 1 + 4 + 8 + 4 + 8

_SCALARS = {
    0: ("uint8", "<B"),
    1: ("int8", "<b"),
    2: ("uint16", "<H"),
    3: ("int16", "<h"),
    4: ("uint32", "<I"),
    5: ("int32", "<i"),
    6: ("float32", "<f"),
    7: ("bool", "<B"),
    10: ("uint64", "<Q"),
    11: ("int64", "<q"),
    12: ("float64", "<d"),
}
_BOOL, _STRING, _ARRAY = 7, 8, 9
_TENSOR_TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84),
    12: ("Q4_K", 256, 144),
    14: ("Q6_K", 256, 210),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    30: ("BF16", 1, 2),
}
"""Type number to name, elements a block, bytes a block; the types that MLX reads."""


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One tensor of a GGUF file."""

    name: str
    type: str
    shape: tuple[int, ...]
    """In the file's order: the contiguous dimension first."""
    offset: int
    """Bytes from the start of the file's data."""
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Omitted:
    """A metadata value too long to keep: an array, or a long string."""

    type: str
    """Of the array's items; "string" for a long string."""
    length: int


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a checked GGUF file says of itself."""

    version: int
    alignment: int
    data_start: int
    """Bytes before the first tensor's data."""
    metadata: Mapping[str, bool | int | float | str | Omitted]
    tensors: tuple[GgufTensor, ...]


def check_gguf(path: Path) -> GgufHeader:
    """Return the header of a GGUF file that MLX may open.

    Raises:
        ModelFileError: unreadable, cut short, or malformed in any way known to matter.
    """
    return checked(path, _read_gguf)


class _Cursor:
    """A place in a file, read in chunks as it goes on; running past the end is a HeaderFault."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self._data = b""
        self._start = 0
        self._at = 0

    @property
    def position(self) -> int:
        return self._start + self._at

    @property
    def left(self) -> int:
        return self._size - self.position

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            self._fill(count)
            end = count
        piece = self._data[self._at : end]
        self._at = end
        return piece

    def number(self, layout: str) -> int:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def string(self, limit: int) -> bytes:
        length = self.number("<Q")
        if length > limit:
            raise HeaderFault(f"a string claims {length} bytes")
        return self.take(length)

    def _fill(self, count: int) -> None:
        if count > self.left:
            raise HeaderFault("it is cut short")
        kept = self._data[self._at :]
        self._start, self._at = self.position, 0
        wanted = max(_CHUNK, count - len(kept))
        self._data = kept + self._file.read(wanted)
        if len(self._data) < count:
            raise HeaderFault("it is cut short")


def _read_gguf(file: BinaryIO, size: int) -> GgufHeader:
    cursor = _Cursor(file, size)
    if cursor.take(4) != b"GGUF":
        raise HeaderFault("it does not begin as a GGUF file")
    version = cursor.number("<I")
    if version not in (2, 3):
        raise HeaderFault(f"GGUF version {version} is unknown")
    tensors, keys = cursor.number("<Q"), cursor.number("<Q")
    if tensors > min(MAX_TENSORS, size // _LEAST_TENSOR):
        raise HeaderFault(f"it claims {tensors} tensors")
    if keys > min(_MAX_KEYS, size // _LEAST_KEY):
        raise HeaderFault(f"it claims {keys} metadata keys")
    metadata = _metadata(cursor, keys)
    alignment = _alignment(metadata)
    infos = [_gguf_tensor(cursor) for _ in range(tensors)]
    data_start = -(-cursor.position // alignment) * alignment
    _check_gguf_spans(infos, alignment, size - data_start)
    return GgufHeader(version, alignment, data_start, MappingProxyType(metadata), tuple(infos))


def _metadata(cursor: _Cursor, count: int) -> dict[str, bool | int | float | str | Omitted]:
    metadata: dict[str, bool | int | float | str | Omitted] = {}
    for _ in range(count):
        key = shown_name(cursor.string(MAX_NAME), "key")
        if key in metadata:
            raise HeaderFault(f"key {key} comes twice")
        metadata[key] = _value(cursor, key)
    return metadata


def _value(cursor: _Cursor, key: str) -> bool | int | float | str | Omitted:
    kind = cursor.number("<I")
    if kind == _STRING:
        text = _text(cursor.string(_MAX_STRING), key)
        return text if len(text) <= _MAX_KEPT else Omitted("string", len(text))
    if kind == _ARRAY:
        return _array(cursor, key)
    if kind not in _SCALARS:
        raise HeaderFault(f"the value of {key} has the unknown type {kind}")
    value = cursor.number(_SCALARS[kind][1])
    if kind == _BOOL:
        if value > 1:
            raise HeaderFault(f"the value of {key} is neither true nor false")
        return bool(value)
    return value


def _text(raw: bytes, key: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise HeaderFault(f"the value of {key} is no text") from error


def _array(cursor: _Cursor, key: str) -> Omitted:
    kind, length = cursor.number("<I"), cursor.number("<Q")
    is_tokenizer = key.startswith("tokenizer.")
    limit = _MAX_VOCABULARY if is_tokenizer else _MAX_ITEMS
    if kind == _STRING:
        _check_length(key, length, min(limit, cursor.left // 8))
        longest = _MAX_TOKEN if is_tokenizer else _MAX_STRING
        for _ in range(length):
            _text(cursor.string(longest), key)
        return Omitted("string", length)
    if kind not in _SCALARS:
        what = "an array of arrays" if kind == _ARRAY else f"an array of the unknown type {kind}"
        raise HeaderFault(f"the value of {key} is {what}")
    name, layout = _SCALARS[kind]
    width = struct.calcsize(layout)
    _check_length(key, length, min(limit, cursor.left // width))
    items = cursor.take(length * width)
    if kind == _BOOL and items.translate(None, b"\0\1"):
        raise HeaderFault(f"the value of {key} is neither true nor false")
    return Omitted(name, length)


def _check_length(key: str, length: int, limit: int) -> None:
    if length > limit:
        raise HeaderFault(f"the array {key} claims {length} items")


def _alignment(metadata: Mapping[str, object]) -> int:
    value = metadata.get("general.alignment", 32)
    is_power = isinstance(value, int) and value > 0 and value & (value - 1) == 0
    if isinstance(value, bool) or not isinstance(value, int) or not is_power:
        raise HeaderFault("its alignment is no power of two")
    if value > _MAX_ALIGNMENT:
        raise HeaderFault(f"its alignment of {value} bytes is too large")
    return value


def _gguf_tensor(cursor: _Cursor) -> GgufTensor:
    name = shown_name(cursor.string(MAX_NAME), "tensor")
    dims = cursor.number("<I")
    if not 1 <= dims <= 4:
        raise HeaderFault(f"tensor {name} has {dims} dimensions")
    shape = struct.unpack(f"<{dims}Q", cursor.take(8 * dims))
    kind, offset = cursor.number("<I"), cursor.number("<Q")
    if kind not in _TENSOR_TYPES:
        raise HeaderFault(f"tensor {name} has type {kind}, which can't be read here")
    type_name, block, block_bytes = _TENSOR_TYPES[kind]
    elements = element_count(shape, name)
    if elements == 0 or shape[0] % block:
        raise HeaderFault(f"tensor {name} has an impossible shape")
    return GgufTensor(name, type_name, shape, offset, elements // block * block_bytes)


def _check_gguf_spans(tensors: list[GgufTensor], alignment: int, length: int) -> None:
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise HeaderFault("two tensors have the same name")
    end = 0
    for tensor in sorted(tensors, key=lambda tensor: tensor.offset):
        if tensor.offset % alignment:
            raise HeaderFault(f"tensor {tensor.name} is not aligned")
        if tensor.offset < end:
            raise HeaderFault(f"tensor {tensor.name} overlaps another")
        end = tensor.offset + tensor.size_bytes
        if end > length:
            raise HeaderFault(f"tensor {tensor.name} lies outside the file")
