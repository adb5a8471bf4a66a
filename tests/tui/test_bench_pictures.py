"""What the bench tab looks like, at the three sizes it is made for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from tests.tui.bench_talk import BenchTalk, keep_earlier

pytestmark = pytest.mark.slow

SIZES = [(80, 24), (120, 40), (200, 60)]

Scene = Callable[[BenchTalk], Awaitable[None]]


async def empty(talk: BenchTalk) -> None:
    """Nothing was measured yet."""
    await talk.press("f6")


async def running(talk: BenchTalk) -> None:
    """Two prompts are through, the third is at hand."""
    await talk.press("f6", "enter")
    talk.app.errands.bench._clock = lambda: 40.0
    await talk.measures(2)
    await talk.runs(9)


async def finished(talk: BenchTalk) -> None:
    """All prompts of all kinds at every depth."""
    await talk.press("f6", *["k"] * 5, "d", "d", "p", "p", "enter")
    await talk.measures(10)


async def comparing(talk: BenchTalk) -> None:
    """Faster than in the morning."""
    keep_earlier(talk.app.places.bench, 0.85)
    await talk.press("f6", "enter")
    await talk.measures(8)
    await talk.press("c", "enter")


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize("scene", [empty, running, finished, comparing])
def test_picture(
    scene: Scene, size: tuple[int, int], tmp_path: Path, snap_compare: Callable[..., bool]
) -> None:
    talk = BenchTalk(tmp_path)

    async def run_before(pilot: Pilot[int]) -> None:
        await talk.begin(pilot)
        talk.stop_time()
        await scene(talk)
        await talk.seen()
        await talk.rest()

    assert snap_compare(talk.app, terminal_size=size, run_before=run_before)
