"""`mtplx-tui chat` over a pipe: each line a question, answers alone on standard output."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.protocol import Role
from mtplx_tui.chats.model import Chat
from mtplx_tui.chats.store import Store
from mtplx_tui.terminal_chat.lines import PipedLines
from tests.fakes.processes import children, comes_true, is_gone

PROGRAM = Path(sys.executable).with_name("mtplx-tui")
SHORT = ("--max-tokens", "6", "--seed", "3")


def chat(lines: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [PROGRAM, "chat", *map(str, words)],
        input=lines,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=300,
        check=False,
    )


def kept(home: Path) -> Chat:
    """Return the one chat on disk."""
    store = Store(home / "chats")
    (summary,) = store.summaries()
    return store.read(summary.id)


def test_each_line_is_a_question_of_one_kept_chat(home: Path, tiny_folder: Path) -> None:
    done = chat("One?\n\n/depth 2\nTwo?", "--model", tiny_folder, *SHORT)
    assert done.returncode == 0, done.stderr
    path = kept(home).path()
    assert [turn.role for turn in path] == [Role.USER, Role.ASSISTANT] * 2
    assert [turn.text for turn in path[::2]] == ["One?", "Two?"]
    assert path[1].options is not None
    assert path[3].options is not None
    assert (path[1].options.depth, path[3].options.depth) == (None, 2)
    first, second = (turn.text.encode(errors="replace").decode() for turn in path[1::2])
    begin, _, end = done.stdout.partition("depth: 2\n")
    assert first.rstrip("\n") in begin
    assert second.rstrip("\n") in end


@pytest.mark.slow
def test_the_same_seed_gives_the_same_answers(home: Path, tiny_folder: Path) -> None:
    assert home.is_dir()
    first, second = (chat("Hello\n", "--model", tiny_folder, *SHORT) for _ in range(2))
    assert first.stdout == second.stdout != ""


@pytest.mark.slow
def test_what_is_no_command_is_told_and_the_rest_goes_on(home: Path, tiny_folder: Path) -> None:
    lines = "/dept 2\n/depth nine\n/depth 9\n/copy\n//etc is a folder?\n/exit\nnever asked\n"
    done = chat(lines, "--model", tiny_folder, *SHORT)
    assert done.returncode == 1
    told = done.stderr.splitlines()
    assert "/depth is one" in told[-4]
    assert "a depth must be auto or a number from 0 to 8, not 'nine'" in told[-3]
    assert "depth must be between 0 and 8, not 9" in told[-2]
    assert "there is no answer yet" in told[-1]
    assert kept(home).path()[0].text == "/etc is a folder?"
    assert "never asked" not in str(kept(home).turns)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--depth", "9"), 2, "depth must be between 0 and 8, not 9"),
        (("--mode", "loud"), 2, "--mode must be one of token, block, seeded, not 'loud'"),
        (("--temperature", "-1"), 2, "temperature must be between 0 and 100, not -1"),
        (("--model", "/no/such/folder"), 1, "there is no folder /no/such/folder"),
    ],
)
def test_bad_usage_is_one_line(home: Path, words: tuple[str, ...], code: int, told: str) -> None:
    assert home.is_dir()
    done = chat("Hello\n", *words)
    assert done.returncode == code
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert told in line


@pytest.mark.slow
def test_a_chat_is_saved_and_loaded_again(home: Path, tiny_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "talk.md"
    asked = chat(f"A first question\n/save {out}\n", "--model", tiny_folder, *SHORT)
    assert asked.returncode == 0, asked.stderr
    assert "A first question" in out.read_text("utf-8")
    again = chat("/load first question\nA second\n", "--model", tiny_folder, *SHORT)
    assert again.returncode == 0, again.stderr
    assert [turn.text for turn in kept(home).path()[::2]] == ["A first question", "A second"]


@pytest.mark.slow
def test_an_engine_that_dies_fails_one_question_and_is_started_again(
    home: Path, endless_folder: Path
) -> None:
    process = subprocess.Popen(
        [PROGRAM, "chat", "--model", str(endless_folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"Hello\n")
    process.stdin.flush()
    assert process.stdout.read(1)
    (engine,) = children(process.pid)
    os.kill(engine, signal.SIGKILL)
    process.stdin.write(b"Again\n")
    process.stdin.flush()
    assert comes_true(lambda: [c for c in children(process.pid) if c != engine] != [])
    assert comes_true(lambda: len(kept(home).path()) == 4)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"cut: the engine ended" in told
    assert b"ended by signal 9" in told


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_its_engine(
    home: Path, endless_folder: Path, number: signal.Signals
) -> None:
    assert home.is_dir()
    with subprocess.Popen(
        [PROGRAM, "chat", "--model", str(endless_folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"Hello\n")
        process.stdin.flush()
        assert process.stdout.read(1)
        (engine,) = children(process.pid)
        process.send_signal(number)
        process.stdout.read()
        assert process.wait(30) == 128 + number
    assert is_gone(engine)


@pytest.mark.parametrize(
    "chunks", [[b"a\nb", b"\xc3", b"\xa9\r\n\nlast"], [b"a\nb\xc3\xa9\n\nlast"]]
)
async def test_lines_come_whole_however_they_are_cut(chunks: list[bytes]) -> None:
    ours, theirs = os.pipe()
    lines = PipedLines(ours)
    found: list[str | None] = []
    for chunk in chunks:
        os.write(theirs, chunk)
        await asyncio.sleep(0)
    os.close(theirs)
    while (line := await lines.next_line()) is not None:
        found.append(line)
    os.close(ours)
    assert found == ["a", "bé", "", "last"]


async def test_lines_come_from_a_file_too(tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("one\ntwo\n")
    with (tmp_path / "lines").open() as file:
        lines = PipedLines(file.fileno())
        assert [await lines.next_line() for _ in range(3)] == ["one", "two", None]
