"""How fast a download is beside one bare connection, and what memory it takes.

    uv run benchmarks/download.py --size 1GB --folder /tmp/download-speed

A fake hub in a process of its own sends one file over loopback, in turn to a client that drops what
it reads, to one that also writes it, and to a download (parallel parts, journal, sha256, fsync).
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import platform
import resource
import shutil
import statistics
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import urlsplit

from mtplx_tui.library.download import Download
from mtplx_tui.library.hub import Hub
from mtplx_tui.wording import read_bytes
from tests.fakes.hub import FakeHub, safetensors_bytes

NAME = "org/large"
ROUNDS = 3


def serve(size: int, told: Connection) -> None:
    """Run the hub until the parent is through."""
    with FakeHub() as hub:
        commit = hub.add(NAME, {"model.safetensors": safetensors_bytes({"a": ("U8", (size,))})})
        told.send((hub.url, commit))
        told.recv()


def read_bare(url: str, commit: str, place: Path | None) -> float:
    """Return the seconds that one connection takes, written to a file or dropped."""
    begin = time.perf_counter()
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    connection.request("GET", f"/{NAME}/resolve/{commit}/model.safetensors")
    response = connection.getresponse()
    buffer = memoryview(bytearray(2**20))
    with (place or Path("/dev/null")).open("wb", buffering=0) as file:
        while count := response.readinto(buffer):
            file.write(buffer[:count])
    connection.close()
    return time.perf_counter() - begin


def download(url: str, folder: Path) -> float:
    """Return the seconds that a download takes."""
    begin = time.perf_counter()
    Download(Hub(url, ""), folder, NAME).run(lambda _: None)
    return time.perf_counter() - begin


def main() -> int:
    """Measure, print one JSON object, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="1GB")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/download-speed"))
    options = parser.parse_args()
    size = int(read_bytes(options.size))
    mine, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(size, theirs))
    process.start()
    url, commit = mine.recv()
    seconds: dict[str, list[float]] = {"dropped": [], "written": [], "download": []}
    options.folder.mkdir(parents=True, exist_ok=True)
    Hub(url, "").listing(NAME)  # imports
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(ROUNDS):
        seconds["dropped"].append(read_bare(url, commit, None))
        seconds["written"].append(read_bare(url, commit, options.folder / "bare"))
        (options.folder / "bare").unlink()
        seconds["download"].append(download(url, options.folder / "hub"))
        shutil.rmtree(options.folder / "hub")
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    mine.send(None)
    process.join()
    speeds = {name: round(size / statistics.median(took) / 1e6) for name, took in seconds.items()}
    result = {
        "machine": f"{platform.machine()}, {multiprocessing.cpu_count()} cores",
        "bytes": size,
        "mb_per_s": speeds,
        "memory_grew_mb": round((after - before) / 1024, 1),
        "memory_mb": round(after / 1024, 1),
    }
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
