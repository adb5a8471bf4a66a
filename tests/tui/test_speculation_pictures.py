"""What the speculation tab looks like: at its three sizes, and with fewer colours or signs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot

from engine.protocol import Candidate, CycleDone, DraftDetail, Event, ModelInfo, WindowDetail
from mtplx_tui.config import Settings, Terminal
from mtplx_tui.replay import INSTANT
from mtplx_tui.screens.speculation import SpeculationScreen
from mtplx_tui.theming import load_palettes
from mtplx_tui.traces import write_trace
from mtplx_tui.widgets.ribbon import Ribbon
from tests.fakes import streams
from tests.tui.chat_talk import MODEL, TERMINAL, Talk

pytestmark = pytest.mark.slow

SIZES = [(80, 24), (120, 40), (200, 60)]
OTHERS = [p.theme.name for p in load_palettes()[0] if p.theme.name not in ("dusk", "ansi")]
"""The other pictures are in these two."""
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


def recorded_drafts() -> list[Event]:
    """Return an answer judged as a block whose cycles were recorded, made-up numbers in order."""
    events: list[Event] = []
    for event in streams.answer()[:40]:
        if isinstance(event, CycleDone):
            event = replace(event, detail=_detail(event))
        events.append(event)
    return events


def _detail(cycle: CycleDone) -> WindowDetail:
    guesses = streams.GUESSES
    tops = tuple(
        Candidate(at, guess, 0.5 / 2**at) for at, guess in enumerate((" sky", *guesses[:4]))
    )
    drafts = tuple(
        DraftDetail(
            target_prob=0.5 if at < cycle.accepted else 0.03,
            draft_prob=0.6,
            uniform=0.2 if at < cycle.accepted else 0.9,
            reach=0.83 if at < cycle.accepted else 0.05,
            chance=0.7 if at < cycle.accepted else 0.05,
            target_top=tops,
            draft_top=tops[1:],
        )
        for at in range(cycle.depth)
    )
    return WindowDetail(drafts, 0.25, 0.4, tops[::-1])


async def xray(talk: Talk) -> None:
    """The first rejected draft of a cycle is under the x-ray."""
    await talk.ask(QUESTION)
    events = recorded_drafts()
    await talk.plays(events)
    await talk.press("f3", "left", "left")
    cycles = [event for event in events if isinstance(event, CycleDone)]
    await talk.press(*["tab"] * (cycles[-3].accepted + 1))


async def forecast(talk: Talk) -> None:
    """What each depth would give is shown."""
    await talk.ask(QUESTION)
    await talk.plays(streams.answer()[:-2])
    await talk.press("f3", "p")


async def replayed(talk: Talk) -> None:
    """A trace was replayed to its end."""
    path = talk.app.places.traces / "evening.jsonl"
    write_trace(path, [*streams.loading(), *streams.answer("t1", seed=8)])
    await talk.press("f3", "o", "enter")
    screen = talk.app.screen
    assert isinstance(screen, SpeculationScreen)
    assert screen.replay is not None
    screen.replay.speed = INSTANT
    await talk.until(lambda: screen.replay is not None and screen.replay.is_over)
    await talk.rest()
    _still_machine(screen)


async def pair(talk: Talk) -> None:
    """Two answers lie side by side."""
    path = talk.app.places.traces / "evening.jsonl"
    write_trace(path, streams.answer("t1", seed=8))
    await talk.ask(QUESTION)
    await talk.plays(streams.answer())
    await talk.press("f3", "c", "enter")
    await talk.until(lambda: all(r.lines.taken for r in talk.app.screen.query(Ribbon)))


def _still_machine(screen: SpeculationScreen) -> None:
    """Have the trace be made on the same machine, wherever the test runs."""
    assert screen.replay is not None
    header = replace(screen.replay.trace.header, machine="Linux x86_64")
    screen.replay.trace = replace(screen.replay.trace, header=header)
    screen.show_now()


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
@pytest.mark.parametrize("scene", [empty, running, paused, xray, forecast, replayed, pair])
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


@pytest.mark.parametrize("theme", OTHERS)
def test_picture_in_another_theme(theme: str, tmp_path: Path, snap_compare: Compare) -> None:
    talk = Talk(tmp_path, settings=Settings(theme=theme))
    assert compare(talk, paused, (120, 40), snap_compare)


@pytest.mark.parametrize("scene", [running, paused])
def test_picture_in_sixteen_colours(scene: Scene, tmp_path: Path, snap_compare: Compare) -> None:
    talk = Talk(tmp_path, terminal=replace(TERMINAL, name="xterm", colors=16))
    assert compare(talk, scene, (80, 24), snap_compare)


@pytest.mark.parametrize("scene", [running, paused, xray, forecast])
def test_picture_without_colour_and_box_signs(
    scene: Scene, tmp_path: Path, snap_compare: Compare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal(
        name="xterm", is_dumb=False, has_color=False, colors=16, is_utf8=False, is_ssh=False
    )
    assert compare(Talk(tmp_path, terminal=terminal), scene, (80, 24), snap_compare)
