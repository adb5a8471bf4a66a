"""A Mac's sensors and fans, through its SMC. Not run on a Mac; see `smc`.

`MacSensors` reads without privilege. `SmcFans` holds fans for the guard: it finds by trying which way
this machine lets go of a fan, checks that it stays so, and never asks for less than it found.
Standard library only.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator

from mtplx_tui.machine.linux import FanError
from mtplx_tui.machine.readings import Fan, Group, Kind, Owner, Reading, hottest
from mtplx_tui.machine.smc import SIZE_MISMATCH, Call, KeyData, Smc, SmcError

__all__ = ["MacSensors", "SmcFans", "open_smc"]

AUTO, MANUAL, SYSTEM = 0, 1, 3
UNLOCK_S, RETRY_S, AGAIN_S = 10.0, 0.1, 0.5
"""The longest an unlock may take; between two tries; until it is looked at again."""
LOOSE_RPM = 50.0
PRESSURE = b"com.apple.system.thermalpressurelevel"
BELIEVED = (1.0, 130.0)
"""Celsius; absent sensors read 0, and others junk."""
GROUPS = {
    "Tp": Group.CPU,
    "Te": Group.CPU,
    "Ts": Group.CPU,
    "Tf": Group.CPU,
    "TC": Group.CPU,
    "Tg": Group.GPU,
    "TG": Group.GPU,
    "Tm": Group.MEMORY,
    "TH": Group.DISK,
    "TB": Group.BATTERY,
    "TA": Group.BOARD,
}
"""By the first letters of a key. Names are folklore: the same key may be another core elsewhere."""


def open_smc() -> Smc:
    """Return the machine's own controller.

    Raises:
        OSError: there is none.
    """
    return Smc(_open_call())


def _open_call() -> Call:
    """Open AppleSMC; return its one entry point."""
    kit = ctypes.CDLL("/System/Library/Frameworks/IOKit.framework/IOKit")
    system = ctypes.CDLL("/usr/lib/libSystem.B.dylib")
    port, pointer = ctypes.c_uint32, ctypes.c_void_p
    kit.IOServiceMatching.argtypes, kit.IOServiceMatching.restype = [ctypes.c_char_p], pointer
    kit.IOServiceGetMatchingService.argtypes = [port, pointer]
    kit.IOServiceGetMatchingService.restype = port
    kit.IOServiceOpen.argtypes = [port, port, ctypes.c_uint32, ctypes.POINTER(port)]
    kit.IOServiceOpen.restype = ctypes.c_uint32
    kit.IOObjectRelease.argtypes = [port]
    method = kit.IOConnectCallStructMethod
    size_t = ctypes.c_size_t
    method.argtypes = [port, ctypes.c_uint32, pointer, size_t, pointer, ctypes.POINTER(size_t)]
    method.restype = ctypes.c_uint32
    service = kit.IOServiceGetMatchingService(0, kit.IOServiceMatching(b"AppleSMC"))
    if not service:
        raise FileNotFoundError("this machine has no AppleSMC")
    connection = port(0)
    task = port.in_dll(system, "mach_task_self_")
    code = kit.IOServiceOpen(service, task, 0, ctypes.byref(connection))
    kit.IOObjectRelease(service)
    if code:
        raise OSError(f"AppleSMC can't be opened ({code:#x})")

    def call(selector: int, request: bytes) -> tuple[int, bytes]:
        out = ctypes.create_string_buffer(ctypes.sizeof(KeyData))
        size = size_t(len(out))
        code = method(connection, selector, request, len(request), out, ctypes.byref(size))
        return int(code), out.raw

    return call


def open_pressure() -> Callable[[], int | None]:
    """Return what asks the system how hot it finds itself: 0 nominal to 4, None if it won't say."""
    system = ctypes.CDLL("/usr/lib/libSystem.B.dylib")
    token, state = ctypes.c_int(0), ctypes.c_uint64(0)
    system.notify_register_check.argtypes = [ctypes.c_char_p, ctypes.POINTER(ctypes.c_int)]
    system.notify_get_state.argtypes = [ctypes.c_int, ctypes.POINTER(ctypes.c_uint64)]
    is_known = system.notify_register_check(PRESSURE, ctypes.byref(token)) == 0

    def ask() -> int | None:
        if not is_known or system.notify_get_state(token, ctypes.byref(state)) != 0:
            return None
        return min(int(state.value), 4)

    return ask


