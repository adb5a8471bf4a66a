"""What the app knows of the engine that it runs, before the engine says anything."""

from __future__ import annotations

import subprocess

import pytest

from engine.protocol import EngineStarted, LoadModel
from mtplx_tui.link import EngineLink
from mtplx_tui.running_engine import RunningEngine
from mtplx_tui.view import EngineState


def _no_process() -> subprocess.Popen[bytes]:
    raise AssertionError("none is to be started")


def test_a_model_that_was_asked_for_is_loading_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told only by the engine, a first start said for a second that no model is loaded."""
    monkeypatch.setattr(EngineLink, "send", lambda *_: None)
    engine = RunningEngine(_no_process, None, lambda _: None, lambda _: None)
    engine.apply(EngineStarted(1, 1, "cpu", "0.32.4", "0.32.2", "stock", ""))
    assert engine.view.state is EngineState.EMPTY
    engine.give(LoadModel("load-1", "demo", ""))
    assert engine.view.state is EngineState.LOADING
    assert engine.view.load is not None
    assert engine.view.load.request == "load-1"
