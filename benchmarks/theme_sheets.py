"""Draws every tab and page in every theme, to be looked at: a sheet of PNG for each theme and size.

    uv run python -m benchmarks.theme_sheets --out /tmp/sheets
    uv run python -m benchmarks.theme_sheets --out /tmp/sheets --themes dusk,paper --sizes 80x24

The scenes are those of the tests' pictures: made-up streams, a made-up machine, a fake hub. Each is
set once and looked at in one theme after the other; that of the terminal's own colours draws
differently from the start on, and is left to the tests' pictures. Chromium lays the pictures side by
side. Words that are drawn with too little contrast are told, but for what a dialog covers.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import async_playwright

from benchmarks.contrast import faint_words
from mtplx_tui.doctor.check import Check
from mtplx_tui.doctor.examination import Begun
from mtplx_tui.doctor.surroundings import Surroundings
from mtplx_tui.screens.doctor import DoctorScreen
from mtplx_tui.theming import load_palettes
from tests.doctor.broken import sound
from tests.tui import (
    test_bench_pictures,
    test_chat_pictures,
    test_doctor,
    test_models_pictures,
    test_server_pictures,
    test_speculation_pictures,
    test_thermals_pictures,
)
from tests.tui.bench_talk import BenchTalk
from tests.tui.chat_talk import Talk
from tests.tui.models_talk import ModelsTalk, hub_for, stock
from tests.tui.set_up_talk import first_run, known, made_up
from tests.tui.thermal_talk import HotTalk

SIZES = ("80x24", "120x40")
COLUMNS = 3
CHROMIUM = "/usr/bin/chromium"

Size = tuple[int, int]
AnyTalk = Talk | ModelsTalk
Scene = Callable[[Path, Size], AbstractAsyncContextManager[AnyTalk]]


@asynccontextmanager
async def running(talk: AnyTalk, size: Size) -> AsyncGenerator[None]:
    """Run the app with a model loaded."""
    async with talk.app.run_test(size=size) as pilot:
        await talk.begin(pilot)
        yield


@asynccontextmanager
async def chat(folder: Path, size: Size) -> AsyncGenerator[AnyTalk]:
    """An answer with all that Markdown has, its thought shown."""
    talk = Talk(folder)
    async with running(talk, size):
        await test_chat_pictures.finished(talk)
        yield talk


@asynccontextmanager
async def speculation(folder: Path, size: Size) -> AsyncGenerator[AnyTalk]:
    """Every kind of token, one cycle marked."""
    talk = Talk(folder)
    async with running(talk, size):
        await test_speculation_pictures.paused(talk)
        yield talk


@asynccontextmanager
async def models(folder: Path, size: Size) -> AsyncGenerator[AnyTalk]:
    """Models found, one downloaded, one refused."""
    talk = ModelsTalk(folder)
    with pytest.MonkeyPatch.context() as patch, hub_for(patch, folder) as hub:
        stock(hub)
        async with running(talk, size):
            await test_models_pictures.downloads(talk)
            yield talk


@asynccontextmanager
async def thermals(folder: Path, size: Size) -> AsyncGenerator[AnyTalk]:
    """So hot that it got slower."""
    talk = HotTalk(folder)
    async with running(talk, size):
        await talk.show()
        await test_thermals_pictures.throttled(talk)
        yield talk


@asynccontextmanager
async def bench(folder: Path, size: Size) -> AsyncGenerator[AnyTalk]:
    """A finished measurement."""
    talk = BenchTalk(folder)
    async with running(talk, size):
        talk.stop_time()
        await test_bench_pictures.finished(talk)
        await talk.seen()
        yield talk


@asynccontextmanager
async def server(folder: Path, size: Size) -> AsyncGenerator[AnyTalk]:
    """Two requests run, three ended."""
    talk = Talk(folder)
    with pytest.MonkeyPatch.context() as patch:
        async with running(talk, size):
            await test_server_pictures.busy(talk, patch)
            yield talk


@asynccontextmanager
async def dialog(folder: Path, size: Size) -> AsyncGenerator[AnyTalk]:
    """A choice above the chat."""
    talk = Talk(folder)
    async with running(talk, size):
        await talk.answered("Why is the sky blue?", "Because **short** waves are thrown aside.")
        talk.app.action_open_model()
        await talk.settle()
        yield talk


@asynccontextmanager
async def settings(folder: Path, size: Size) -> AsyncGenerator[AnyTalk]:
    """One changed, one broken by hand."""
    file = folder / "config" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text('depth = 3\nblas = "fastest"\n')
    talk = Talk(folder)
    async with running(talk, size):
        await talk.press("f8", "down", "down")
        yield talk


@asynccontextmanager
async def keys(folder: Path, size: Size) -> AsyncGenerator[AnyTalk]:
    """The list of keys."""
    talk = Talk(folder)
    async with running(talk, size):
        await talk.press("f8", "k", "down", "down")
        yield talk


@asynccontextmanager
async def doctor(folder: Path, size: Size) -> AsyncGenerator[AnyTalk]:
    """An error, a warning, a note, and what is well."""
    talk = Talk(folder)

    def found(_: Surroundings, __: Begun) -> Iterator[Check]:
        yield from (
            *test_doctor.WELL,
            test_doctor.NOTE,
            test_doctor.WARNING,
            test_doctor.ERROR,
        )

    async with running(talk, size):
        await talk.app.push_screen(DoctorScreen(lambda: sound(folder), found))
        await talk.settle()
        yield talk


@asynccontextmanager
async def first(folder: Path, size: Size) -> AsyncGenerator[AnyTalk]:
    """The first run."""
    talk = first_run(folder)
    with pytest.MonkeyPatch.context() as patch:
        made_up(patch)
        async with running(talk, size):
            await known(talk)
            yield talk


SCENES: dict[str, Scene] = {
    "chat": chat,
    "speculation": speculation,
    "models": models,
    "thermals": thermals,
    "bench": bench,
    "server": server,
    "settings": settings,
    "keys": keys,
    "doctor": doctor,
    "first run": first,
    "dialog": dialog,
}


async def drawn(themes: list[str], size: str) -> dict[str, list[str]]:
    """Return, by theme, the SVG of every tab."""
    columns, rows = map(int, size.split("x"))
    pictures: dict[str, list[str]] = {theme: [] for theme in themes}
    for name, scene in SCENES.items():
        with tempfile.TemporaryDirectory() as folder:
            async with scene(Path(folder), (columns, rows)) as talk:
                for theme in themes:
                    talk.app.theme = theme
                    await talk.pilot.pause()
                    await talk.pilot.pause()
                    pictures[theme].append(talk.app.export_screenshot(title=theme))
                    for value, words in () if talk.app.screen.is_modal else faint_words(talk.app):
                        sys.stdout.write(f"{size} {theme} {name}: {value:.1f} {words}\n")
    return pictures


async def write_sheets(sheets: dict[str, list[str]], out: Path) -> None:
    """Write each list of pictures as one PNG."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM)
        page = await browser.new_page(viewport={"width": 2200, "height": 800})
        for name, pictures in sheets.items():
            await page.set_content(
                f'<body style="display:grid;grid-template-columns:repeat({COLUMNS},1fr);gap:8px;'
                f'margin:8px;background:#777">{"".join(map(_image, pictures))}</body>'
            )
            await page.screenshot(path=out / f"{name}.png", full_page=True)
        await browser.close()


def _image(picture: str) -> str:
    """Return a picture as an element of its own: styles of one must not reach another."""
    content = base64.b64encode(picture.encode()).decode()
    return f'<img style="width:100%" src="data:image/svg+xml;base64,{content}">'


async def draw(themes: list[str], sizes: list[str], out: Path) -> None:
    """Draw and write everything."""
    for size in sizes:
        pictures = await drawn(themes, size)
        await write_sheets({f"{theme}-{size}": found for theme, found in pictures.items()}, out)


def main() -> None:
    """Parse the command line and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--themes", help="a comma between them; all if left out")
    parser.add_argument("--sizes", default=",".join(SIZES))
    arguments = parser.parse_args()
    names = [palette.theme.name for palette in load_palettes()[0] if not palette.theme.ansi]
    themes = arguments.themes.split(",") if arguments.themes else names
    arguments.out.mkdir(parents=True, exist_ok=True)
    asyncio.run(draw(themes, arguments.sizes.split(","), arguments.out))
    sys.stdout.write(f"{len(themes)} themes drawn into {arguments.out}\n")


if __name__ == "__main__":
    main()
