"""What this machine has: chip, memory, free disk, and how fast it reads weights."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from mtplx_tui.config import find_hub_cache
from mtplx_tui.library.catalog import machine_bytes
from mtplx_tui.library.speed import MachineSpeed, bytes_per_s
from mtplx_tui.wording import in_bytes

__all__ = ["Machine", "look", "machine_lines", "speed_lines"]

_CPUINFO = Path("/proc/cpuinfo")
_CHIP_S = 2.0


@dataclass(frozen=True, slots=True)
class Machine:
    """What can be told at once."""

    chip: str
    cores: int
    memory_bytes: int
    free_bytes: int | None
    """Of the disk that models are downloaded to; None where it can't be told."""


def look() -> Machine:
    """Return what this machine has."""
    return Machine(
        chip=_chip(),
        cores=os.cpu_count() or 1,
        memory_bytes=machine_bytes(),
        free_bytes=_free_bytes(find_hub_cache()),
    )


def machine_lines(machine: Machine) -> list[str]:
    """Return the facts in words, a label before each."""
    free = "not known" if machine.free_bytes is None else f"{in_bytes(machine.free_bytes)} free"
    cores = f"{machine.cores} core{'' if machine.cores == 1 else 's'}"
    return [
        f"chip      {machine.chip}, {cores}",
        f"memory    {in_bytes(machine.memory_bytes)}",
        f"disk      {free}",
    ]


def speed_lines(speed: MachineSpeed | None) -> list[str]:
    """Return how fast weights are read, and by what; a label before each."""
    if speed is None:
        return ["weights   how fast they are read could not be measured; no speeds are predicted"]
    low, high = (f"{rate / 1e9:.3g}" for rate in bytes_per_s(speed))
    span = low if low == high else f"{low} to {high}"
    doubt = "" if speed.is_steady else " while something else ran"
    return [
        f"GPU       {'used by MLX' if speed.device == 'gpu' else 'none that MLX can use'}",
        f"weights   read at {span} GB/s, measured{doubt}",
    ]


def _chip() -> str:
    """Return the processor's name, or its kind where it has none."""
    if platform.system() == "Darwin":
        return _told_by_sysctl() or platform.machine()
    try:
        lines = _CPUINFO.read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2] for line in lines if line.startswith("model name"))
    return " ".join(next(names, "").split()) or platform.machine() or "unknown"


def _told_by_sysctl() -> str:
    command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_CHIP_S)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _free_bytes(folder: Path) -> int | None:
    """Return the free bytes of the disk that a folder is on, or will be."""
    for place in (folder, *folder.parents):
        try:
            return shutil.disk_usage(place).free
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None
