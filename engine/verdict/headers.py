"""Headers of safetensors and GGUF files, read within bounds of time and memory.

MLX crashes on malformed files, so it opens a file only after its header passed here. Nothing
is believed: every count is held against the file's size before anything is read or built.
Knows no model and reads no tensor's values.
"""

from __future__ import annotations

import json
import stat
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Never, TypeVar

from engine.errors import ModelFileError
from engine.verdict.bounded_json import check_cost

__all__ = [
    "GgufHeader",
    "GgufTensor",
    "Omitted",
    "SafetensorsHeader",
    "SafetensorsTensor",
    "check_gguf",
    "check_safetensors",
    "check_safetensors_bytes",
    "safetensors_header_bytes",
]

_REMEDY = "download the file again, from a source you trust"
_MAX_DIM = 2**31 - 1
_MAX_ELEMENTS = 2**48 - 1
_MAX_TENSORS = 200_000
_MAX_NAME = 512


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


def check_gguf(path: Path) -> GgufHeader:
    """Return the header of a GGUF file that MLX may open.

    Raises:
        ModelFileError: unreadable, cut short, or malformed in any way known to matter.
    """
    return _checked(path, _read_gguf)


def check_safetensors(path: Path) -> SafetensorsHeader:
    """Return the header of a safetensors file that MLX may open.

    Refuses whatever the safetensors library refuses, and what crashes or fools MLX besides.

    Raises:
        ModelFileError: unreadable, cut short, or malformed in any way known to matter.
    """
    return _checked(path, _read_safetensors)


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
    except _Fault as fault:
        raise ModelFileError(f"{name} is malformed: {fault}", _REMEDY) from fault


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
    except _Fault as fault:
        raise ModelFileError(f"{name} is malformed: {fault}", _REMEDY) from fault


_Header = TypeVar("_Header", GgufHeader, SafetensorsHeader)


class _Fault(Exception):
    """What is wrong with the file, as the end of a sentence."""


def _checked(path: Path, read: Callable[[BinaryIO, int], _Header]) -> _Header:
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            raise _Fault("it is no ordinary file")
        with path.open("rb") as file:
            return read(file, state.st_size)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ModelFileError(f"{path} can't be read: {reason}") from error
    except _Fault as fault:
        raise ModelFileError(f"{path.name} is malformed: {fault}", _REMEDY) from fault


def _name(raw: bytes, kind: str) -> str:
    """Return a tensor's or key's name; raises _Fault unless it is short, printable text."""
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _Fault(f"a {kind} name is no text") from error
    if not 0 < len(name) <= _MAX_NAME or not name.isprintable():
        raise _Fault(f"a {kind} name is empty, too long or not printable")
    return name


def _elements(shape: tuple[int, ...], name: str) -> int:
    """Return the product of a shape; raises _Fault where it could wrap in 64 bits."""
    bound, product = 1, 1
    for dim in shape:
        bound *= max(dim, 1)
        product *= dim
        if dim > _MAX_DIM or bound > _MAX_ELEMENTS:
            raise _Fault(f"tensor {name} has an impossible shape")
    return product


# --- GGUF ---------------------------------------------------------------------------------

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


class _Cursor:
    """A place in a file, read in chunks as it goes on; running past the end is a _Fault."""

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
            raise _Fault(f"a string claims {length} bytes")
        return self.take(length)

    def _fill(self, count: int) -> None:
        if count > self.left:
            raise _Fault("it is cut short")
        kept = self._data[self._at :]
        self._start, self._at = self.position, 0
        wanted = max(_CHUNK, count - len(kept))
        self._data = kept + self._file.read(wanted)
        if len(self._data) < count:
            raise _Fault("it is cut short")


