"""What a person waits for at the start: the chat's own screen, dressed once, nothing beside it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from textual.dom import DOMNode

from mtplx_tui.screens.chat import ChatScreen
from mtplx_tui.widgets.kept_styles import KeptStyles
from tests.tui.chat_talk import Talk

LATER = ("mtplx_tui.bench", "mtplx_tui.doctor", "mtplx_tui.machine", "mtplx_tui.server")
"""Rooms that nothing on the first screen needs."""


@pytest.fixture
def talk(tmp_path: Path) -> Talk:
    return Talk(tmp_path)


@pytest.mark.parametrize("columns", [80, 120])
async def test_styles_are_read_once_and_put_on_once(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    # What Textual does when a theme is set, and when a width gives the screen another class.
    read, dressed = [], []
    reparse, update = KeptStyles.reparse, DOMNode.update_node_styles

    def note_reading(sheet: KeptStyles) -> None:
        read.append(sheet)
        reparse(sheet)

    def note_dressing(node: DOMNode, animate: bool = True) -> None:
        if isinstance(node, ChatScreen):
            dressed.append(node)
        update(node, animate)

    monkeypatch.setattr(KeptStyles, "reparse", note_reading)
    monkeypatch.setattr(DOMNode, "update_node_styles", note_dressing)
    async with talk.at(columns, 30):
        assert (len(read), len(dressed)) == (0, 1)
        ground = talk.app.screen.styles.background
        talk.app.theme = "textual-light"
        await talk.settle()
        assert read
        assert talk.app.screen.styles.background != ground


def test_rooms_that_it_does_not_show_are_not_imported() -> None:
    code = (
        "import json, sys, mtplx_tui.app, mtplx_tui.screens.chat; print(json.dumps([*sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert [name for name in json.loads(done.stdout) if name.startswith(LATER)] == []
