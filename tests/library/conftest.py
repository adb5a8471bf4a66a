"""What the tests of this folder share: a home of their own, and no measuring of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have other programs' models and the machine's speed stay unknown."""
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    monkeypatch.setattr("mtplx_tui.inspecting.measure", lambda *_: None)
