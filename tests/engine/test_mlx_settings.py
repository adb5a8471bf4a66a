"""MLX is told before it is imported, and a person's own word stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.mlx_settings import _SETTINGS, tell_mlx


def test_what_a_person_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    first, *others = _SETTINGS
    for name in _SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(first, "7")
    tell_mlx()
    assert os.environ[first] == "7"
    assert {name: os.environ[name] for name in others} == {n: _SETTINGS[n] for n in others}
    for name in others:
        monkeypatch.delenv(name)


@pytest.mark.parametrize("module", ["engine.__main__", "engine.one_answer"])
def test_a_process_tells_it_before_mlx_is_there(module: str, tmp_path: Path) -> None:
    code = f"""
import sys
import {module} as started

def told():
    assert "mlx" not in sys.modules
    raise SystemExit(0)

started.tell_mlx = told
sys.argv = ["it", "--cache", {str(tmp_path)!r}]
started.main() if hasattr(started, "main") else started.answer_once("it", "", dict)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
