"""A person whose home is empty, at the app's first run; what is here and on the hub is made up."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.protocol import LoadModel
from engine.verdict.memory import StepReads
from mtplx_tui.files import Places
from mtplx_tui.library.catalog import Report
from mtplx_tui.library.hub import HubError
from mtplx_tui.library.speed import MachineSpeed
from mtplx_tui.screens.set_up import SetUp
from mtplx_tui.setup import kept
from mtplx_tui.setup.flow import Progress
from mtplx_tui.setup.offers import Offer
from mtplx_tui.setup.survey import Machine
from tests.tui.chat_talk import Talk

RATES = {1: (9e9, 11e9), 2: (8e9, 10e9), 4: (7e9, 9e9)}
SPEED = MachineSpeed("gpu", dict.fromkeys(("plain", "8-bit", "4-bit"), RATES))
MACHINE = Machine("Example M9 Max", 16, 68_719_476_736, 412_000_000_000)


def offer(name: str, billions: float, *, is_here: bool = False, obstacle: str = "") -> Offer:
    """Return a model of so many billion weights of 4 bits, with a head."""
    size = round(billions * 0.56e9)
    reads = StepReads(round(billions * 1e9), round(billions * 3e7), 4, is_unpacked_on_cpu=False)
    report = object.__new__(Report)
    object.__setattr__(report, "reads", reads)
    return Offer(
        name=name,
        is_here=is_here,
        tier="compatible",
        size_bytes=size,
        memory_bytes=size,
        drafts=True,
        obstacle=obstacle,
        report=report,
    )


DEMO = offer("demo", 0.19, is_here=True)
HUB = (
    offer("vendor/Example-27B-MTP-4bit", 27),
    offer("someone/a-model-with-a-very-long-name-that-has-no-room-in-a-column-4bit", 8),
    offer("vendor/Vast-400B", 400, obstacle="it needs 224 GB of memory; this machine has 68.7 GB"),
)


def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the machine and its models be the ones above."""
    monkeypatch.setattr("mtplx_tui.setup.survey.look", lambda: MACHINE)
    monkeypatch.setattr("mtplx_tui.setup.offers.from_here", lambda *_: (DEMO,))
    monkeypatch.setattr("mtplx_tui.setup.offers.from_hub", lambda *_: iter(HUB))
    monkeypatch.setattr("mtplx_tui.screens.set_up.known", lambda _: SPEED)


def first_run(folder: Path) -> Talk:
    """Return a person at an app whose set-up was shown and is not answered."""
    kept.keep(Places(folder / "config", folder / "data", folder / "cache").setup, Progress())
    return Talk(folder)


def no_hub(*_: object) -> None:
    """Be a hub that can't be reached."""
    raise HubError("the hub can't be reached: no route", "check the network")


def progress(talk: Talk) -> Progress:
    """Return what was kept."""
    return kept.read(talk.app.places.setup).progress


def page(talk: Talk) -> SetUp:
    """Return the set-up's page, which is shown."""
    screen = talk.app.screen
    assert isinstance(screen, SetUp)
    return screen


def names(talk: Talk) -> list[str]:
    """Return the models that are listed."""
    return [each.name for each in page(talk)._listed]


async def known(talk: Talk) -> None:
    """Wait until all is found out."""
    await talk.until(lambda: isinstance(talk.app.screen, SetUp))
    await talk.until(lambda: page(talk)._is_measured and page(talk)._hub_note == "")
    await talk.settle()


def loads(talk: Talk) -> list[str]:
    """Return what the engine was told to load."""
    return [command.name for command in talk.app.sent if isinstance(command, LoadModel)]
