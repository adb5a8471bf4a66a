"""What heat costs to watch: sampling a machine of 46 sensors, and the tab drawn once a second.

    uv run python -m benchmarks.thermals_cost --out benchmarks/results/thermals_cost.json

Sampling is the processor time of a whole look at a tree of ordinary files, in the sampler's thread. The
tab is the whole app on a pseudo-terminal with five minutes of history, ticked ten times a second so that
the ticks outweigh the rest; its idle time is taken off. A share of a core is milliseconds a second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks import in_pty
from mtplx_tui.app import MtplxApp
from mtplx_tui.config import Settings, Terminal
from mtplx_tui.files import Places
from mtplx_tui.machine.guarding import find_setup
from mtplx_tui.machine.linux import Hwmon
from mtplx_tui.machine.readings import Snapshot
from mtplx_tui.machine.sensors import Sensors
from mtplx_tui.machine.station import Station

SIZES = ("80x24", "120x40", "200x60")
CORES = 32
TICKS, TICK_S, SAMPLES = 100, 0.1, 300
HISTORY_S = 300


def make_tree(root: Path) -> None:
    """Write a workstation: a processor with many cores, a board with six fans, graphics, two disks."""
    core = {f"temp{at}_input": f"{50000 + 311 * at}" for at in range(1, CORES + 2)}
    labels = {f"temp{at}_label": f"Core {at}" for at in range(1, CORES + 2)}
    board = {f"temp{at}_input": f"{35000 + at}" for at in range(1, 7)}
    for at in range(1, 7):
        board |= {f"fan{at}_input": "900", f"pwm{at}": "100", f"pwm{at}_enable": "5"}
    chips = {
        "coretemp": core | labels,
        "nct6798": board,
        "amdgpu": {"temp1_input": "51000", "temp2_input": "60000", "power1_average": "31000000"},
        "nvme": {"temp1_input": "41000", "temp2_input": "52000"},
        "drivetemp": {"temp1_input": "33000"},
        "spd5118": {"temp1_input": "39000"},
    }
    for number, (name, files) in enumerate(chips.items()):
        folder = root / "class" / "hwmon" / f"hwmon{number}"
        folder.mkdir(parents=True)
        for file, value in {"name": name, **files}.items():
            (folder / file).write_text(f"{value}\n")


def sampling_ms(root: Path) -> tuple[float, int]:
    """Return the processor time of a look, and how many sensors and fans it saw."""
    source = Hwmon(root).read
    seen = source()
    begun = time.thread_time()
    for _ in range(SAMPLES):
        source()
    return 1e3 * (time.thread_time() - begun) / SAMPLES, len(seen[0]) + len(seen[1])


class HeatApp(MtplxApp):
    """The app without an engine, on a machine whose heat is made up."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            places=Places(folder / "config", folder / "data", folder / "cache"),
            settings=Settings(),
            terminal=Terminal("xterm-256color", False, True, 2**24, True, False),  # noqa: FBT003 - its fields
            start_engine=None,
            process=None,
            model=None,
        )
        self.figures: dict[str, float] = {}
        self.now_s = 1000.0
        root = folder / "sys"
        make_tree(root)
        readings, fans = Hwmon(root, lambda: self.now_s).read()
        self._first = Snapshot(self.now_s, 0.0, tuple(readings), tuple(fans))
        setup = find_setup(root, folder / "state")
        self.station = Station(Sensors({}), setup, self._tell_thermals, lambda: self.now_s)

    def on_mount(self) -> None:
        """Measure once the first frame is there."""
        super().on_mount()
        self.call_after_refresh(lambda: self.run_worker(self._measure()))

    def second(self) -> None:
        """Let a second pass: all rises by 0.45 degrees, told in whole ones as processors do."""
        self.now_s += 1
        shift = 20 + 18 * ((self.now_s / 40) % 1)
        readings = tuple(
            replace(reading, value=round(reading.value - 20 + shift), at_s=self.now_s)
            for reading in self._first.readings
        )
        fans = tuple(
            replace(fan, rpm=900 + 20 * shift, at_s=self.now_s) for fan in self._first.fans
        )
        self.station.take(Snapshot(self.now_s, 0.0, readings, fans), is_generating=True)

    async def _measure(self) -> None:
        self.action_show_tab("thermals")
        for _ in range(HISTORY_S):
            self.second()
        await asyncio.sleep(1.0)
        begun = time.process_time()
        await asyncio.sleep(TICKS * TICK_S)
        idle = time.process_time() - begun
        begun = time.process_time()
        for _ in range(TICKS):
            self.second()
            await asyncio.sleep(TICK_S)
        self.figures["tab_ms"] = 1e3 * (time.process_time() - begun - idle) / TICKS
        self.exit()


def run_app(result: Path) -> None:
    """Run the app and write what was measured."""
    app = HeatApp(Path(tempfile.mkdtemp()))
    app.run()
    result.write_text(json.dumps(app.figures), encoding="utf-8")


def tab_ms(size: str) -> float:
    """Return the processor time of a second of the tab at a size."""
    result = Path(tempfile.mkdtemp()) / "figures.json"
    command = [sys.executable, "-m", "benchmarks.thermals_cost", "--app", str(result)]
    in_pty.run(command, size)
    return float(json.loads(result.read_text(encoding="utf-8"))["tab_ms"])


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="write the document here too")
    parser.add_argument("--app", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.app:
        run_app(arguments.app)
        return
    root = Path(tempfile.mkdtemp()) / "sys"
    make_tree(root)
    look_ms, parts = sampling_ms(root)
    tabs = {size: round(tab_ms(size), 2) for size in SIZES}
    document = {
        **in_pty.machine(),
        "load_1m": round(os.getloadavg()[0], 2),
        "sensors_and_fans": parts,
        "sampling_ms_per_s": round(look_ms, 2),
        "sampling_percent_of_core": round(look_ms / 10, 3),
        "tab_ms_per_s": tabs,
        "tab_percent_of_core": {size: round(ms / 10, 2) for size, ms in tabs.items()},
    }
    text = json.dumps(document, indent=2) + "\n"
    sys.stdout.write(text)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
