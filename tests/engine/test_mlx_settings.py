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


TAKES_AND_GIVES_BACK = """
import ctypes, resource, sys
from engine.mlx_settings import tell_mlx
tell_mlx()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
faults = []
for _ in range(4):
    begin = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    places = [libc.malloc(20 << 20) for _ in range(4)]
    for place in places:
        libc.memset(place, 1, 20 << 20)
    for place in places[::-1]:
        libc.free(place)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begin)
print(faults[-1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's settings")
@pytest.mark.parametrize("is_told", [True, False])
def test_memory_for_results_is_kept(is_told: bool) -> None:
    own = {} if is_told else {"MALLOC_TRIM_THRESHOLD_": "131072"}
    done = subprocess.run(
        [sys.executable, "-c", TAKES_AND_GIVES_BACK],
        capture_output=True, text=True, check=True, env={**os.environ, **own},
    )  # fmt: skip
    assert (int(done.stdout) < 2000) is is_told
