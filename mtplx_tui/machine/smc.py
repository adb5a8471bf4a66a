"""Apple's System Management Controller: its structure, its keys, and its fans.

One call moves all: IOConnectCallStructMethod with selector 2 and an 80-byte structure in and out;
the command is a byte in it. What a machine can do is found by asking for keys, never by its name.
Written from public sources and tried against a stand-in of that call; it has not run on a Mac.
Standard library only.

Source:
    agoodkind/macos-smc-fan docs/research.md; exelban/stats SMC/smc.swift; vladkens/macmon.
"""

from __future__ import annotations

import ctypes
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Call", "KeyData", "Smc", "SmcError", "decode", "encode"]

SELECTOR = 2
READ, WRITE, KEY_AT, KEY_INFO = 5, 6, 8, 9
OK, BAD_COMMAND, NO_KEY, SIZE_MISMATCH = 0x00, 0x82, 0x84, 0x87
NOT_PRIVILEGED = 0xE00002C2
_RESULTS = {
    0x01: "error",
    0x80: "collision",
    0x81: "spurious data",
    BAD_COMMAND: "bad command: the system owns it",
    0x83: "bad parameter",
    NO_KEY: "no such key",
    0x85: "not readable",
    0x86: "not writable",
    SIZE_MISMATCH: "size mismatch",
    0x88: "framing error",
    0x89: "bad argument",
}


class _Version(ctypes.Structure):
    _fields_ = [
        ("major", ctypes.c_uint8),
        ("minor", ctypes.c_uint8),
        ("build", ctypes.c_uint8),
        ("reserved", ctypes.c_uint8),
        ("release", ctypes.c_uint16),
    ]


class _PowerLimit(ctypes.Structure):
    _fields_ = [
        ("version", ctypes.c_uint16),
        ("length", ctypes.c_uint16),
        ("cpu", ctypes.c_uint32),
        ("gpu", ctypes.c_uint32),
        ("memory", ctypes.c_uint32),
    ]


class _KeyInfo(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("attributes", ctypes.c_uint8),
    ]


class KeyData(ctypes.Structure):
    """What goes in and comes out of the call: 80 bytes."""

    _fields_ = [
        ("key", ctypes.c_uint32),
        ("version", _Version),
        ("power_limit", _PowerLimit),
        ("info", _KeyInfo),
        ("result", ctypes.c_uint8),
        ("status", ctypes.c_uint8),
        ("data8", ctypes.c_uint8),
        ("data32", ctypes.c_uint32),
        ("bytes", ctypes.c_uint8 * 32),
    ]


Call = Callable[[int, bytes], tuple[int, bytes]]
"""IOConnectCallStructMethod on an open connection: selector and structure in; code and structure."""


class SmcError(OSError):
    """The controller refused; `result` is its own code."""

    def __init__(self, key: str, result: int) -> None:
        word = _RESULTS.get(result, f"code {result:#x}")
        if result == NOT_PRIVILEGED:
            word = "not permitted without root"
        super().__init__(f"SMC key {key}: {word}")
        self.result = result


@dataclass(frozen=True, slots=True)
class Info:
    """How a key's value is stored."""

    size: int
    type: str
    attributes: int


class Smc:
    """Reads and writes keys.

    Args:
        call: the seam to the system.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._infos: dict[str, Info] = {}

    def info(self, key: str) -> Info:
        """Return how a key is stored; asked once, for it doesn't change. Raises SmcError."""
        if key not in self._infos:
            out = self._ask(key, KEY_INFO)
            kind = struct.pack(">I", out.info.type).decode("latin-1")
            self._infos[key] = Info(out.info.size, kind, out.info.attributes)
        return self._infos[key]

    def has(self, key: str) -> bool:
        """Whether the machine knows a key."""
        try:
            self.info(key)
        except SmcError:
            return False
        return True

    def read(self, key: str) -> float:
        """Return a key's number. Raises SmcError, or ValueError for a type that holds none."""
        info = self.info(key)
        out = self._ask(key, READ, info=info)
        return decode(info.type, bytes(out.bytes)[: info.size])

    def write(self, key: str, value: float) -> None:
        """Write a key's number. Raises SmcError, or ValueError for what its type can't hold."""
        info = self.info(key)
        self._ask(key, WRITE, info=info, data=encode(info.type, value, info.size))

    def all_keys(self) -> list[str]:
        """Return the names of all keys; thousands, so ask once."""
        return [self._key_at(at) for at in range(int(self.read("#KEY")))]

    def _key_at(self, index: int) -> str:
        out = self._ask("", KEY_AT, index=index)
        return struct.pack(">I", out.key).decode("latin-1")

    def _ask(
        self, key: str, command: int, *, info: Info | None = None, index: int = 0, data: bytes = b""
    ) -> KeyData:
        request = KeyData(data8=command, data32=index)
        if key:
            request.key = code_of(key)
        if info is not None:
            request.info.size = info.size
        request.bytes[: len(data)] = list(data)
        code, answer = self._call(SELECTOR, bytes(request))
        out = KeyData.from_buffer_copy(answer)
        if code != 0 or out.result != OK:
            # The call may succeed where the controller behind it refused.
            raise SmcError(key or f"#{index}", code or out.result)
        return out


def code_of(key: str) -> int:
    """Return a key of four characters as the number that stands for it."""
    return int(struct.unpack(">I", key.encode("latin-1"))[0])


def decode(kind: str, data: bytes) -> float:
    """Return the number in some bytes.

    Raises:
        ValueError: the type holds no number, or there are too few bytes.
    """
    try:
        if kind == "flt ":
            return float(struct.unpack("<f", data[:4])[0])
        if kind == "ioft":
            return float(struct.unpack("<q", data[:8])[0] / 65536)
        if kind == "fpe2":
            return float(struct.unpack(">H", data[:2])[0] / 4)
        if kind[:2] == "sp" and len(kind) == 4:
            return float(struct.unpack(">h", data[:2])[0] / 2 ** int(kind[3], 16))
    except struct.error as error:
        raise ValueError(f"{len(data)} bytes are no {kind!r}") from error
    if kind in ("ui8 ", "ui16", "ui32", "flag", "hex_") and data:
        return float(int.from_bytes(data, "big"))
    raise ValueError(f"{kind!r} holds no number")


def encode(kind: str, value: float, size: int) -> bytes:
    """Return a number as bytes. Raises ValueError for what the type can't hold."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is no value for a key")
    try:
        if kind == "flt ":
            return struct.pack("<f", value)
        if kind == "fpe2":
            return struct.pack(">H", round(value * 4))
        if kind in ("ui8 ", "ui16", "ui32", "flag"):
            return round(value).to_bytes(size, "big")
    except (struct.error, OverflowError) as error:
        raise ValueError(f"{value} doesn't fit {kind!r}") from error
    raise ValueError(f"{kind!r} is not written")
