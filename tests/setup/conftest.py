"""What the tests of the set-up share: a machine whose speed is known, and a person's own home."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mtplx_tui.config import find_places
from mtplx_tui.library import speed

RATES = {"1": [9e9, 11e9], "2": [8e9, 10e9], "4": [7e9, 9e9]}


@pytest.fixture
def person(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the home of a person without network, on a machine that was measured before."""
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    kinds = dict.fromkeys(("plain", "8-bit", "4-bit"), RATES)
    content = {"of": speed._stamp(), "device": "cpu", "is_steady": True, "kinds": kinds}
    content["layer_s"] = [0.0002, 0.0001]
    place = speed._place(find_places())
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps(content))
    return home
