"""What the tests of grafting share: the work in this process, and a hub."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

import engine.grafting
from mtplx_tui.library import graft
from tests.fakes.hub import FakeHub


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graft without a process of its own, which takes seconds to start."""
    monkeypatch.setattr(graft, "_run", engine.grafting.answered)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[FakeHub]:
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    monkeypatch.setenv("MTPLX_TUI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with FakeHub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub
