"""What Thermals looks like, at the three sizes it is made for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from mtplx_tui.machine.fans import FanState
from mtplx_tui.machine.policy import Policy
from tests.tui.thermal_talk import HotTalk

pytestmark = pytest.mark.slow

SIZES = [(80, 24), (120, 40), (200, 60)]
Scene = Callable[[HotTalk], Awaitable[None]]


async def nothing(talk: HotTalk) -> None:
    """No sensor is there."""
    await talk.nothing()


async def working(talk: HotTalk) -> None:
    """The machine is warm and still fast."""
    await talk.work(110)


async def throttled(talk: HotTalk) -> None:
    """It got so hot that it is slower now; the fans are held, one sensor hangs."""
    await talk.work(260, stale_disk=True)
    await talk.fans_are(FanState.HELD, Policy.BOOST, left_s=843.0, is_hot=True)


async def alarm(talk: HotTalk) -> None:
    """The guard died, and nothing could give the fans back; all sensors are listed."""
    await talk.work(90)
    note = "fan guard died (signal 9); fans may be held: run mtplx-tui fans restore"
    await talk.fans_are(FanState.LOST, Policy.MAXIMUM, note=note, is_alarm=True)
    await talk.press("s")


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize("scene", [nothing, working, throttled, alarm])
def test_picture(
    scene: Scene, size: tuple[int, int], tmp_path: Path, snap_compare: Callable[..., bool]
) -> None:
    talk = HotTalk(tmp_path)

    async def run_before(pilot: Pilot[int]) -> None:
        await talk.begin(pilot)
        await talk.show()
        await scene(talk)

    assert snap_compare(talk.app, terminal_size=size, run_before=run_before)
