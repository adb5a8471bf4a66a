"""What the token ribbon costs: CPU milliseconds per tick with 100,000 tokens in it.

Draws into a real pty whose output is drained, at 20 ticks a second with six new tokens each.
Prints one JSON document.

    uv run python -m benchmarks.ribbon > benchmarks/results/ribbon.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from textual.app import App, ComposeResult

from benchmarks import in_pty
from engine.protocol import Channel, CycleDone, Ended, TextRun
from mtplx_tui.view import Log, RequestView
from mtplx_tui.widgets.ribbon import Ribbon

WORDS = (
    " the",
    " sky",
    " is",
    " blue",
    ",",
    " because",
    " light",
    " scatters",
    ".\n",
    " 光",
    "ing",
)
TICK_S = 0.05
CYCLES_PER_TICK = 2


def cycle(number: int) -> CycleDone:
    """Return a cycle of three tokens whose third stands in place of a rejected draft."""
    pieces = tuple(WORDS[(3 * number + at * (number % 5 + 1)) % len(WORDS)] for at in range(3))
    depth = 2 + number % 6
    return CycleDone(
        request="r",
        cycle=number,
        depth=depth + 1,
        drafted=tuple(range(depth + 1)),
        drafted_pieces=(*pieces[:2], *(" red",) * (depth - 1)),
        accepted=2,
        emitted=(1, 2, 3),
        emitted_pieces=pieces,
        ended=Ended.RESIDUAL,
        runs=(TextRun(Channel.ANSWER, ""),),
        draft_s=0.004,
        verify_s=0.01,
        accept_s=0.0005,
        total_s=0.015,
    )


class RibbonApp(App[None]):
    """Nothing but a ribbon."""

    def __init__(self, tokens: int, ticks: int) -> None:
        super().__init__()
        self.figures: dict[str, float] = {}
        self._tokens, self._ticks = tokens, ticks

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Return colours for the depths."""
        return {f"depth-{depth}": f"#{depth * 3:02x}a0f0" for depth in range(1, 9)}

    def compose(self) -> ComposeResult:
        """Lay out the ribbon."""
        yield Ribbon()

    def on_mount(self) -> None:
        """Measure once the first frame is there."""
        self.call_after_refresh(lambda: self.run_worker(self._measure()))

    async def _measure(self) -> None:
        ribbon = self.query_one(Ribbon)
        log: Log[CycleDone] = Log([cycle(number) for number in range(self._tokens // 3)])
        request = RequestView("r", cycles=log)
        await asyncio.sleep(0.5)
        begun = time.process_time()
        ribbon.show(request)
        self.figures["first_wrap_ms"] = 1e3 * (time.process_time() - begun)
        await asyncio.sleep(0.5)
        self.figures["tick_ms"] = await self._ticked(ribbon, request)
        begun = time.process_time()
        ribbon.toggle_drafts()
        self.figures["rewrap_ms"] = 1e3 * (time.process_time() - begun)
        await asyncio.sleep(0.5)
        self.figures["jump_ms"] = await self._jumped(ribbon)
        self.figures["rows"] = len(ribbon.lines.rows)
        self.exit()

    async def _ticked(self, ribbon: Ribbon, request: RequestView) -> float:
        begun = time.process_time()
        for _ in range(self._ticks):
            cycles = request.cycles
            for _ in range(CYCLES_PER_TICK):
                cycles = cycles.appended(cycle(len(cycles)))
            request = replace(request, cycles=cycles)
            ribbon.show(request)
            await asyncio.sleep(TICK_S)
        return 1e3 * (time.process_time() - begun) / self._ticks

    async def _jumped(self, ribbon: Ribbon) -> float:
        """Return the cost of going to a place that was not painted yet."""
        begun = time.process_time()
        for at in range(20):
            ribbon.scroll_to(y=(at * 7919) % ribbon.max_scroll_y, animate=False)
            await asyncio.sleep(TICK_S)
        return 1e3 * (time.process_time() - begun) / 20


def run_app(tokens: int, ticks: int, result: Path) -> None:
    """Run the app and write what was measured."""
    app = RibbonApp(tokens, ticks)
    app.run()
    result.write_text(json.dumps(app.figures), encoding="utf-8")


def run_in_pty(size: str, tokens: int, ticks: int) -> dict[str, float]:
    """Run this script's app half on a terminal of a size; return its figures."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "figures.json"
        command = [
            sys.executable,
            "-m",
            "benchmarks.ribbon",
            "--tokens",
            str(tokens),
            "--ticks",
            str(ticks),
        ]
        in_pty.run([*command, "--app", str(result)], size)
        figures = json.loads(result.read_text(encoding="utf-8"))
    return {name: round(value, 2) for name, value in figures.items()}


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--ticks", type=int, default=100)
    parser.add_argument("--sizes", default="80x24,120x40,200x60")
    parser.add_argument("--app", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.app:
        run_app(arguments.tokens, arguments.ticks, arguments.app)
        return
    document = {
        **in_pty.machine(),
        "tokens": arguments.tokens,
        "sizes": {
            size: run_in_pty(size, arguments.tokens, arguments.ticks)
            for size in arguments.sizes.split(",")
        },
    }
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
