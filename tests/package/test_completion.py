"""Completion as real shells do it."""

from __future__ import annotations

import functools
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mtplx_tui.cli import COMMANDS, main, parser_of
from mtplx_tui.completion import facts, scripts
from tests.fakes.required import skip_without

SHELLS = ("bash", "zsh", "fish")
HOSTILE = "$(touch sprung)"


def needs(shell: str) -> pytest.MarkDecorator:
    return skip_without(shell, shutil.which(shell), f"no {shell}: its completion was NOT tried")


EACH = pytest.mark.parametrize("shell", [pytest.param(s, marks=needs(s)) for s in SHELLS])


@functools.cache
def written() -> dict[str, str]:
    """Return each shell's script."""
    return {shell: write(facts.commands()) for shell, write in scripts.SHELLS.items()}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with a file, and models at home, one of an evil name."""
    for name in ("one model", HOSTILE):
        folder = tmp_path / "home" / "models" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    (tmp_path / "answer.jsonl").write_text("")
    for shell, text in written().items():
        (tmp_path / f"{shell}.script").write_text(text)
    monkeypatch.setenv("MTPLX_TUI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def offered(shell: str, line: str) -> set[str]:
    """Return what a shell offers at the end of a line."""
    script = {"bash": in_bash, "zsh": in_zsh, "fish": in_fish}[shell](line)
    done = subprocess.run(
        [shell, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    names = {name.partition("\t")[0] for name in done.stdout.splitlines()}
    return {name for name in names if name.startswith(line.rpartition(" ")[2])}


def in_bash(line: str) -> str:
    words = [*line.split(" ")]
    return (
        "source ./bash.script\n"
        f"COMP_WORDS=({shlex.join(words)}) COMP_CWORD={len(words) - 1}\n"
        '_mtplx_tui\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    )


def in_fish(line: str) -> str:
    return f"source ./fish.script\ncomplete -C {shlex.quote(line)}"


ZSH = """\
compdef() {{ }}
_files() {{ print -rl -- *(N) }}
compadd() {{ shift; print -rl -- "$@" }}
_describe() {{ for name in "${{(@P)@[-1]}}"; do print -r -- "${{name%%:*}}"; done }}
source ./zsh.script
words=({words}) CURRENT={current}
_mtplx_tui
"""
"""zsh's own functions that offer words print them here."""


def in_zsh(line: str) -> str:
    words = line.split(" ")
    return ZSH.format(words=shlex.join(words), current=len(words))


@EACH
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("mtplx-tui cert", {"certify"}),
        ("mtplx-tui generate --dep", {"--depth"}),
        ("mtplx-tui generate --mode se", {"seeded"}),
        ("mtplx-tui graft --bits ", {"4", "8"}),
        ("mtplx-tui fans re", {"restore"}),
        ("mtplx-tui chat --model de", {"demo"}),
        ("mtplx-tui bench de", {"demo"}),
        ("mtplx-tui trace view ans", {"answer.jsonl"}),
    ],
)
def test_a_shell_offers(shell: str, line: str, expected: set[str], place: Path) -> None:
    assert offered(shell, line) == expected


@EACH
def test_names_of_models_are_never_run(shell: str, place: Path) -> None:
    models = place / "home" / "models"
    expected = {f"{models}/one model", f"{models}/{HOSTILE}"}
    assert expected <= offered(shell, f"mtplx-tui certify {models}/")
    assert not (place / "sprung").exists()


@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_every_command_hands_its_parser_over(name: str | None) -> None:
    assert parser_of(name).prog == " ".join(filter(None, ("mtplx-tui", name)))


def test_every_option_of_every_command_is_in_the_facts() -> None:
    for command in facts.commands():
        shown = parser_of(command.name or None).format_help()
        for option in command.options:
            assert all(name in shown for name in option.names)
        assert shown.count("\n  -") == len(command.options)


def test_words_that_are_written_down_belong_to_an_option() -> None:
    taken = {option.values for command in facts.commands() for option in command.options}
    taken |= {place for command in facts.commands() for place in command.places}
    for words in facts.WORDS.values():
        assert any(values is not None and values.words == words for values in taken)


def test_the_hidden_option_is_a_usage_error_to_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "--parser"]) == 2
    assert "not for people" in capsys.readouterr().err
