"""What the set-up looks like, at the sizes it is made for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from tests.fakes import streams
from tests.tui.chat_talk import Talk
from tests.tui.set_up_talk import first_run, known, made_up

pytestmark = pytest.mark.slow

SIZES = [(80, 24), (120, 40)]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
def test_picture_of_the_first_run(
    size: tuple[int, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    snap_compare: Callable[..., bool],
) -> None:
    made_up(monkeypatch)
    talk = first_run(tmp_path)

    async def run_before(pilot: Pilot[int]) -> None:
        await talk.begin(pilot)
        await known(talk)
        await talk.rest()

    assert snap_compare(talk.app, terminal_size=size, run_before=run_before)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
def test_picture_of_the_tour(
    size: tuple[int, int], tmp_path: Path, snap_compare: Callable[..., bool]
) -> None:
    talk = Talk(tmp_path)

    async def run_before(pilot: Pilot[int]) -> None:
        await talk.begin(pilot)
        talk.app.feed(streams.answer("r1"))
        await talk.app.action_tour()
        await talk.press("right", "right")
        await talk.rest()

    assert snap_compare(talk.app, terminal_size=size, run_before=run_before)
