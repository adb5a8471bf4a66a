"""How fast a download is beside one bare connection, and what memory it takes.

    uv run benchmarks/download.py --size 500MB --folder /dev/shm/download-speed > benchmarks/results/download.json

A fake hub in a process of its own sends one file over loopback, in turn to a client that drops what
it reads, to one that also writes it, and to a download (parallel parts, journal, sha256, fsync): as
fast as it can, and over lines of a given speed, which all connections share.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import multiprocessing
import os
import platform
import resource
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import urlsplit

from mtplx_tui.library.download import Download
from mtplx_tui.library.hub import Hub
from mtplx_tui.library.progress import Limiter
from mtplx_tui.wording import read_bytes
from tests.fakes.hub import SEND, FakeHub, safetensors_bytes

NAME = "org/large"
ROUNDS = 3
LINES = (None, 125e6, 312.5e6, 625e6)
"""Bytes a second; None for as fast as it goes. 1, 2.5 and 5 Gbit/s."""


@dataclass(slots=True)
class Line:
    """A line that all connections of a hub share."""

    limiter: Limiter

    def wait(self) -> None:
        """Let a piece of a body pass at the line's speed."""
        wait_s = self.limiter.take(SEND)
        if wait_s > 0:
            time.sleep(wait_s)


def serve(size: int, told: Connection) -> None:
    """Run the hub until the parent is through; it names the speed of the line."""
    limiter = Limiter()
    with FakeHub(between=Line(limiter).wait) as hub:
        commit = hub.add(NAME, {"model.safetensors": safetensors_bytes({"a": ("U8", (size,))})})
        told.send((hub.url, commit))
        while (speed := told.recv()) != "end":
            limiter.bytes_per_s = speed
            told.send("set")


def read_bare(url: str, commit: str, place: Path) -> float:
    """Return the seconds that one connection takes, written to a file; /dev/null drops it."""
    begin = time.perf_counter()
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    connection.request("GET", f"/{NAME}/resolve/{commit}/model.safetensors")
    response = connection.getresponse()
    buffer = memoryview(bytearray(2**20))
    with place.open("wb", buffering=0) as file:
        while count := response.readinto(buffer):
            file.write(buffer[:count])
    connection.close()
    return time.perf_counter() - begin


def download(url: str, folder: Path) -> float:
    """Return the seconds that a download takes."""
    begin = time.perf_counter()
    Download(Hub(url, ""), folder, NAME).run(lambda _: None)
    return time.perf_counter() - begin


def hash_speed() -> int:
    """Return the MB/s of sha256 alone on one core, which no verified download passes."""
    piece = os.urandom(2**22)
    begin = time.perf_counter()
    for _ in range(60):
        hashlib.sha256(piece).digest()
    return round(60 * len(piece) / (time.perf_counter() - begin) / 1e6)


def measure(size: int, runs: Mapping[str, Callable[[], float]]) -> dict[str, float]:
    """Return the median MB/s of each run, taken in turns, and the download's share of them."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            seconds[name].append(run())
    speeds: dict[str, float] = {
        name: round(size / statistics.median(took) / 1e6) for name, took in seconds.items()
    }
    return {**speeds, "of_written": round(speeds["download"] / speeds["written"], 3)}


def main() -> int:
    """Measure, print one JSON object, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="500MB")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/download-speed"))
    options = parser.parse_args()
    size = int(read_bytes(options.size))
    mine, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(size, theirs))
    process.start()
    url, commit = mine.recv()
    options.folder.mkdir(parents=True, exist_ok=True)
    bare, hub = options.folder / "bare", options.folder / "hub"

    def written() -> float:
        took = read_bare(url, commit, bare)
        bare.unlink()
        return took

    def downloaded() -> float:
        took = download(url, hub)
        shutil.rmtree(hub)
        return took

    Hub(url, "").listing(NAME)  # imports
    before = resource.getrusage(resource.RUSAGE_SELF)
    speeds = {}
    for line in LINES:
        mine.send(line)
        mine.recv()
        runs = {"written": written, "download": downloaded}
        if line is None:
            runs = {"dropped": lambda: read_bare(url, commit, Path("/dev/null")), **runs}
        name = "as fast as it goes" if line is None else f"a line of {line / 1e6:g} MB/s"
        speeds[name] = measure(size, runs)
        if line is not None:
            speeds[name]["of_line"] = round(speeds[name]["download"] * 1e6 / line, 3)
    after = resource.getrusage(resource.RUSAGE_SELF)
    mine.send("end")
    process.join()
    result = {
        "machine": f"{platform.machine()}, {multiprocessing.cpu_count()} cores",
        "bytes": size,
        "mb_per_s": speeds,
        "sha256_mb_per_s": hash_speed(),
        "memory_grew_mb": round((after.ru_maxrss - before.ru_maxrss) / 1024, 1),
        "memory_mb": round(after.ru_maxrss / 1024, 1),
    }
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
