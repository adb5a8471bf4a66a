"""Started in a folder of hostile modules, our own code runs and theirs does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SPRUNG = "import pathlib\npathlib.Path({marker!r}).write_text('sprung')\n"


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A folder whose modules write a file when they are imported."""
    folder = tmp_path / "hostile"
    hostile = SPRUNG.format(marker=str(tmp_path / "marker"))
    for package in ("engine", "kernels", "mtplx_tui"):
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text(hostile)
        (folder / package / "__main__.py").write_text(hostile)
    for module in ("json", "dataclasses", "argparse", "textual", "mlx"):
        (folder / f"{module}.py").write_text(hostile)
    return folder


def run(trap: Path, *command: str) -> tuple[subprocess.CompletedProcess[str], bool]:
    done = subprocess.run(
        command,
        cwd=trap,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done, (trap.parent / "marker").exists()


def test_the_trap_springs_without_our_precaution(trap: Path) -> None:
    _, is_sprung = run(trap, sys.executable, "-m", "engine")
    assert is_sprung


def test_the_engine_is_ours(trap: Path, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    done, is_sprung = run(
        trap, sys.executable, "-P", "-m", "engine", "--blas", "stock", "--cache", cache
    )
    assert not is_sprung
    assert done.returncode == 0, done.stderr
    assert '"EngineStarted"' in done.stdout


def test_the_command_line_is_ours(trap: Path) -> None:
    program = Path(sys.executable).with_name("mtplx-tui")
    done, is_sprung = run(trap, str(program), "--version")
    assert not is_sprung
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
