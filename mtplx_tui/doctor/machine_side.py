"""The machine: graphics cards and their driver, memory, sensors, and what the fan guard left."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from mtplx_tui.doctor.check import Check, NotLookedAt, Severity
from mtplx_tui.doctor.install import has_nvidia
from mtplx_tui.doctor.surroundings import Surroundings
from mtplx_tui.library.catalog import machine_bytes
from mtplx_tui.wording import in_bytes

__all__ = ["check_fans", "check_gpu", "check_memory", "check_sensors"]

LEAST_DRIVER = 580
"""Of NVIDIA's Linux drivers, the first that runs CUDA 13."""
_SENSORS_S = 2.0


def check_gpu(s: Surroundings) -> Iterator[Check]:
    """Tell graphics cards and the driver, as far as the system shows them."""
    if s.system == "darwin":
        yield Check("GPU", "Apple's, by Metal", "the engine's line tells")
        return
    if not has_nvidia(s):
        yield Check("GPU", "none is needed", "no NVIDIA card is shown by the system")
        return
    yield Check("GPU", "an NVIDIA card", ", ".join(_cards(s.root)) or "a card of unknown name")
    yield _driver(s.root)
    if importlib.util.find_spec("pynvml") is None:
        remedy = "pip install 'mtplx-tui[nvidia]' shows temperature and power of the card"
        yield Check("NVML", "nvidia-ml-py", "not installed", Severity.NOTE, remedy)


def _cards(root: Path) -> list[str]:
    files = sorted(root.glob("proc/driver/nvidia/gpus/*/information"))
    models = (re.search(r"^Model:\s*(.+?)\s*$", _text(file), re.MULTILINE) for file in files)
    return [model[1] for model in models if model is not None]


def _driver(root: Path) -> Check:
    expected = f"{LEAST_DRIVER} or newer, for CUDA 13"
    text = _text(root / "proc/driver/nvidia/version")
    match = re.search(r"\b(\d{3,4})\.\d+(?:\.\d+)?\b", text)
    if match is None:
        return Check("GPU driver", expected, "its version is not told", Severity.NOTE)
    is_old = int(match[1]) < LEAST_DRIVER
    severity = Severity.ERROR if is_old else Severity.OK
    return Check("GPU driver", expected, match[0], severity, _NEWER_DRIVER if is_old else "")


_NEWER_DRIVER = "install a newer NVIDIA driver, or use the CPU: pip install 'mtplx-tui[cpu]'"


def check_memory(s: Surroundings) -> Iterator[Check]:
    """Tell what memory is free, and whether the machine swaps."""
    total = machine_bytes()
    known = dict(re.findall(r"^(\w+):\s+(\d+) kB$", _text(s.root / "proc/meminfo"), re.MULTILINE))
    facts = {name: int(count) * 1024 for name, count in known.items()}
    free = facts.get("MemAvailable")
    wanted = f"{in_bytes(s.needs.memory)} free, for the demo"
    if free is None:
        is_small = total < s.needs.memory
        found = f"{in_bytes(total)} in all; what is free is not told"
    else:
        is_small = free < s.needs.memory
        found = f"{in_bytes(free)} of {in_bytes(facts.get('MemTotal', total))} free"
    remedy = "close other programs, or open a smaller model" if is_small else ""
    yield Check("memory", wanted, found, Severity.WARNING if is_small else Severity.OK, remedy)
    yield _swap(facts, is_small=is_small)


def _swap(facts: dict[str, int], *, is_small: bool) -> Check:
    size = facts.get("SwapTotal")
    if size is None:
        return _swap_of_mac()
    used = size - facts.get("SwapFree", size)
    found = f"{in_bytes(used)} of {in_bytes(size)} in use" if size else "none"
    if is_small and 2 * used > size > 0:
        remedy = "the machine is swapping: a model that does not fit would crawl"
        return Check("swap", "little of it in use", found, Severity.WARNING, remedy)
    return Check("swap", "little of it in use", found)


def _swap_of_mac() -> Check:
    command = ["/usr/sbin/sysctl", "-n", "vm.swapusage"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return Check("swap", "little of it in use", "not told by this system", Severity.NOTE)
    return Check("swap", "little of it in use", " ".join(done.stdout.split()))


def check_sensors(s: Surroundings) -> Iterator[Check]:
    """Read every sensor once."""
    from mtplx_tui.fans import status_line
    from mtplx_tui.machine.sensors import Sensors, find_sources

    sensors = Sensors(find_sources(s.sysfs))
    sensors.start()
    sensors.settle(_SENSORS_S)
    sensors.stop()
    snapshot = sensors.snapshot()
    severity = Severity.NOTE if snapshot.is_empty else Severity.OK
    yield Check("sensors", "temperatures, power, fans", status_line(snapshot), severity)
    for problem in sensors.problems():
        remedy = "the other sensors are read all the same"
        yield Check("sensor source", "can be read", problem, Severity.WARNING, remedy)


def check_fans(s: Surroundings) -> Iterator[Check]:
    """Tell whether a guard holds the fans, or died without giving them back."""
    from mtplx_tui.machine.guard_state import Refused, StateFile, guard_pid
    from mtplx_tui.machine.guarding import find_setup

    setup = find_setup(s.sysfs, s.own_places.state / "fans")
    expected = "no fan is left held"
    pid = guard_pid(setup.state)
    if pid is not None:
        does = "holds the fans" if setup.state_file.exists() else "holds nothing"
        yield Check("fan guard", expected, f"one runs (process {pid}) and {does}")
        return
    try:
        left = StateFile(setup.state).read()
    except Refused as error:
        remedy = (
            f"run `mtplx-tui fans restore`; if that can't read it either, delete {setup.state_file}"
        )
        yield Check("fan guard", expected, str(error), Severity.ERROR, remedy)
        return
    if left is not None:
        found = f"a guard died; the fans may still be held ({setup.state_file})"
        yield Check("fan guard", expected, found, Severity.ERROR, "run `mtplx-tui fans restore`")
        return
    yield Check("fan guard", expected, "all is given back")


def _text(path: Path) -> str:
    try:
        with path.open("r", encoding="utf-8", errors="replace") as file:
            return file.read(65_536)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise NotLookedAt(f"{path} can't be read: {error.strerror}") from error
