"""Linux: sensors and fans as the kernel shows them under /sys, one value a file.

`Hwmon` reads; `SysfsFans` holds fans and gives them back, and is used by the guard alone. A file
that vanishes, can't be read or holds nonsense is a missing value, never an error. Standard library
only.

Source:
    Documentation/hwmon/sysfs-interface.rst in the kernel's tree.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mtplx_tui.machine.readings import Fan, Group, Kind, Owner, Reading, hottest

__all__ = ["FanError", "Hwmon", "SysfsFans"]

MANUAL = 1
"""The value of pwmN_enable under which the kernel leaves the duty to us."""
FULL = 255
COARSE = 16
"""Some chips know fewer steps of duty than 256; a read-back may differ by so much."""
LOOK_AGAIN_S = 10.0
"""How often the tree is searched for new devices."""
CELSIUS, WATTS, RPM = (-40.0, 150.0), (0.0, 5_000.0), (0.0, 100_000.0)
"""What a sensor may say and be believed; absent ones answer -128, 0xffff and the like."""
_FILE = re.compile(r"(temp|fan|power|pwm)(\d+)(?:_(input|average))?")
_GROUPS = {
    "coretemp": Group.CPU,
    "k10temp": Group.CPU,
    "zenpower": Group.CPU,
    "cpu": Group.CPU,
    "x86_pkg_temp": Group.CPU,
    "soc": Group.CPU,
    "amdgpu": Group.GPU,
    "nouveau": Group.GPU,
    "radeon": Group.GPU,
    "i915": Group.GPU,
    "xe": Group.GPU,
    "gpu": Group.GPU,
    "nvme": Group.DISK,
    "drivetemp": Group.DISK,
    "jc42": Group.MEMORY,
    "spd5118": Group.MEMORY,
    "bat": Group.BATTERY,
    "macsmc_battery": Group.BATTERY,
}


class FanError(OSError):
    """A fan can't be held or given back; the message is one line."""


@dataclass(frozen=True, slots=True)
class Chip:
    """A folder of hwmon, with what stays the same when the kernel numbers anew."""

    folder: str
    name: str
    device: str
    """The device's real path below the root; empty where it has none."""
    files: frozenset[str]

    @property
    def id(self) -> str:
        """Name and device."""
        return f"{self.name}@{self.device}"

    def path(self, file: str) -> str:
        """Return the path of one of its files."""
        return f"{self.folder}/{file}"


def read_text(path: str) -> str | None:
    """Return the first 64 bytes of a file; None where it can't be read."""
    try:
        # A pipe in the tree would else hold us up for ever.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        return None
    try:
        return os.read(handle, 64).decode("utf-8", "replace")
    except OSError:
        return None
    finally:
        os.close(handle)


def read_number(path: str) -> int | None:
    """Return a file's whole number; None where there is none."""
    text = (read_text(path) or "").strip()
    return int(text) if re.fullmatch(r"-?\d{1,18}", text) else None


def write_number(path: str, value: str) -> None:
    """Write a whole number. The kernel would take anything else for 0, so nothing else is written.

    Raises:
        FanError: it is no whole number.
        OSError: it can't be written.
    """
    if not re.fullmatch(r"\d{1,3}\s*", value):
        raise FanError(f"{value!r} is no value for a fan")
    handle = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    try:
        os.write(handle, value.encode())
    finally:
        os.close(handle)


def find_chips(root: Path) -> list[Chip]:
    """Return the devices of hwmon that have a name, in the kernel's order."""
    top = os.path.join(os.path.realpath(root), "")
    folder = f"{top}class/hwmon"
    chips = []
    for entry in sorted(_listed(folder), key=lambda name: (len(name), name)):
        here = f"{folder}/{entry}"
        name = (read_text(f"{here}/name") or "").strip()
        files = frozenset(_listed(here))
        if name and files:
            device = os.path.realpath(f"{here}/device") if "device" in files else ""
            chips.append(Chip(here, name, device.removeprefix(top), files))
    return chips


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _group(chip: str, label: str) -> Group:
    for word in (label.lower(), chip.lower()):
        for name, group in _GROUPS.items():
            if word == name or re.match(rf"{name}[\d_-]", word):
                return group
    return Group.BOARD


