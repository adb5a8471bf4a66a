"""What the models tab looks like, at the three sizes it is made for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from mtplx_tui.library.progress import Progress, State
from mtplx_tui.library.queue import Job, JobState
from tests.tui.models_talk import ModelsTalk, hub_for, stock

pytestmark = pytest.mark.slow

SIZES = [(80, 24), (120, 40), (200, 60)]
WITH_HEAD = "someone/Qwen3.8-27B-4bit-mtp"

Scene = Callable[[ModelsTalk], Awaitable[None]]


async def found(talk: ModelsTalk) -> None:
    """The first model that was found."""
    await talk.choose("mlx-community/Qwen3.8-27B-4bit")


async def readme(talk: ModelsTalk) -> None:
    """A README under the facts, the card scrolled to it."""
    await talk.choose(WITH_HEAD)
    await talk.press("r")
    card = talk.screen.query_one("#models-card")
    await talk.until(lambda: talk.screen.query_one("#card-readme").display)
    card.scroll_end(animate=False)


async def downloads(talk: ModelsTalk) -> None:
    """Two downloads, one of which failed, and the local list."""
    progress = Progress(
        WITH_HEAD,
        "main",
        State.FETCHING,
        done_bytes=5_400_000_000,
        total_bytes=15_900_000_000,
        bytes_per_s=48_300_000.0,
        seconds_left=217.0,
    )
    jobs = {
        WITH_HEAD: Job(WITH_HEAD, "main", JobState.RUNNING, progress),
        "vendor/gated-model": Job(
            "vendor/gated-model",
            "main",
            JobState.FAILED,
            Progress("vendor/gated-model", "main"),
            "vendor/gated-model is gated: its owner asks for an agreement first; accept it",
        ),
    }
    talk.app.errands.downloads._jobs |= jobs
    await talk.choose(WITH_HEAD)
    for job in jobs.values():
        talk.screen._show_job(job)
    talk.screen._show_strip()


async def local(talk: ModelsTalk) -> None:
    """What is on this machine."""
    await talk.press("l")
    await talk.until(lambda: talk.table.names == ("demo",))
    await talk.known()


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize("scene", [found, readme, downloads, local])
def test_picture(
    scene: Scene,
    size: tuple[int, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    snap_compare: Callable[..., bool],
) -> None:
    talk = ModelsTalk(tmp_path)

    async def run_before(pilot: Pilot[int]) -> None:
        await talk.begin(pilot)
        await scene(talk)
        await pilot.pause()

    with hub_for(monkeypatch, tmp_path) as hub:
        stock(hub)
        assert snap_compare(talk.app, terminal_size=size, run_before=run_before)
