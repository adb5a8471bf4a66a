"""What was to be drawn while a batch went on is drawn behind it."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import RenderableType
from textual.app import App
from textual.geometry import Region
from textual.screen import Screen

from tests.tui.chat_talk import Talk


async def test_a_region_that_changed_in_a_batch_is_drawn_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = Talk(tmp_path)
    drawn: list[object] = []
    display = App._display

    def noted(app: App[int], screen: Screen[object], renderable: RenderableType | None) -> None:
        if renderable is not None and not app._batch_count:
            drawn.append(renderable)
        display(app, screen, None)

    async with talk.at(100, 30):
        await talk.settle()
        screen = talk.app.screen
        monkeypatch.setattr(App, "_display", noted)
        with talk.app.batch_update():
            screen._compositor._dirty_regions.add(Region(3, 2, 5, 1))
            screen._compositor_refresh()
            assert not screen._compositor._dirty_regions
        drawn.clear()
        await talk.settle()
        assert drawn
        drawn.clear()
        with talk.app.batch_update():
            pass
        await talk.settle()
        assert not drawn
