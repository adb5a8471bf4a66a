"""A person at the bench tab, and an engine that answers what the bench asks."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from textual.widgets import Static

from engine.protocol import Generate
from mtplx_tui.bench import results
from mtplx_tui.bench.runner import PREFIX
from mtplx_tui.bench.suite import Plan, Sweep
from mtplx_tui.screens.bench import BenchScreen
from tests.bench.streams import answered, in_turn
from tests.fakes.streams import MODEL
from tests.tui.chat_talk import Talk

NOON = datetime(2027, 1, 15, 12, 0, 0)
MORNING = datetime(2027, 1, 14, 9, 30, 0)


class BenchTalk(Talk):
    """Drives the tab."""

    @property
    def screen(self) -> BenchScreen:
        """The tab."""
        screen = self.app.screen_stack[0]
        assert isinstance(screen, BenchScreen)
        return screen

    @property
    def asked(self) -> list[Generate]:
        """The bench's requests of the prompt at hand."""
        own = [command for command in self.generates if command.request.startswith(PREFIX)]
        return [command for command in own if command.messages == own[-1].messages]

    def stop_time(self) -> None:
        """Have it always be noon, and let no time pass for the bench."""
        self.app.errands.bench._now = lambda: NOON
        self.app.errands.bench._clock = lambda: 0.0

    async def runs(self, cycles: int) -> None:
        """Say so many cycles of each answer at hand."""
        self.app.feed(list(in_turn(self.asked, cycles)))
        await self.seen()

    async def measures(self, prompts: int, speed: float = 1.0) -> None:
        """Answer whole prompts."""
        for _ in range(prompts):
            self.app.feed(list(answered(self.asked, speed=speed)))
        await self.seen()

    async def seen(self) -> None:
        """Wait until the figures are up to date."""
        await self.settle()
        if isinstance(self.app.screen_stack[0], BenchScreen):
            await self.until(lambda: self.screen._timer is None)
        await self.settle()

    def page(self) -> str:
        """Return all text of the tab."""
        return "\n".join(str(part.content) for part in self.screen.query(Static) if part.display)

    def text(self, selector: str) -> str:
        """Return the text of one part."""
        return str(self.screen.query_one(selector, Static).content)


def keep_earlier(folder: Path, factor: float = 1.0) -> Path:
    """Keep a result of the morning, drafting slower by a factor than streams answer."""
    sweep = Sweep(MODEL, Plan(kinds=("chat", "code")))
    while commands := sweep.next():
        for command in commands:
            speed = 1.0 if command.depth == 0 else factor
            for event in answered([command], speed=speed):
                sweep.take(event)
    return results.keep(folder, sweep.answers, {"model": "demo"}, MORNING)
