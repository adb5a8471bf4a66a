"""What the speculation tab looks like: at its three sizes, and with fewer colours or signs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot

from engine.protocol import ModelInfo
from mtplx_tui.config import Settings, Terminal
from tests.fakes import streams
from tests.tui.chat_talk import MODEL, TERMINAL, Talk

SIZES = [(80, 24), (120, 40), (200, 60)]
QUESTION = "Why is the sky blue?"

Scene = Callable[[Talk], Awaitable[None]]
Compare = Callable[..., bool]


async def empty(talk: Talk) -> None:
    """Nothing was asked yet."""
    await talk.press("f3")


async def running(talk: Talk) -> None:
    """Every kind of token is there, and more are to come."""
    await talk.ask(QUESTION)
    await talk.plays(streams.answer()[:-2])
    await talk.press("f3")


async def paused(talk: Talk) -> None:
    """Stands at a cycle with a rejected draft while the answer goes on."""
    await talk.ask(QUESTION)
    events = streams.answer()
    await talk.plays(events[:50])
    await talk.press("f3", "space")
    await talk.plays(events[50:-2])
    await talk.press(*["left"] * 12)


async def plain(talk: Talk) -> None:
    """A model without a head has answered."""
    await talk.ask(QUESTION)
    pieces = streams.pieces_of(streams.TEXT)
    await talk.plays([streams.started(depth=0), *streams.plain_cycles("r1", pieces)])
    await talk.ends(tokens=len(pieces))
    await talk.press("f3")


def compare(
    talk: Talk,
    scene: Scene,
    size: tuple[int, int],
    snap_compare: Compare,
    model: ModelInfo = MODEL,
) -> bool:
    """Return whether the scene looks as it did."""

    async def run_before(pilot: Pilot[int]) -> None:
        await talk.begin(pilot, model)
        await scene(talk)
        await talk.rest()

    return snap_compare(talk.app, terminal_size=size, run_before=run_before)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize("scene", [empty, running, paused])
def test_picture(
    scene: Scene, size: tuple[int, int], tmp_path: Path, snap_compare: Compare
) -> None:
    assert compare(Talk(tmp_path), scene, size, snap_compare)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize("scene", [empty, plain])
def test_picture_of_a_model_without_a_head(
    scene: Scene, size: tuple[int, int], tmp_path: Path, snap_compare: Compare
) -> None:
    assert compare(Talk(tmp_path), scene, size, snap_compare, streams.PLAIN_MODEL)


@pytest.mark.parametrize("scene", [running, paused])
def test_picture_in_a_light_theme(scene: Scene, tmp_path: Path, snap_compare: Compare) -> None:
    talk = Talk(tmp_path, settings=Settings(theme="paper"))
    assert compare(talk, scene, (120, 40), snap_compare)


@pytest.mark.parametrize("scene", [running, paused])
def test_picture_in_sixteen_colours(scene: Scene, tmp_path: Path, snap_compare: Compare) -> None:
    talk = Talk(tmp_path, terminal=replace(TERMINAL, name="xterm", colors=16))
    assert compare(talk, scene, (80, 24), snap_compare)


@pytest.mark.parametrize("scene", [running, paused])
def test_picture_without_colour_and_box_signs(
    scene: Scene, tmp_path: Path, snap_compare: Compare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal(
        name="xterm", is_dumb=False, has_color=False, colors=16, is_utf8=False, is_ssh=False
    )
    assert compare(Talk(tmp_path, terminal=terminal), scene, (80, 24), snap_compare)
