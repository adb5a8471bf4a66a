"""The app on a made-up machine: its clock, its heat and its fans are the test's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mtplx_tui.machine.fans import FanState
from mtplx_tui.machine.guarding import GuardSetup
from mtplx_tui.machine.policy import Policy
from mtplx_tui.machine.readings import Snapshot
from mtplx_tui.machine.sensors import Sensors
from mtplx_tui.machine.station import Station
from tests.fakes.heat import START_S, speed, warming
from tests.fakes.streams import plain_cycles
from tests.tui.chat_talk import Talk


class HotTalk(Talk):
    """A Talk whose machine is made up."""

    def __init__(self, folder: Path, *, needs_root: bool = False) -> None:
        super().__init__(folder)
        self.now_s = START_S
        setup = GuardSetup("sysfs", str(folder / "sys"), folder / "state", needs_root=needs_root)
        self.app.station = self.station = Station(
            Sensors({}),
            setup,
            self.app._tell_thermals,
            clock=lambda: self.now_s,
        )

    async def work(self, seconds: int, *, stale_disk: bool = False) -> None:
        """Let the machine work for so many seconds, and warm up."""
        for second, snapshot in enumerate(warming(seconds, stale_disk=stale_disk)):
            self.now_s = snapshot.at_s
            tokens = speed(second)
            self.station.apply(plain_cycles("r", ["x"] * tokens))
            self.station.take(snapshot, is_generating=tokens > 0)
        await self.settle()

    async def show(self) -> None:
        """Open the tab."""
        await self.press("f5")

    async def nothing(self) -> None:
        """A second without any sensor."""
        self.station.take(Snapshot(self.now_s, 0.0), is_generating=False)
        await self.settle()

    async def fans_are(self, state: FanState, policy: Policy, **more: object) -> None:
        """Have the fans in some state, as if a guard had said so."""
        view = replace(
            self.station.keeper.view, state=state, policy=policy, since_s=self.now_s - 72
        )
        self.station.keeper.view = replace(view, **more)
        self.app._tell_thermals()
        await self.settle()