class Hwmon:
    """Reads temperatures, power and fans of a tree.

    Args:
        root: of the tree, /sys or another one of its form.
        clock: the monotonic one.
    """

    def __init__(self, root: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._root = root
        self._clock = clock
        self._chips: list[Chip] = []
        self._labels: dict[str, str] = {}
        self._looked_s: float | None = None

    def read(self) -> tuple[list[Reading], list[Fan]]:
        """Return what answers now."""
        now = self._clock()
        if self._looked_s is None or now - self._looked_s >= LOOK_AGAIN_S or self._has_moved():
            self._chips, self._looked_s, self._labels = find_chips(self._root), now, {}
        readings = [reading for chip in self._chips for reading in self._readings(chip)]
        if not any(reading.kind is Kind.CELSIUS for reading in readings):
            readings += self._zones()
        return readings, [fan for chip in self._chips for fan in self._fans(chip)]

    def _has_moved(self) -> bool:
        """Whether a folder is another device now, or none."""
        return any((read_text(c.path("name")) or "").strip() != c.name for c in self._chips)

    def _readings(self, chip: Chip) -> Iterator[Reading]:
        for file in sorted(chip.files):
            match = _FILE.fullmatch(file)
            if match is None or match[3] is None or match[1] not in ("temp", "power"):
                continue
            is_heat = match[1] == "temp"
            limits = CELSIUS if is_heat else WATTS
            value = _scaled(chip.path(file), 1e-3 if is_heat else 1e-6, limits)
            if value is None or (match[3] == "average" and f"power{match[2]}_input" in chip.files):
                continue
            label = self._label(chip, match[1] + match[2])
            critical = _scaled(chip.path(f"temp{match[2]}_crit"), 1e-3, (1.0, 150.0))
            yield Reading(
                id=f"{chip.id}/{match[1]}{match[2]}",
                name=label or f"{chip.name} {match[1]}{match[2]}",
                kind=Kind.CELSIUS if is_heat else Kind.WATTS,
                group=_group(chip.name, label),
                value=value,
                source=f"hwmon {chip.name}",
                at_s=self._clock(),
                critical=critical if is_heat else None,
            )

    def _label(self, chip: Chip, stem: str) -> str:
        path = chip.path(f"{stem}_label")
        if path not in self._labels:
            self._labels[path] = _plain_text(read_text(path) or "")
        return self._labels[path]

    def _zones(self) -> Iterator[Reading]:
        """Return thermal zones, which say less than hwmon and often the same again."""
        folder = f"{self._root}/class/thermal"
        for entry in sorted(_listed(folder), key=lambda name: (len(name), name)):
            value = _scaled(f"{folder}/{entry}/temp", 1e-3, CELSIUS)
            if value is not None and entry.startswith("thermal_zone"):
                kind = _plain_text(read_text(f"{folder}/{entry}/type") or "") or entry
                group = _group(kind, "")
                at_s = self._clock()
                yield Reading(
                    f"{entry}/{kind}", kind, Kind.CELSIUS, group, value, "thermal zone", at_s
                )

    def _fans(self, chip: Chip) -> Iterator[Fan]:
        indices = {m[2] for m in map(_FILE.fullmatch, chip.files) if m and m[1] in ("fan", "pwm")}
        for index in sorted(indices, key=int):
            mode = read_number(chip.path(f"pwm{index}_enable"))
            duty = _scaled(chip.path(f"pwm{index}"), 100 / FULL, (0.0, 100.0))
            rpm = _scaled(chip.path(f"fan{index}_input"), 1.0, RPM)
            if rpm is None and duty is None:
                continue
            label = self._label(chip, f"fan{index}")
            yield Fan(
                id=f"{chip.id}/fan{index}",
                name=label or f"{chip.name} fan {index}",
                rpm=rpm,
                minimum_rpm=_scaled(chip.path(f"fan{index}_min"), 1.0, RPM),
                maximum_rpm=_scaled(chip.path(f"fan{index}_max"), 1.0, (1.0, RPM[1])),
                percent=duty,
                owner=_owner(mode),
                is_controllable=mode is not None and duty is not None,
                source=f"hwmon {chip.name}",
                at_s=self._clock(),
            )


def _owner(mode: int | None) -> Owner:
    if mode is None:
        return Owner.UNKNOWN
    return Owner.MANUAL if mode == MANUAL else Owner.SYSTEM


def _scaled(path: str, scale: float, limits: tuple[float, float]) -> float | None:
    number = read_number(path)
    if number is None:
        return None
    value = number * scale
    return value if limits[0] <= value <= limits[1] else None


def _plain_text(text: str) -> str:
    """Return a label without what a terminal would obey."""
    return "".join(sign for sign in text if sign.isprintable()).strip()[:40]


class SysfsFans:
    """Fans behind pwmN and pwmN_enable. For the guard, which is the only one that writes.

    An original is what a fan was found with, as text: it goes back byte for byte.

    Args:
        root: of the tree.
    """

    name = "sysfs"

    def __init__(self, root: Path) -> None:
        self._root = root
        self._sensors = Hwmon(root)
        self._has_processors = False

    def snapshot(self) -> list[dict[str, str]]:
        """Return the originals of all fans that can be held.

        Raises:
            FanError: there is none, or a fan is in other hands already.
        """
        originals = []
        for chip in find_chips(self._root):
            for index in sorted(_pwm_indices(chip.files), key=int):
                mode, duty = (
                    read_text(chip.path(f)) for f in (f"pwm{index}_enable", f"pwm{index}")
                )
                if mode is None or duty is None or not (_is_whole(mode) and _is_whole(duty)):
                    continue
                if int(mode) == MANUAL:
                    raise FanError(
                        f"{chip.name} pwm{index} is in manual mode already: "
                        "another program or a person holds it"
                    )
                own = {"chip": chip.name, "device": chip.device, "index": index}
                originals.append({**own, "enable": mode, "pwm": duty})
        if not originals:
            raise FanError("no fan here can be held and given back to an automatic mode")
        return originals

    def boost(
        self, originals: list[dict[str, str]], percent: float, pause: Callable[[float], bool]
    ) -> None:
        """Run the fans at this share of full, or as fast as they were found where that is faster.

        Args:
            originals: what `snapshot` gave.
            percent: over 0, up to 100.
            pause: waits some seconds; unused, for no chip needs it.

        Raises:
            OSError: a fan couldn't be set, or shows that it didn't take the value.
        """
        del pause
        for original in originals:
            chip, index = self._find(original), original["index"]
            found = int(original["pwm"])
            duty = max(found, min(FULL, round(FULL * percent / 100)))
            write_number(chip.path(f"pwm{index}_enable"), f"{MANUAL}\n")
            if read_number(chip.path(f"pwm{index}_enable")) != MANUAL:
                raise FanError(f"{chip.name} pwm{index} doesn't go into manual mode")
            write_number(chip.path(f"pwm{index}"), f"{duty}\n")
            taken = read_number(chip.path(f"pwm{index}"))
            if taken is None or abs(taken - duty) > COARSE or taken < found:
                raise FanError(f"{chip.name} pwm{index} doesn't take the duty: it reads {taken}")

    def is_held(self, originals: list[dict[str, str]]) -> bool:
        """Whether all fans are in our hands still."""
        try:
            return all(
                read_number(self._find(o).path(f"pwm{o['index']}_enable")) == MANUAL
                for o in originals
            )
        except FanError:
            return False

    def restore(self, originals: list[dict[str, str]]) -> list[str]:
        """Give each fan its original back; return what is not seen to be so, one line each."""
        problems = []
        for original in originals:
            try:
                self._restore(original)
            except (OSError, KeyError, TypeError) as error:
                problems.append(" ".join(str(error).split()))
        return problems

    def _restore(self, original: dict[str, str]) -> None:
        chip, index = self._find(original), original["index"]
        wanted = automatic(original["enable"])
        if read_number(chip.path(f"pwm{index}_enable")) == int(wanted):
            return  # Not touched yet, or the machine's own again.
        failed: OSError | None = None
        try:
            # Some drivers take the duty found as their first one, so it goes first.
            write_number(chip.path(f"pwm{index}"), original["pwm"])
        except OSError as error:
            failed = error
        write_number(chip.path(f"pwm{index}_enable"), wanted)
        mode = read_number(chip.path(f"pwm{index}_enable"))
        if mode != int(wanted):
            raise FanError(f"{chip.name} pwm{index}_enable reads {mode}, not {wanted.strip()}")
        if failed is not None:
            raise failed

    def celsius(self) -> float | None:
        """Return the hottest processor's temperature; None where nothing answers.

        A machine without a sensor on its processors is judged by those it has.
        """
        warmest = hottest(self._sensors.read()[0])
        if warmest is None:
            return None
        is_processor = warmest.group in (Group.CPU, Group.GPU)
        self._has_processors |= is_processor
        return warmest.value if is_processor or not self._has_processors else None

    def _find(self, original: dict[str, str]) -> Chip:
        """Return the chip of an original, whatever its number is now."""
        own = (original["chip"], original["device"])
        found = [chip for chip in find_chips(self._root) if (chip.name, chip.device) == own]
        if len(found) != 1:
            state = "is not there" if not found else "is there more than once"
            raise FanError(f"{original['chip']} at {original['device'] or 'no device'} {state}")
        return found[0]


def automatic(mode: str) -> str:
    """Return the mode to restore: the one found, but never a manual one left by a crash."""
    return "2\n" if _is_whole(mode) and int(mode) == MANUAL else mode


def _pwm_indices(files: Iterable[str]) -> list[str]:
    names = set(files)
    found = [m[1] for m in (re.fullmatch(r"pwm(\d+)", name) for name in names) if m]
    return [index for index in found if f"pwm{index}_enable" in names]


def _is_whole(text: str) -> bool:
    return re.fullmatch(r"\d{1,3}\s*", text) is not None
