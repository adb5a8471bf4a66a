"""A machine's /sys as ordinary files: chips with sensors and fans, which a test can change.

Laid out like the kernel's: class/hwmon/hwmonN are links to folders under devices/.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

CPU = {
    "temp1_input": "61000",
    "temp1_label": "Package id 0",
    "temp1_crit": "100000",
    "temp2_input": "58000",
    "temp2_label": "Core 0",
}
BOARD = {
    "temp1_input": "38000",
    "temp1_label": "SYSTIN",
    "fan1_input": "820",
    "fan1_min": "300",
    "fan1_max": "2200",
    "fan1_label": "CPU fan",
    "pwm1": "97",
    "pwm1_enable": "5",
    "fan2_input": "640",
    "pwm2": "60",
    "pwm2_enable": "5",
}
GPU = {
    "temp1_input": "52000",
    "temp1_label": "edge",
    "power1_average": "31000000",
}
DISK = {"temp1_input": "41850", "temp1_label": "Composite", "temp1_crit": "84850"}


class FakeSysfs:
    """A tree under `root`, empty at first."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.hwmon = root / "class" / "hwmon"
        self.hwmon.mkdir(parents=True, exist_ok=True)

    @classmethod
    def desktop(cls, root: Path) -> FakeSysfs:
        """Return a usual machine: processor, board with two fans, graphics, disk."""
        tree = cls(root)
        tree.add("coretemp", "platform/coretemp.0", CPU)
        tree.add("nct6775", "platform/nct6775.656", BOARD)
        tree.add("amdgpu", "pci0000:00/0000:03:00.0", GPU)
        tree.add("nvme", "pci0000:00/0000:01:00.0/nvme0", DISK)
        return tree

    def add(self, name: str, device: str, files: Mapping[str, str]) -> Path:
        """Add a chip; return its folder."""
        number = len(list(self.hwmon.iterdir()))
        folder = self.root / "devices" / device / "hwmon" / f"hwmon{number}"
        folder.mkdir(parents=True)
        (folder / "device").symlink_to("../..")
        (folder / "name").write_text(f"{name}\n")
        for file, value in files.items():
            (folder / file).write_text(f"{value}\n")
        (self.hwmon / f"hwmon{number}").symlink_to(os.path.relpath(folder, self.hwmon))
        return folder

    def chip(self, name: str) -> Path:
        """Return the folder of a chip."""
        return next(
            entry.resolve()
            for entry in sorted(self.hwmon.iterdir())
            if (entry / "name").read_text().strip() == name
        )

    def put(self, chip: str, file: str, value: object) -> None:
        """Change a file, at once and whole."""
        path = self.chip(chip) / file
        beside = path.with_name(f".{file}")
        beside.write_text(f"{value}\n")
        beside.replace(path)

    def get(self, chip: str, file: str) -> str:
        """Return what is in a file."""
        return (self.chip(chip) / file).read_text().strip()

    def heat(self, celsius: float) -> None:
        """Set the processor's temperature."""
        self.put("coretemp", "temp1_input", round(1000 * celsius))

    def renumber(self) -> None:
        """Number the chips the other way round, as another boot may."""
        targets = [entry.resolve() for entry in sorted(self.hwmon.iterdir())]
        for entry in list(self.hwmon.iterdir()):
            entry.unlink()
        for number, folder in enumerate(reversed(targets)):
            moved = folder.with_name(f"moved{number}")
            folder.rename(moved)
        for number, folder in enumerate(reversed(targets)):
            moved = folder.with_name(f"moved{number}")
            there = moved.with_name(f"hwmon{number}")
            moved.rename(there)
            (self.hwmon / f"hwmon{number}").symlink_to(os.path.relpath(there, self.hwmon))

    def fans(self) -> dict[str, str]:
        """Return each file by which fans are set, and what is in it."""
        return {
            str(path.relative_to(self.root)): path.read_text()
            for path in sorted((self.root / "devices").rglob("pwm*"))
        }
