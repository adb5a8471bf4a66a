"""A Mac's SMC as one function over bytes, by the offsets of its structure; and its moods."""

from __future__ import annotations

import struct
from collections.abc import Callable

KEY, SIZE, TYPE, ATTRIBUTES, RESULT, DATA8, DATA32, BYTES = 0, 28, 32, 36, 40, 42, 44, 48
READ, WRITE, KEY_AT, KEY_INFO = 5, 6, 8, 9
LENGTH = 80
MANUAL, SYSTEM = 1, 3
FORMATS = {"flt ": "<f", "ui8 ": ">B", "ui16": ">H", "ui32": ">I", "sp78": ">h", "fpe2": ">H"}


class FakeSmc:
    """Keys and their bytes.

    Args:
        clock: the machine's time.
        mode: the last two letters of the fans' mode keys; empty for a machine without.
        has_test_flag: whether `Ftst` is there.
        is_owned: whether the system owns the fans, and refuses a mode until the flag is set.
        unlock_s: how long after the flag it goes on refusing.
        taken_back_s: how long after a mode was written the system takes the fan back, once.
        lies_about_size: whether a written target is called a size mismatch, and taken.
    """

    def __init__(  # noqa: PLR0913 - what a machine may be like
        self,
        clock: Callable[[], float],
        *,
        mode: str = "Md",
        has_test_flag: bool = True,
        is_owned: bool = True,
        unlock_s: float = 3.0,
        taken_back_s: float | None = None,
        lies_about_size: bool = False,
    ) -> None:
        self._clock = clock
        self._unlock_s, self._taken_back_s = unlock_s, taken_back_s
        self._lies = lies_about_size
        self.mode = mode
        self.is_root = True
        self.requests: list[bytes] = []
        self.values: dict[str, tuple[str, bytes]] = {}
        self._flag_s: float | None = None
        self._back_s: float | None = None
        self.put("FNum", "ui8 ", 2)
        for fan in (0, 1):
            for key, value in (("Ac", 1300), ("Mn", 1200), ("Mx", 5800), ("Tg", 1350)):
                self.put(f"F{fan}{key}", "flt ", value)
            if mode:
                self.put(f"F{fan}{mode}", "ui8 ", SYSTEM if is_owned else 0)
        if has_test_flag:
            self.put("Ftst", "ui8 ", 0)
        self.put("Tp01", "flt ", 71.5)
        self.put("Tg05", "flt ", 64.25)
        self.put("PSTR", "flt ", 38.0)
        self.put("#KEY", "ui32", len(self.values) + 1)

    def put(self, key: str, kind: str, value: float) -> None:
        form = FORMATS[kind]
        number = value if kind == "flt " else round(value)
        self.values[key] = (kind, struct.pack(form, number))

    def get(self, key: str) -> float:
        kind, data = self.values[key]
        return float(struct.unpack(FORMATS[kind], data)[0])

    def fans(self) -> dict[str, float]:
        """Return all that sets a fan, the system's own two modes as one."""
        keys = [k for k in self.values if k[:1] == "F" and k[2:] in ("Md", "md", "Tg")]
        found = {key: self.get(key) for key in (*keys, "Ftst") if key in self.values}
        return {k: (0 if v == SYSTEM and k[2:].lower() == "md" else v) for k, v in found.items()}

    def call(self, selector: int, request: bytes) -> tuple[int, bytes]:
        assert selector == 2
        assert len(request) == LENGTH
        self.requests.append(request)
        self._let_time_pass()
        answer = bytearray(request)
        command = request[DATA8]
        if command == KEY_AT:
            name = list(self.values)[struct.unpack_from("=I", request, DATA32)[0]]
            struct.pack_into("=I", answer, KEY, int.from_bytes(name.encode(), "big"))
            return 0, bytes(answer)
        key = struct.unpack_from("=I", request, KEY)[0].to_bytes(4, "big").decode()
        if key not in self.values:
            answer[RESULT] = 0x84
        elif command == KEY_INFO:
            kind, data = self.values[key]
            struct.pack_into("=I", answer, SIZE, len(data))
            struct.pack_into("=I", answer, TYPE, int.from_bytes(kind.encode(), "big"))
            answer[ATTRIBUTES] = 0xC0
        elif command == READ:
            answer[BYTES : BYTES + len(self.values[key][1])] = self.values[key][1]
        elif command == WRITE:
            if not self.is_root:
                return 0xE00002C2, bytes(answer)
            answer[RESULT] = self._write(key, request)
        return 0, bytes(answer)

    def _write(self, key: str, request: bytes) -> int:
        kind, old = self.values[key]
        size = struct.unpack_from("=I", request, SIZE)[0]
        data = request[BYTES : BYTES + size]
        if size != len(old):
            return 0x87
        if key[2:] == self.mode and data == b"\x01" and self._is_refusing(key):
            return 0x82
        self.values[key] = (kind, data)
        if key == "Ftst":
            self._flag_s = self._clock() if data == b"\x01" else None
        if key[2:] == self.mode and self._taken_back_s is not None:
            self._back_s = self._clock() + self._taken_back_s
        return 0x87 if self._lies and key.endswith("Tg") else 0

    def _is_refusing(self, key: str) -> bool:
        return self.get(key) == SYSTEM

    def _let_time_pass(self) -> None:
        now = self._clock()
        if self._flag_s is not None and now - self._flag_s >= self._unlock_s:
            for key in self.values:
                if self.mode and key[2:] == self.mode and self.get(key) == SYSTEM:
                    self.put(key, "ui8 ", 0)
        if self._back_s is not None and now >= self._back_s:
            self._back_s = self._taken_back_s = None
            for fan in (0, 1):
                self.put(f"F{fan}{self.mode}", "ui8 ", SYSTEM)
