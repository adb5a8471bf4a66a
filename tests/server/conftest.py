"""Servers over a fake engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mtplx_tui.server import pages
from tests.server.talk import Place, serving


@pytest.fixture(autouse=True)
def page_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that pages are served from, with a page of one line."""
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "index.html").write_text("<!doctype html><title>chat</title>")
    (folder / "app.js").write_text("export {};")
    (tmp_path / "secret.js").write_text("secret")
    monkeypatch.setattr(pages, "FOLDER", folder)
    return folder


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    """A server with the options it has by default."""
    async with serving() as made:
        yield made
