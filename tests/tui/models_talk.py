"""A person at the models tab, the fake hub behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Static

from engine.protocol import EngineStarted, LoadModel, ModelInfo, ModelLoaded
from mtplx_tui.config import Settings
from mtplx_tui.library.speed import MachineSpeed
from mtplx_tui.screens.models import ModelsScreen
from mtplx_tui.widgets.model_table import ModelTable
from tests.fakes.hub import FakeHub
from tests.fakes.processes import PATIENCE_S
from tests.library.test_catalog import MATRIX, TRUNK, WITH_HEAD, files
from tests.tui.chat_talk import MODEL, TERMINAL, TalkApp

RATES = {1: (9e9, 11e9), 2: (8e9, 10e9), 4: (7e9, 9e9)}
SPEED = MachineSpeed("gpu", dict.fromkeys(("plain", "8-bit", "4-bit"), RATES))
README = b"""---
license: mit
---
# A tiny model

It **drafts** with its own head.

| a | b |
|---|---|
| 1 | 2 |
"""


def stock(hub: FakeHub) -> None:
    """Fill a hub with models of every tier."""

    def add(
        name: str, content: dict[str, bytes], downloads: int, *, is_gated: bool = False
    ) -> None:
        tags = ["mlx", "license:apache-2.0"]
        hub.add(name, content, is_gated=is_gated, downloads=downloads, tags=tags)

    dropped = {**MATRIX["dropped"][1], "README.md": README}
    add("mlx-community/Qwen3.8-27B-4bit", dropped, 81_234)
    unknown = files({**WITH_HEAD, "model_type": "dots9"}, model={**TRUNK, **HEAD_PART})
    add("someone/Qwen3.8-27B-4bit-mtp", {**unknown, "README.md": README}, 912)
    add("mlx-community/Llama-3.2-1B-4bit", MATRIX["never there"][1], 5_100)
    add("someone/broken", {**dropped, "config.json": b"{"}, 3)
    add("vendor/gated-model", dropped, 77, is_gated=True)
    hub.add("vendor/not-mlx", dropped, downloads=12, license="mit")


HEAD_PART: dict[str, tuple[str, tuple[int, ...]]] = {
    "mtp.fc.weight": ("BF16", (64, 128)),
    "mtp.norm.weight": ("BF16", (64,)),
}


@contextmanager
def hub_for(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Generator[FakeHub]:
    """Point everything at a fake hub and an empty cache."""
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setattr("mtplx_tui.screens.models.machine_bytes", lambda: 32 * 2**30)
    monkeypatch.setattr("mtplx_tui.screens.models.SEARCH_WAIT_S", 0.05)
    monkeypatch.setattr("mtplx_tui.screens.models.recommended", lambda: ())
    monkeypatch.setattr("mtplx_tui.screens.models_work.measure", lambda *_: SPEED)
    with FakeHub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


class ModelsTalk:
    """Drives the tab."""

    pilot: Pilot[int]

    def __init__(self, folder: Path) -> None:
        self.app = TalkApp(folder, TERMINAL, Settings())

    @asynccontextmanager
    async def at(self, columns: int, rows: int) -> AsyncGenerator[ModelsTalk]:
        """Run the app at a size, the tab open."""
        async with self.app.run_test(size=(columns, rows)) as pilot:
            await self.begin(pilot)
            yield self

    async def begin(self, pilot: Pilot[int]) -> None:
        """Open the tab and wait until what it shows at first is known."""
        self.pilot = pilot
        await pilot.pause()
        self.app.feed([EngineStarted(1, 1, "cpu", "0.32.4", "0.32.2", "stock", "")])
        self.loads(MODEL)
        await pilot.pause()
        await self.press("f4")
        await self.known()

    async def press(self, *keys: str) -> None:
        """Press keys."""
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def type(self, text: str) -> None:
        """Search for a text."""
        await self.press("slash")
        self.screen.query_one("#models-search", Input).value = ""
        names = {" ": "space", ":": "colon", "-": "minus"}
        await self.press(*(names.get(sign, sign) for sign in text))

    def loads(self, model: ModelInfo) -> None:
        """Have the engine load a model."""
        self.app.feed([ModelLoaded("load", model)])

    @property
    def screen(self) -> ModelsScreen:
        """The tab."""
        screen = self.app.screen_stack[0]
        assert isinstance(screen, ModelsScreen)
        return screen

    @property
    def table(self) -> ModelTable:
        """Its list."""
        return self.screen.query_one(ModelTable)

    @property
    def tiers(self) -> dict[str, str]:
        """What the list says, by model."""
        return {name: row.tier for name, row in self.table._shown.items()}

    @property
    def loaded(self) -> list[str]:
        """What the engine was told to load."""
        return [command.name for command in self.app.sent if isinstance(command, LoadModel)]

    def text(self, selector: str) -> str:
        """Return the text of a part."""
        return str(self.app.screen.query_one(selector, Static).content)

    def notices(self) -> list[str]:
        """Return the notices given so far."""
        return [notice.message for notice in self.app._notifications]

    async def choose(self, name: str) -> None:
        """Move to a model."""
        self.table.focus()
        self.table.move_cursor(row=self.table.names.index(name))
        await self.pilot.pause()

    async def known(self) -> None:
        """Wait until every tier that is judged unasked is known."""
        await self.until(lambda: bool(self.table.names) and all(self.tiers.values()))
        await self.until(lambda: self.screen._machine_speed is SPEED)
        await self.pilot.pause()

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so; fail if it does not come about."""
        async with asyncio.timeout(PATIENCE_S):
            while not is_so():
                await self.pilot.pause()
                await asyncio.sleep(0)
        await self.pilot.pause()
