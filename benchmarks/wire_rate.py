"""How many bytes a second the app writes to its terminal while an answer streams, and on a slow line.

    uv run python -m benchmarks.wire_rate > benchmarks/results/wire_rate.json

The whole app on a pseudo-terminal of 120x40, without an engine; made-up events stand in for it: 20
batches a second of two cycles each, 120 tokens a second. In the chat and in the ribbon, locally and over
ssh (as SSH_CONNECTION tells). Then with a reader that takes 4 kB a second, as a bad line does: how late
the event loop gets its turns. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import select
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks import in_pty
from benchmarks.ribbon import cycle
from engine.protocol import Channel, Event, ModelLoaded, RequestStarted, TextRun
from mtplx_tui.app import MtplxApp
from mtplx_tui.config import Settings, read_terminal
from mtplx_tui.files import Places
from tests.fakes.streams import MODEL, STARTED, started

SECONDS = 12
WARM_S = 2
TICK_S = 0.05
CYCLES_PER_TICK = 2
TURN_S = 0.005
SLOW_BYTES_PER_S = 4_000
CASES = (
    ("chat", "", 0),
    ("chat", "ssh", 0),
    ("speculation", "", 0),
    ("speculation", "ssh", 0),
    ("speculation", "", SLOW_BYTES_PER_S),
    ("speculation", "ssh", SLOW_BYTES_PER_S),
)


class StreamApp(MtplxApp):
    """The app, which says an answer to itself."""

    def __init__(self, folder: Path, tab: str) -> None:
        super().__init__(
            places=Places(folder / "config", folder / "data", folder / "cache"),
            settings=Settings(restore=False),
            terminal=read_terminal(),
            start_engine=None,
            process=None,
            model="demo",
        )
        self._tab = tab
        self.lags: list[float] = []

    def on_mount(self) -> None:
        """Begin once the first frame is there."""
        super().on_mount()
        self.call_after_refresh(lambda: self.run_worker(self._stream()))

    async def _stream(self) -> None:
        self.feed([STARTED, ModelLoaded("load", MODEL)])
        command = self.desk.ask("Why is the sky blue?", MODEL)
        self.action_show_tab(self._tab)
        await asyncio.sleep(WARM_S)
        begin: RequestStarted = replace(started(), request=command.request)
        self.feed([begin])
        turns = asyncio.create_task(self._take_turns())
        number, end = 0, time.monotonic() + SECONDS
        while time.monotonic() < end:
            events: list[Event] = []
            for _ in range(CYCLES_PER_TICK):
                made = cycle(number)
                text = "".join(made.emitted_pieces)
                runs = (TextRun(Channel.ANSWER, text),)
                events.append(replace(made, request=command.request, cycle=number, runs=runs))
                number += 1
            self.feed(events)
            await asyncio.sleep(TICK_S)
        turns.cancel()
        self.exit()

    async def _take_turns(self) -> None:
        while True:
            begun = time.perf_counter()
            await asyncio.sleep(TURN_S)
            self.lags.append(time.perf_counter() - begun - TURN_S)


def run_app(tab: str, result: Path) -> None:
    """Run the app and write how late its turns came."""
    app = StreamApp(Path(tempfile.mkdtemp()), tab)
    app.run()
    ordered = sorted(app.lags)
    figures = {
        "p99": round(1e3 * ordered[int(0.99 * (len(ordered) - 1))], 1),
        "most": round(1e3 * ordered[-1], 1),
    }
    result.write_text(json.dumps(figures), encoding="utf-8")


def measured(tab: str, line: str, limit: int) -> dict[str, object]:
    """Run one case; return bytes a second while the answer streamed, and the loop's lag in ms."""
    result = Path(tempfile.mkdtemp()) / "figures.json"
    command = [sys.executable, "-m", "benchmarks.wire_rate", "--app", str(result), "--tab", tab]
    environment = {"SSH_CONNECTION": "10.0.0.1 1 10.0.0.2 22" if line else ""}
    pid, master = in_pty.start(command, "120x40", environment)
    sizes = read_all(master, limit)
    os.waitpid(pid, 0)
    os.close(master)
    end = sizes[-1][0]
    while_streaming = [size for at, size in sizes if end - SECONDS <= at <= end - 0.5]
    return {
        "tab": tab,
        "line": line or "local",
        "reader_bytes_per_s": limit or None,
        "bytes_per_s": None if limit else round(sum(while_streaming) / (SECONDS - 0.5)),
        "lag_ms": json.loads(result.read_text("utf-8")),
    }


def read_all(master: int, limit: int) -> list[tuple[float, int]]:
    """Read what a program draws to its end; return when how many bytes came."""
    sizes: list[tuple[float, int]] = []
    streamed = time.monotonic() + WARM_S + SECONDS + 1
    while True:
        is_slow = limit and time.monotonic() < streamed
        if not select.select([master], [], [], 60)[0]:
            raise TimeoutError("the app draws nothing any more")
        try:
            data = os.read(master, max(1, limit // 50) if is_slow else 65536)
        except OSError:  # the terminal is gone with its program
            return sizes
        sizes.append((time.monotonic(), len(data)))
        if is_slow:
            time.sleep(len(data) / limit)


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tab", default="chat")
    parser.add_argument("--app", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.app:
        run_app(arguments.tab, arguments.app)
        return
    document = {
        **in_pty.machine(),
        "tokens_per_s": 3 * CYCLES_PER_TICK / TICK_S,
        "cases": [measured(*case) for case in CASES],
    }
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