class MacSensors:
    """Reads temperatures, power and fans.

    Args:
        smc: the controller; None to open the machine's own at the first look.
        pressure: asks the system how hot it finds itself; None for this machine's own way.
        clock: the monotonic one.
    """

    def __init__(
        self,
        smc: Smc | None = None,
        pressure: Callable[[], int | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._smc, self._pressure, self._clock = smc, pressure, clock
        self._heat: list[str] | None = None

    def read(self) -> tuple[list[Reading], list[Fan]]:
        """Return what answers now."""
        if self._smc is None:
            self._smc, self._pressure = open_smc(), self._pressure or open_pressure()
        if self._heat is None:
            self._heat = [key for key in self._smc.all_keys() if self._is_heat(self._smc, key)]
        readings = list(self._readings(self._smc, self._heat))
        return readings, list(self._fans(self._smc))

    @staticmethod
    def _is_heat(smc: Smc, key: str) -> bool:
        if key[:2] not in GROUPS:
            return False
        try:
            return smc.info(key).type in ("flt ", "ioft", "sp78")
        except SmcError:
            return False

    def _readings(self, smc: Smc, keys: list[str]) -> Iterator[Reading]:
        for key in keys:
            value = _read(smc, key)
            if value is not None and BELIEVED[0] < value < BELIEVED[1]:
                group = GROUPS[key[:2]]
                yield Reading(
                    f"smc/{key}", key, Kind.CELSIUS, group, value, f"SMC {key}", self._clock()
                )
        level = None if self._pressure is None else self._pressure()
        if level is not None:
            yield Reading(
                "pressure",
                "thermal pressure",
                Kind.PRESSURE,
                Group.BOARD,
                level,
                "macOS",
                self._clock(),
            )
        watts = _read(smc, "PSTR")
        if watts is not None and watts > 0:
            yield Reading(
                "smc/PSTR",
                "whole system",
                Kind.WATTS,
                Group.BOARD,
                watts,
                "SMC PSTR",
                self._clock(),
            )

    def _fans(self, smc: Smc) -> Iterator[Fan]:
        for index in range(int(_read(smc, "FNum") or 0)):
            rpm, high = _read(smc, f"F{index}Ac"), _read(smc, f"F{index}Mx")
            mode_key = find_mode_key(smc, index)
            mode = None if mode_key is None else _read(smc, mode_key)
            yield Fan(
                id=f"smc/fan{index}",
                name=f"fan {index + 1}",
                rpm=rpm,
                minimum_rpm=_read(smc, f"F{index}Mn"),
                maximum_rpm=high,
                percent=100 * rpm / high
                if rpm is not None and high is not None and high > 0
                else None,
                owner=_owner(mode),
                is_controllable=mode is not None,
                source="SMC",
                at_s=self._clock(),
            )


def find_mode_key(smc: Smc, index: int) -> str | None:
    """Return the key of a fan's mode on this machine; None where it has none."""
    return next((key for key in (f"F{index}Md", f"F{index}md") if smc.has(key)), None)


def _read(smc: Smc, key: str) -> float | None:
    try:
        return smc.read(key)
    except (SmcError, ValueError):
        return None


def _owner(mode: float | None) -> Owner:
    if mode is None:
        return Owner.UNKNOWN
    return Owner.MANUAL if mode == MANUAL else Owner.SYSTEM


class SmcFans:
    """Fans of an SMC. For the guard.

    Args:
        smc: the controller.
        clock: the monotonic one, for the bound on unlocking.
    """

    name = "smc"

    def __init__(self, smc: Smc, clock: Callable[[], float] = time.monotonic) -> None:
        self._smc, self._clock = smc, clock
        self._sensors = MacSensors(smc)

    def snapshot(self) -> list[dict[str, str]]:
        """Return the originals of all fans. Raises FanError where they must not be touched."""
        originals = []
        for index in range(int(_read(self._smc, "FNum") or 0)):
            key = find_mode_key(self._smc, index)
            mode = None if key is None else _read(self._smc, key)
            if key is None or mode is None:
                continue
            if mode == MANUAL:
                raise FanError(
                    f"fan {index + 1} is in manual mode already: another program holds it"
                )
            target = _read(self._smc, f"F{index}Tg") or 0.0
            own = {"index": str(index), "mode_key": key, "mode": f"{mode:.0f}"}
            found = max(target, _read(self._smc, f"F{index}Ac") or 0.0)
            originals.append({**own, "target": f"{target:.1f}", "found": f"{found:.1f}"})
        if not originals:
            raise FanError("this machine has no fan whose mode can be set")
        if _read(self._smc, "Ftst") == 1:
            raise FanError("the fans' test flag is set already: another program holds them")
        return originals

    def boost(
        self, originals: list[dict[str, str]], percent: float, pause: Callable[[float], bool]
    ) -> None:
        """Run the fans at this share of their range, no slower than found, and see that they stay.

        Raises:
            OSError: a fan didn't go into manual mode in ten seconds, or was taken back.
        """
        deadline = self._clock() + UNLOCK_S
        targets = {original["index"]: self._target(original, percent) for original in originals}
        while True:
            for original in originals:
                self._unlock(original["mode_key"], deadline, pause)
                self._write(f"F{original['index']}Tg", targets[original["index"]])
            # A write may look well and be taken back within one of the system's own looks.
            if not pause(AGAIN_S):
                raise FanError("given up: the client is gone")
            if self.is_held(originals):
                return
            if self._clock() >= deadline:
                raise FanError("the system takes the fans back each time")

    def _target(self, original: dict[str, str], percent: float) -> float:
        index = original["index"]
        low, high = _read(self._smc, f"F{index}Mn"), _read(self._smc, f"F{index}Mx")
        return checked_rpm((high or 0.0) * percent / 100, low, float(original["found"]), high)

    def _unlock(self, key: str, deadline: float, pause: Callable[[float], bool]) -> None:
        """Bring a fan into manual mode: straight, or through the test flag."""
        if self._try_manual(key):
            return
        if self._smc.has("Ftst"):
            self._smc.write("Ftst", 1)
        while not self._try_manual(key):
            if self._clock() >= deadline:
                raise FanError(f"SMC key {key} doesn't go into manual mode")
            if not pause(RETRY_S):
                raise FanError("given up: the client is gone")

    def _try_manual(self, key: str) -> bool:
        try:
            self._smc.write(key, MANUAL)
        except SmcError:
            return False
        return _read(self._smc, key) == MANUAL

    def _write(self, key: str, value: float) -> None:
        """Write a target; some machines say that its size is wrong and take it all the same."""
        try:
            self._smc.write(key, value)
        except SmcError as error:
            if error.result != SIZE_MISMATCH:
                raise
        taken = _read(self._smc, key)
        if taken is None or abs(taken - value) > LOOSE_RPM:
            raise FanError(f"SMC key {key} reads {taken}, not {value:.0f}")

    def is_held(self, originals: list[dict[str, str]]) -> bool:
        """Whether all fans are in manual mode still."""
        return all(_read(self._smc, original["mode_key"]) == MANUAL for original in originals)

    def restore(self, originals: list[dict[str, str]]) -> list[str]:
        """Give the fans back; return what is not seen to be so."""
        problems = [line for original in originals for line in self._restore(original)]
        try:
            if self._smc.has("Ftst") and self._smc.read("Ftst") != 0:
                self._smc.write("Ftst", 0)
                if self._smc.read("Ftst") != 0:
                    problems.append("SMC key Ftst doesn't go back to 0")
        except (SmcError, ValueError) as error:
            problems.append(str(error))
        return problems

    def _restore(self, original: dict[str, str]) -> Iterator[str]:
        key = original["mode_key"]
        self._try_target(f"F{original['index']}Tg", float(original["target"]))
        try:
            if _read(self._smc, key) == MANUAL:
                self._smc.write(key, AUTO)
            mode = self._smc.read(key)
        except (SmcError, ValueError) as error:
            yield str(error)
            return
        if mode == MANUAL:
            yield f"SMC key {key} stays in manual mode"

    def _try_target(self, key: str, target: float) -> bool:
        """Put a target back; nobody obeys it once the mode is automatic, so a refusal is no harm."""
        try:
            self._smc.write(key, target)
        except (SmcError, ValueError):
            return False
        return True

    def celsius(self) -> float | None:
        """Return the hottest processor's temperature."""
        warmest = hottest(self._sensors.read()[0])
        is_processor = warmest is not None and warmest.group in (Group.CPU, Group.GPU)
        return warmest.value if warmest is not None and is_processor else None


def checked_rpm(rpm: float, low: float | None, found: float, high: float | None) -> float:
    """Return a speed within a fan's range and no slower than it was found.

    Raises:
        FanError: it is no speed, or the fan doesn't tell its range.
    """
    if high is None or not 0 < high < 20_000:
        raise FanError("the fan doesn't tell its maximum")
    if not 0 < rpm < 20_000:
        raise FanError(f"{rpm} rpm is no speed for a fan")
    return min(max(rpm, low or 0.0, found), high)
