"""How long search results take from the hub's answer to the terminal, and whether typing stutters.

    uv run python -m benchmarks.search_paint --out benchmarks/results/search_paint.json

The whole app on a pseudo-terminal, the models tab open, a fake hub of 400 models in a process of its
own. Words are typed letter by letter, faster than a search waits; each answer is timed from when its
last byte is read in the search's thread until its rows are written to the terminal. Meanwhile the event loop
is asked for a turn every 5 ms: how late it comes is what a person who types would feel.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from unittest.mock import patch

from rich.console import RenderableType
from textual.screen import Screen
from textual.widgets import Input

from benchmarks import in_pty
from mtplx_tui.app import MtplxApp
from mtplx_tui.config import Settings, Terminal
from mtplx_tui.files import Places
from mtplx_tui.library.hub import PAGE, Found, Hub, Query
from mtplx_tui.screens import models, models_work
from mtplx_tui.widgets.model_table import ModelTable
from tests.fakes.hub import FakeHub, safetensors_bytes

SIZES = ("80x24", "120x40", "200x60")
MODELS = 400
WORDS = ("qwen", "llama", "mtp", "4bit", "instruct", "deep", "glm", "mimo")
ROUNDS = 3
KEY_S = 0.06
"""Between two letters: a quick typist."""
TURN_S = 0.005
DEADLINE_S = 20.0


def serve(told: Connection) -> None:
    """Run the hub until the parent is through."""
    head = safetensors_bytes({"model.w": ("BF16", (8, 8))})
    config = json.dumps({"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 1}).encode()
    with FakeHub() as hub:
        for number in range(MODELS):
            word = WORDS[number % len(WORDS)]
            name = f"{WORDS[(number // 7) % len(WORDS)]}-org/{word}-model-{number}-4bit"
            hub.add(
                name,
                {"config.json": config, "model.safetensors": head},
                tags=["mlx", "4-bit", "license:mit", *(f"tag-{at}" for at in range(20))],
                downloads=number * 31,
            )
        told.send(hub.url)
        told.recv()


class TimedHub(Hub):
    """A hub that notes when the last byte of an answer was read."""

    arrived_at = 0.0

    def search(self, query: Query, limit: int = PAGE) -> Iterator[Found]:
        """See Hub."""
        yield from super().search(query, limit)
        TimedHub.arrived_at = time.perf_counter()


class TimedModels(models.ModelsScreen):
    """The tab, which notes when an answer is on the screen."""

    CSS_PATH = Path(models.__file__).with_name("models.tcss")

    def take_found(self, query: Query, found: tuple[Found, ...], error: str) -> None:
        """See ModelsWork."""
        super().take_found(query, found, error)
        if isinstance(self.app, SearchApp):
            self.app.waits = True


class SearchApp(MtplxApp):
    """The app without an engine, somebody searching."""

    MODES = {**MtplxApp.MODES, "models": TimedModels}  # noqa: RUF012 - Textual's own type

    def __init__(self, folder: Path) -> None:
        super().__init__(
            places=Places(folder / "config", folder / "data", folder / "cache"),
            settings=Settings(),
            terminal=Terminal("xterm-256color", False, True, 2**24, True, False),  # noqa: FBT003 - its fields
            start_engine=None,
            process=None,
            model=None,
        )
        self.paints: list[float] = []
        self.lags: list[float] = []
        self.keys: list[float] = []
        self.painted = asyncio.Event()
        self.waits = False
        """Whether an answer came that is not on the screen yet."""

    def on_mount(self) -> None:
        """Measure once the first frame is there."""
        super().on_mount()
        self.call_after_refresh(lambda: self.run_worker(self._measure()))

    async def _measure(self) -> None:
        self.action_show_tab("models")
        await asyncio.sleep(2.0)
        field = self.screen.query_one("#models-search", Input)
        field.focus()
        self.paints.clear()
        turns = asyncio.create_task(self._take_turns())
        for _ in range(ROUNDS):
            for word in WORDS:
                field.value = ""
                self.painted.clear()
                for letter in word:
                    begun = time.perf_counter()
                    field.insert_text_at_cursor(letter)
                    await self._painted()
                    self.keys.append(time.perf_counter() - begun)
                    await asyncio.sleep(KEY_S)
                async with asyncio.timeout(DEADLINE_S):
                    await self.painted.wait()
                await asyncio.sleep(0.4)  # what is judged comes in, too
        turns.cancel()
        self.exit()

    def _display(self, screen: Screen[object], renderable: RenderableType | None) -> None:
        is_laid_out = self.waits and not screen.query_one(ModelTable)._require_update_dimensions
        super()._display(screen, renderable)
        if is_laid_out:
            self.waits = False
            self.note_paint(time.perf_counter() - TimedHub.arrived_at)

    def note_paint(self, seconds: float) -> None:
        """Take it that an answer is on the screen, so long after it came."""
        self.paints.append(seconds)
        self.painted.set()

    async def _painted(self) -> None:
        done = asyncio.Event()
        self.call_after_refresh(done.set)
        await done.wait()

    async def _take_turns(self) -> None:
        while True:
            begun = time.perf_counter()
            await asyncio.sleep(TURN_S)
            self.lags.append(time.perf_counter() - begun - TURN_S)


def run_app(result: Path) -> None:
    """Run the app and write what was measured."""
    app = SearchApp(Path(tempfile.mkdtemp()))
    with patch.object(models_work, "Hub", TimedHub):
        app.run()
    figures = {
        "searches": len(app.paints),
        "paint_ms": told(app.paints),
        "key_ms": told(app.keys),
        "lag_ms": told(app.lags),
    }
    result.write_text(json.dumps(figures), encoding="utf-8")


def told(seconds: list[float]) -> dict[str, float]:
    """Return median, 99th percentile and longest, in milliseconds."""
    ordered = sorted(seconds)
    places = {"p50": statistics.median(ordered), "p99": ordered[int(0.99 * (len(ordered) - 1))]}
    return {name: round(1e3 * value, 2) for name, value in {**places, "max": ordered[-1]}.items()}


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="write the document here too")
    parser.add_argument("--app", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.app:
        run_app(arguments.app)
        return
    mine, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,))
    process.start()
    os.environ["HF_ENDPOINT"] = mine.recv()
    os.environ["HF_HUB_CACHE"] = tempfile.mkdtemp()
    os.environ["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1"
    sizes = {}
    for size in SIZES:
        result = Path(tempfile.mkdtemp()) / "figures.json"
        in_pty.run([sys.executable, "-m", "benchmarks.search_paint", "--app", str(result)], size)
        sizes[size] = json.loads(result.read_text(encoding="utf-8"))
    mine.send("end")
    process.join()
    document = {
        **in_pty.machine(),
        "load_1m": round(os.getloadavg()[0], 2),
        "models": MODELS,
        "sizes": sizes,
    }
    text = json.dumps(document, indent=2) + "\n"
    sys.stdout.write(text)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
