"""What the settings, and the keys, look like at the sizes they are made for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from tests.tui.chat_talk import Talk

pytestmark = pytest.mark.slow

SIZES = [(80, 24), (120, 40)]


def edited(folder: Path) -> Talk:
    """Return a person at an app whose config.toml was edited by hand, once wrongly."""
    file = folder / "config" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text('depth = 3\nblas = "fastest"\n')
    return Talk(folder)


def pressed(talk: Talk, *keys: str) -> Callable[[Pilot[int]], Awaitable[None]]:
    """Return what presses keys before a picture is taken."""

    async def run_before(pilot: Pilot[int]) -> None:
        await talk.begin(pilot)
        await talk.press(*keys)
        await talk.rest()

    return run_before


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
def test_picture_of_the_settings(
    size: tuple[int, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    snap_compare: Callable[..., bool],
) -> None:
    monkeypatch.chdir(tmp_path)
    talk = edited(Path("home"))

    run_before = pressed(talk, "f8", "down", "down")
    assert snap_compare(talk.app, terminal_size=size, run_before=run_before)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
def test_picture_of_the_keys(
    size: tuple[int, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    snap_compare: Callable[..., bool],
) -> None:
    monkeypatch.chdir(tmp_path)
    talk = Talk(Path("home"))

    run_before = pressed(talk, "f8", "k", "down")
    assert snap_compare(talk.app, terminal_size=size, run_before=run_before)
