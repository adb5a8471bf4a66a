"""What `uv build` makes holds what it should, and runs where nothing else is installed."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.fakes.terminal import Terminal
from tests.fakes.tiny import write_checkpoint
from tests.package.building import PROJECT, ROOT, build, environment, install

OLDEST = PROJECT["project"]["requires-python"].removeprefix(">=")
NEWEST = "3.15"
"""The newest for which all dependencies have wheels."""
NEWEST_RUN = "3.13"
"""The newest that the package says it was run on."""
ROOMS = ("engine", "kernels", "mtplx_tui", "themes")
CTRL_Q = "\x11"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return build(tmp_path_factory.mktemp("dist"))


def kept() -> set[str]:
    """Return what of the checkout belongs into the package: every file under version control."""
    listed = subprocess.run(
        ["git", "ls-files", *ROOMS], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(listed.stdout.split())


def test_the_wheel_holds_the_rooms_and_nothing_else(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[0]) as archive:
        names = set(archive.namelist())
    of_the_wheel = {name for name in names if ".dist-info/" in name}
    assert names - of_the_wheel == kept()
    assert {
        "engine/data/demo/mtp.safetensors",
        "mtplx_tui/app.tcss",
        "mtplx_tui/bench/prompts/chat.txt",
        "mtplx_tui/server/web/index.html",
        "themes/dusk.toml",
    } <= names
    licences = {Path(name).name for name in of_the_wheel if "/licenses/" in name}
    assert licences == set(PROJECT["project"]["license-files"])


def test_the_source_package_holds_what_the_wheel_is_built_from(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[1]) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    beside = {".gitignore", "PKG-INFO", "README.md", "pyproject.toml"}
    assert names == kept() | beside | set(PROJECT["project"]["license-files"])


def test_the_versions_it_was_run_on_are_named() -> None:
    marks = PROJECT["project"]["classifiers"]
    named = [mark.rpartition(" ")[2] for mark in marks if "Python :: 3." in mark]
    assert (named[0], named[-1]) == (OLDEST, NEWEST_RUN)


@pytest.mark.slow
@pytest.mark.xdist_group("demo")
@pytest.mark.parametrize("version", [OLDEST, NEWEST_RUN, NEWEST])
def test_it_runs_in_an_empty_environment(
    version: str, built: tuple[Path, Path], tmp_path: Path, home: Path
) -> None:
    programs = environment(tmp_path / "environment", version)
    done = install(tmp_path / "environment", "--offline", f"{built[0]}[cpu]")
    assert done.returncode == 0, done.stderr
    own = {name: text for name, text in os.environ.items() if name.startswith("OPENBLAS_")}
    own |= {"HOME": str(tmp_path), "MTPLX_TUI_HOME": str(home), "PATH": os.defpath}
    own |= {"LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}

    def told(*words: str | Path, code: int = 0) -> str:
        """Run the program outside the checkout; return what it prints."""
        command = [programs / "mtplx-tui", *words]
        done = subprocess.run(
            command, cwd=tmp_path, env=own, capture_output=True, text=True, timeout=120, check=False
        )
        assert (done.returncode, done.stderr) == (code, "")
        return done.stdout

    assert told("--version") == f"mtplx-tui {PROJECT['project']['version']}\n"
    assert told("--help").startswith("usage: mtplx-tui ")
    assert "complete -F _mtplx_tui mtplx-tui" in told("completion", "bash")
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    assert json.loads(told("inspect", checkpoint, "--json", code=3))["tier"] == "no-mtp"
    asked = ("--prompt", "Name a fruit.", "--max-tokens", "8", "--depth", "3", "--seed", "7")
    answer = json.loads(told("generate", "--model", "demo", *asked, "--json"))
    assert len(answer["token_ids"]) == 8
    terminal = Terminal([programs / "mtplx-tui", checkpoint], own)
    try:
        terminal.shows("Speculation", "● ready")
        terminal.press(CTRL_Q)
        assert terminal.end() == 0
    finally:
        terminal.close()
