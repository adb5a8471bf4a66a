"""Draws the README's pictures from a real run: the app, the engine, the demo model, one question.

    uv run docs/make_pictures.py                all of them
    uv run docs/make_pictures.py first-run      a stranger's first minutes alone, or `app` alone

Writes docs/pictures/*.svg. What they show is what the machine did: text, acceptance, milliseconds.
"""

from __future__ import annotations

import asyncio
import functools
import os
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import first_run
from textual.pilot import Pilot

from mtplx_tui import config, link
from mtplx_tui.app import MtplxApp
from mtplx_tui.config import Terminal
from mtplx_tui.view import EngineState

FOLDER = Path(__file__).with_name("pictures")
SIZE = (110, 34)
QUESTION = "Why does the sea have tides?"
TERMINAL = Terminal(
    name="xterm-256color", is_dumb=False, has_color=True, colors=2**24, is_utf8=True, is_ssh=False
)
LARGEST_BYTES = 150_000
PATIENCE_S = 300.0
MOST_TOKENS = 400
"""The demo does not always find an end."""


async def until(pilot: Pilot[int], is_so: Callable[[], bool], what: str) -> None:
    """Wait for something; raise TimeoutError where it never comes."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not is_so():
                await pilot.pause(0.1)
    except TimeoutError:
        raise TimeoutError(f"{what} never came") from None
    await pilot.pause(0.5)


def keep(app: MtplxApp, name: str) -> None:
    """Write what the app shows as a picture."""
    write(name, app.export_screenshot(title="mtplx-tui"))


def write(name: str, picture: str) -> None:
    """Write a picture; fonts are left to whoever looks at it."""
    drawn = re.sub(r"terminal-\d+-", "terminal-", picture)
    drawn = re.sub(r" *@font-face \{.*?\}\n", "", drawn, flags=re.DOTALL)
    if len(drawn.encode()) > LARGEST_BYTES:
        raise ValueError(f"{name} has {len(drawn.encode())} bytes")
    (FOLDER / f"{name}.svg").write_text(drawn, "utf-8")


async def draw() -> None:
    """Run the app, ask, and look at it from three sides."""
    places = config.find_places()
    settings, _ = config.load_settings(places)
    command = link.engine_command(places.cache, settings.blas)
    app = MtplxApp(
        places=places,
        settings=replace(settings, max_tokens=MOST_TOKENS),
        terminal=TERMINAL,
        start_engine=functools.partial(link.spawn, command, places.logs / "engine.log"),
        process=None,
        model="demo",
    )
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.view.state is EngineState.READY, "a ready model")
        await pilot.press(*("space" if sign == " " else sign for sign in QUESTION), "enter")
        await until(pilot, lambda: app.view.state is not EngineState.READY, "an answer")
        await until(pilot, lambda: app.view.state is EngineState.READY, "the answer's end")
        keep(app, "chat")
        await pilot.press("f3")
        await pilot.pause(1)
        keep(app, "speculation")
        await pilot.press("f4")
        await pilot.pause(1)
        await pilot.press("l")
        await pilot.pause(1)
        keep(app, "models")


def main() -> None:
    """Draw with homes of their own."""
    wanted = sys.argv[1:] or ["app", "first-run"]
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        if "first-run" in wanted:
            first_run.draw(Path(folder), write)
        if "app" in wanted:
            home = f"{folder}/app"
            os.environ |= {"MTPLX_TUI_HOME": home, "HF_HUB_CACHE": f"{home}/hub"}
            os.environ["HF_HUB_OFFLINE"] = "1"
            asyncio.run(draw())


if __name__ == "__main__":
    main()