def _read_gguf(file: BinaryIO, size: int) -> GgufHeader:
    cursor = _Cursor(file, size)
    if cursor.take(4) != b"GGUF":
        raise _Fault("it does not begin as a GGUF file")
    version = cursor.number("<I")
    if version not in (2, 3):
        raise _Fault(f"GGUF version {version} is unknown")
    tensors, keys = cursor.number("<Q"), cursor.number("<Q")
    if tensors > min(_MAX_TENSORS, size // _LEAST_TENSOR):
        raise _Fault(f"it claims {tensors} tensors")
    if keys > min(_MAX_KEYS, size // _LEAST_KEY):
        raise _Fault(f"it claims {keys} metadata keys")
    metadata = _metadata(cursor, keys)
    alignment = _alignment(metadata)
    infos = [_gguf_tensor(cursor) for _ in range(tensors)]
    data_start = -(-cursor.position // alignment) * alignment
    _check_gguf_spans(infos, alignment, size - data_start)
    return GgufHeader(version, alignment, data_start, MappingProxyType(metadata), tuple(infos))


def _metadata(cursor: _Cursor, count: int) -> dict[str, bool | int | float | str | Omitted]:
    metadata: dict[str, bool | int | float | str | Omitted] = {}
    for _ in range(count):
        key = _name(cursor.string(_MAX_NAME), "key")
        if key in metadata:
            raise _Fault(f"key {key} comes twice")
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
        raise _Fault(f"the value of {key} has the unknown type {kind}")
    value = cursor.number(_SCALARS[kind][1])
    if kind == _BOOL:
        if value > 1:
            raise _Fault(f"the value of {key} is neither true nor false")
        return bool(value)
    return value


def _text(raw: bytes, key: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _Fault(f"the value of {key} is no text") from error


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
        raise _Fault(f"the value of {key} is {what}")
    name, layout = _SCALARS[kind]
    width = struct.calcsize(layout)
    _check_length(key, length, min(limit, cursor.left // width))
    items = cursor.take(length * width)
    if kind == _BOOL and items.translate(None, b"\0\1"):
        raise _Fault(f"the value of {key} is neither true nor false")
    return Omitted(name, length)


def _check_length(key: str, length: int, limit: int) -> None:
    if length > limit:
        raise _Fault(f"the array {key} claims {length} items")


def _alignment(metadata: Mapping[str, object]) -> int:
    value = metadata.get("general.alignment", 32)
    is_power = isinstance(value, int) and value > 0 and value & (value - 1) == 0
    if isinstance(value, bool) or not isinstance(value, int) or not is_power:
        raise _Fault("its alignment is no power of two")
    if value > _MAX_ALIGNMENT:
        raise _Fault(f"its alignment of {value} bytes is too large")
    return value


def _gguf_tensor(cursor: _Cursor) -> GgufTensor:
    name = _name(cursor.string(_MAX_NAME), "tensor")
    dims = cursor.number("<I")
    if not 1 <= dims <= 4:
        raise _Fault(f"tensor {name} has {dims} dimensions")
    shape = struct.unpack(f"<{dims}Q", cursor.take(8 * dims))
    kind, offset = cursor.number("<I"), cursor.number("<Q")
    if kind not in _TENSOR_TYPES:
        raise _Fault(f"tensor {name} has type {kind}, which can't be read here")
    type_name, block, block_bytes = _TENSOR_TYPES[kind]
    elements = _elements(shape, name)
    if elements == 0 or shape[0] % block:
        raise _Fault(f"tensor {name} has an impossible shape")
    return GgufTensor(name, type_name, shape, offset, elements // block * block_bytes)


def _check_gguf_spans(tensors: list[GgufTensor], alignment: int, length: int) -> None:
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise _Fault("two tensors have the same name")
    end = 0
    for tensor in sorted(tensors, key=lambda tensor: tensor.offset):
        if tensor.offset % alignment:
            raise _Fault(f"tensor {tensor.name} is not aligned")
        if tensor.offset < end:
            raise _Fault(f"tensor {tensor.name} overlaps another")
        end = tensor.offset + tensor.size_bytes
        if end > length:
            raise _Fault(f"tensor {tensor.name} lies outside the file")


# --- safetensors --------------------------------------------------------------------------

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


def _read_safetensors(file: BinaryIO, size: int) -> SafetensorsHeader:
    length = _header_length(file.read(8), size)
    raw = file.read(length)
    if len(raw) < length:
        raise _Fault("it is cut short")
    entries = _header_json(raw)
    metadata = _string_map(entries.pop("__metadata__", {}))
    if len(entries) > _MAX_TENSORS:
        raise _Fault(f"it holds {len(entries)} tensors")
    tensors = [_safetensor(name, entry) for name, entry in entries.items()]
    _check_safetensors_spans(tensors, size - 8 - length)
    return SafetensorsHeader(8 + length, MappingProxyType(metadata), tuple(tensors))


def _header_length(first: bytes, size: int) -> int:
    if size < 10 or len(first) < 8:
        raise _Fault("it is cut short")
    (length,) = struct.unpack("<Q", first)
    if not 2 <= length <= min(_MAX_HEADER, size - 8):
        raise _Fault(f"its header claims {length} bytes")
    return length


def _header_json(raw: bytes) -> dict[str, object]:
    if not raw.startswith(b"{"):
        raise _Fault("its header is no JSON object")
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
        raise _Fault("its header is no valid JSON") from error
    if not isinstance(entries, dict):
        raise _Fault("its header is no JSON object")
    return entries


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise _Fault("a name comes twice in its header")
    return entries


def _natural(digits: str) -> int:
    if digits.startswith("-") or len(digits) > 20:
        _refuse_number(digits)
    return int(digits)


def _refuse_number(digits: str) -> Never:
    raise _Fault(f"its header holds the number {digits[:20]}")


def _string_map(value: object) -> dict[str, str]:
    if value is None:  # MLX writes null where there is no metadata
        return {}
    if not isinstance(value, dict):
        raise _Fault("its metadata is no map of strings")
    for key, text in value.items():
        if not isinstance(text, str) or not _is_text(key) or not _is_text(text):
            raise _Fault("its metadata is no map of strings")
    return value


def _is_text(value: str) -> bool:
    """Return whether a string holds no lone surrogate."""
    return value.isascii() or not any("\ud800" <= char <= "\udfff" for char in value)


def _safetensor(name: str, entry: object) -> SafetensorsTensor:
    _name(name.encode("utf-8", "surrogatepass"), "tensor")
    if not isinstance(entry, dict) or entry.keys() != _FIELDS:
        raise _Fault(f"tensor {name} is not described by dtype, shape and data_offsets")
    dtype = entry["dtype"]
    shape, offsets = _numbers(entry["shape"], name), _numbers(entry["data_offsets"], name)
    if not isinstance(dtype, str) or dtype not in _DTYPE_BITS:
        raise _Fault(f"tensor {name} has an unknown dtype")
    if len(shape) > _MAX_DIMS or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _Fault(f"tensor {name} has an impossible shape or place")
    begin, end = offsets
    if _elements(shape, name) * _DTYPE_BITS[dtype] != (end - begin) * 8:
        raise _Fault(f"the shape of tensor {name} does not fit its data")
    return SafetensorsTensor(name, dtype, shape, begin, end)


def _numbers(value: object, name: str) -> tuple[int, ...]:
    if not isinstance(value, list) or any(type(item) is not int for item in value):
        raise _Fault(f"tensor {name} has a shape or place that is no list of numbers")
    return tuple(value)


def _check_safetensors_spans(tensors: list[SafetensorsTensor], length: int) -> None:
    at = 0
    for tensor in sorted(tensors, key=lambda tensor: (tensor.begin, tensor.end)):
        if tensor.begin != at:
            raise _Fault(f"tensor {tensor.name} overlaps another or leaves a hole")
        at = tensor.end
    if at != length:
        raise _Fault(f"its tensors cover {at} of {length} bytes")
