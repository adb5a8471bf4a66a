"""A change of size that is told late has the size that the terminal has by then."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.events import Resize
from textual.geometry import Size

from mtplx_tui.driver import Driver
from tests.tui.chat_talk import Talk


class Terminal(Driver):
    """A driver of a terminal that is so large."""

    def __init__(self, size: Size) -> None:
        self._is_so_large = size

    def _get_terminal_size(self) -> tuple[int, int]:
        return self._is_so_large.width, self._is_so_large.height


def test_a_size_that_was_asked_for_too_early_is_asked_for_again() -> None:
    old, new = Size(80, 24), Size(79, 23)
    late, right = Resize(old, old), Resize(new, new)
    driver = Terminal(new)
    assert driver.newest(late).size == new
    assert driver.newest(right) is right


async def test_the_app_takes_the_size_of_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = Talk(tmp_path)
    async with talk.at(100, 30):
        with monkeypatch.context() as patch:
            patch.setattr(talk.app, "_driver", Terminal(Size(90, 26)))
            await talk.app.on_event(Resize(Size(80, 24), Size(80, 24)))
        assert talk.app._size == Size(90, 26)
