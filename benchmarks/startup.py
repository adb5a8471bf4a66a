"""How fast the app is there: `--version`, the first frame, and the demo ready to answer.

    uv run python -m benchmarks.startup

Each start is a real one, in a pseudo-terminal; times begin before the process does. The first
start finds an empty home, so it unpacks the demo's weights, and nothing is compiled yet. All later ones
find bytecode, as those of an installed program do, even where Python is told to write none. An
import of Textual and the smallest app on it are measured beside: yardsticks for the machine's
pace. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import in_pty

PROGRAM = str(Path(sys.executable).with_name("mtplx-tui"))
FIRST_FRAME, READY = b"F3", b"is ready"
QUIT = b"\x11"
BARE = """
from textual.app import App
from textual.widgets import Static


class Bare(App[None]):
    def compose(self):
        yield Static("F3")


Bare().run()
"""
"""The smallest app there is on Textual: what no app on it can be faster than."""
PATIENCE_S = 120.0


def keep_bytecode(folder: str) -> None:
    """Have what is started from now on keep its bytecode in a folder."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = folder


def start(home: str, size: str) -> tuple[float, float]:
    """Start the app and leave it; return the seconds to the first frame and to a ready demo."""
    begin = time.perf_counter()
    pid, master = in_pty.start([PROGRAM, "demo"], size, {"MTPLX_TUI_HOME": home})
    seen = read_until(FIRST_FRAME, master)
    frame = time.perf_counter() - begin
    read_until(READY, master, seen)
    ready = time.perf_counter() - begin
    os.write(master, QUIT)
    try:
        while os.read(master, 65536):
            pass
    except OSError:  # the terminal is gone with its program
        os.waitpid(pid, 0)
    return frame, ready


def read_until(text: bytes, master: int, seen: bytes = b"") -> bytes:
    """Read what a program draws until it drew a text; return all that was read."""
    while text not in seen:
        if not select.select([master], [], [], PATIENCE_S)[0]:
            raise TimeoutError(f"{text.decode()} was not drawn")
        seen += os.read(master, 65536)
    return seen


def bare_frame_s(size: str) -> float:
    """Return the seconds to the first frame of the smallest app on Textual."""
    begin = time.perf_counter()
    pid, master = in_pty.start([sys.executable, "-c", BARE], size, {})
    read_until(FIRST_FRAME, master)
    took = time.perf_counter() - begin
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(master)
    return took


def version_s() -> float:
    """Return the seconds `--version` takes."""
    begin = time.perf_counter()
    subprocess.run([PROGRAM, "--version"], check=True, capture_output=True)
    return time.perf_counter() - begin


def import_textual_s() -> float:
    """Return the seconds an import of Textual takes: a yardstick for the machine's present pace."""
    code = (
        "import time; t = time.perf_counter(); import textual.app; print(time.perf_counter() - t)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout)


def spread(values: list[float]) -> dict[str, float]:
    """Return least and median, in seconds."""
    return {"least_s": round(min(values), 3), "median_s": round(statistics.median(values), 3)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=10)
    parser.add_argument("--size", default="120x40")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as bytecode:
        keep_bytecode(bytecode)
        first_frame, first_ready = start(home, options.size)
        warm = [start(home, options.size) for _ in range(options.starts)]
        versions = [version_s() for _ in range(options.starts)]
        imports = [import_textual_s() for _ in range(options.starts)]
        bare = [bare_frame_s(options.size) for _ in range(options.starts)]
    document = {
        **in_pty.machine(),
        "size": options.size,
        "import_textual": spread(imports),
        "bare_textual_first_frame": spread(bare),
        "version": spread(versions),
        "empty_home": {
            "first_frame_s": round(first_frame, 3),
            "ready_after_frame_s": round(first_ready - first_frame, 3),
        },
        "warm_first_frame": spread([frame for frame, _ in warm]),
        "warm_ready_after_frame": spread([ready - frame for frame, ready in warm]),
    }
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
