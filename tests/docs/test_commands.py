"""Every command of the pages does what a page lets people expect: it runs."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, Block, blocks
from tests.fakes import checkpoints, tiny
from tests.fakes.hub import FakeHub
from tests.fakes.terminal import Terminal

CTRL_D, CTRL_Q = "\x04", "\x11"
SHORTER = {
    "bench": "--prompts 1 --max-tokens 8",
    "certify": "--budget 8s",
    "generate": "--max-tokens 8",
    "tune": "--tokens 20",
    "serve": "--host 127.0.0.1 --port 0",
}
"""Said last, so it counts: the same command, a smaller job."""
WELL = {"inspect": {0, 3}, "certify": {0, 6}}
"""Exit codes of a command that did its work; 0 for all others. So few seconds may decide nothing."""
RUN = [block for page in PAGES for block in blocks(page) if not block.why_not]
HUB_NAMES = ("owner/name", "mlx-community/some-model")


@pytest.fixture(scope="module")
def drafting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with a head, in the demo's place."""
    return checkpoints.write(tmp_path_factory.mktemp("drafting") / "model", "qwen3_5")


@pytest.fixture
def place(
    home: Path, tmp_path: Path, drafting: Path, monkeypatch: pytest.MonkeyPatch
) -> Generator[Path]:
    """A home with a model, a hub with two, and a folder to stand in."""
    tiny.write_checkpoint(tmp_path / "models" / "some-mlx-model")
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    files = {path.name: path.read_bytes() for path in drafting.iterdir() if path.is_file()}
    with FakeHub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        for name in HUB_NAMES:
            hub.add(name, files)
        yield home


def smaller(command: str, drafting: Path) -> str:
    """Return a command with a small model for the demo, and a smaller job."""
    name = re.match(r"(?:.*\| *)?mtplx-tui (\w+)", command)
    shown = re.sub(r"\bdemo\b", shlex.quote(str(drafting)), command)
    if name is None or "--compare" in command:
        return shown
    if name[1] in ("generate", "chat", "serve", "certify") and shown == command:
        shown += f" {'' if name[1] == 'certify' else '--model '}{shlex.quote(str(drafting))}"
    return f"{shown} {SHORTER.get(name[1], '')}"


def run(command: str) -> None:
    """Run a command as a person would: in a terminal where it wants one, else for what it prints."""
    words = command.split()
    if words[:2] == ["mtplx-tui", "serve"]:
        serve(words)
    elif words[:2] == ["mtplx-tui", "chat"]:
        sit_at(words, "/help", CTRL_D)
    elif words[:2] == ["mtplx-tui", "remove"] and "--yes" not in words:
        sit_at(words, "delete", "y\r")
    elif words[0] == "mtplx-tui" and ("/" in words[-1] and len(words) == 2):
        sit_at(words, "is ready", CTRL_Q)
    else:
        finish(command)


def finish(command: str) -> None:
    done = subprocess.run(
        ["bash", "-c", command],
        input="y\n",
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    name = re.search(r"mtplx-tui (\w+)", command)
    well = WELL.get(name[1], {0}) if name else {0}
    assert done.returncode in well, f"{command}\n{done.stdout}\n{done.stderr}"


def sit_at(words: list[str], text: str, key: str) -> None:
    words = [os.path.expanduser(word) for word in words]
    terminal = Terminal(words, os.environ)
    try:
        terminal.shows(text, within_s=60)
        if key == CTRL_D:
            terminal.until(lambda: terminal.reads_keys, "a prompt that reads keys")
        terminal.press(key)
        assert terminal.end() == 0
    finally:
        terminal.close()


def serve(words: list[str]) -> None:
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        assert server.stdout is not None
        try:
            assert any("http://" in line for line in server.stdout)
        finally:
            server.terminate()
        assert server.wait(30) in (0, 143)


@pytest.mark.slow
@pytest.mark.parametrize("block", RUN, ids=lambda block: f"{block.page}:{block.line}")
def test_a_block_of_commands_runs(block: Block, place: Path, drafting: Path) -> None:
    if any("some-model" in command for command in block.commands):
        finish(f"mtplx-tui pull {HUB_NAMES[1]}")
    for command in block.commands:
        run(smaller(command.removeprefix("uv run "), drafting))


def test_blocks_are_found_and_reasons_are_given() -> None:
    every = [block for page in PAGES for block in blocks(page)]
    assert {"README.md", "docs/law.md", "docs/traces.md"} <= {block.page for block in RUN}
    assert sum(len(block.commands) for block in RUN) > 25
    assert all(len(block.why_not) > 10 for block in every if block.why_not)
