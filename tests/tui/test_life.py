"""The app's life as a process: a real terminal, a real engine, and what may happen to both."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from engine.protocol import Role
from mtplx_tui.chats.model import Turn, TurnStatus
from mtplx_tui.chats.store import Store
from tests.fakes.driver import EngineProcess, question
from tests.fakes.processes import children, comes_true, is_gone
from tests.fakes.terminal import Terminal

PROGRAM = Path(sys.executable).with_name("mtplx-tui")
CTRL_Q, CTRL_R, ENTER = "\x11", "\x12", "\r"
READY = "Type a question below"
LIMITED = 'export PYTHONDONTWRITEBYTECODE=1; ulimit -f 4; exec "$0" "$@"'
"""A shell's line: no file may grow past two kilobytes, as on a full disk; Python would leave cut modules."""


class Start(Protocol):
    """Starts the app in a terminal."""

    def __call__(
        self,
        *words: str | Path,
        size: tuple[int, int] = (100, 30),
        shell: str = "",
        **environment: str,
    ) -> Terminal: ...


SIZES = ("COLUMNS", "LINES")
"""They would stand for the terminal's own size."""


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    assert home.is_dir()
    started: list[Terminal] = []

    def run(
        *words: str | Path,
        size: tuple[int, int] = (100, 30),
        shell: str = "",
        **environment: str,
    ) -> Terminal:
        plain = {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        command = [PROGRAM, *words]
        if shell:
            command = ["/bin/sh", "-c", shell, *command]
        own = {name: text for name, text in os.environ.items() if name not in SIZES}
        started.append(Terminal(command, {**own, **plain, **environment}, size))
        return started[-1]

    yield run
    for terminal in started:
        terminal.close()


@pytest.fixture
def answering(start: Start, endless_folder: Path) -> Terminal:
    """The app, in the midst of an answer."""
    terminal = start(endless_folder)
    ask(terminal, "Hello")
    return terminal


def ask(terminal: Terminal, question: str) -> None:
    """Ask, and wait until the answer is under way."""
    terminal.shows(READY, within_s=120)
    terminal.press(question + ENTER)
    terminal.shows("generating", "tok/s")


def test_a_draft_outlives_a_kill(start: Start, home: Path, tiny_folder: Path) -> None:
    terminal = start(tiny_folder)
    terminal.shows(READY, within_s=120)
    terminal.press("half a question")
    terminal.shows("half a question")
    kept = home / "state" / "bookmark.json"
    assert comes_true(lambda: kept.exists() and "half a question" in kept.read_text("utf-8"))
    terminal.process.kill()
    terminal.process.wait()
    start(tiny_folder).shows("half a question")


def test_bytes_that_are_no_text_end_nothing(start: Start, tiny_folder: Path) -> None:
    terminal = start(tiny_folder)
    terminal.shows(READY, within_s=120)
    terminal.press(b"a\xffb\xe2\x82")
    terminal.press(b"\xacc\x80\x1b[200~d\x11\xfe\x1b[201~e\xc3")
    terminal.shows("a\ufffdb€c\ufffdd")
    terminal.press("z")
    terminal.shows("\ufffde\ufffdz")
    terminal.press(CTRL_Q)
    assert terminal.end() == 0


@pytest.mark.slow
def test_what_is_typed_before_the_first_frame_is_in_the_prompt(
    start: Start, tiny_folder: Path
) -> None:
    terminal = start(tiny_folder)
    terminal.press("half a question")  # the terminal itself echoes it
    terminal.shows("F2 Chat", within_s=120)
    terminal.press(" and the rest")
    terminal.shows("half a question and the rest")


@pytest.mark.slow
def test_a_terminal_that_shrank_and_grew_at_once_is_drawn_anew(
    start: Start, tiny_folder: Path
) -> None:
    terminal = start(tiny_folder, size=(79, 23))
    terminal.shows(READY, "F2 Chat", within_s=120)
    for _ in range(5):
        terminal.resize(1, 1)
        terminal.resize(79, 23)
        assert READY not in terminal.text
        terminal.shows(READY, "F2 Chat", "Ask something")


def the_engine(terminal: Terminal) -> int:
    (engine,) = children(terminal.process.pid)
    return engine


def the_answer(home: Path) -> Turn:
    """Return the one answer on disk."""
    store = Store(home / "chats")
    (summary,) = store.summaries()
    turns = store.read(summary.id).turns.values()
    (answer,) = [turn for turn in turns if turn.role is Role.ASSISTANT]
    return answer


@pytest.mark.slow
@pytest.mark.xdist_group("demo")
def test_the_demo_is_asked_and_answers(
    start: Start, home: Path, demo_engine: EngineProcess
) -> None:
    # Leaves weights and what depths cost in the cache that both share.
    demo_engine.complete(question("Hi", max_tokens=4))
    terminal = start("demo")
    ask(terminal, "Why is the sky blue?")
    terminal.press("\x1b")
    terminal.shows("ready")
    assert "demo" in terminal.text
    assert re.search(r"depth (auto|\d)", terminal.text)
    terminal.press(CTRL_Q)
    assert terminal.end() == 0
    answer = the_answer(home)
    assert answer.status in (TurnStatus.STOPPED, TurnStatus.DONE)
    assert answer.text.split()[0] in terminal.text or answer.text.split()[0].encode() in (
        terminal.written
    )


class TestTheEngineDies:
    def test_in_mid_answer_and_is_started_again(
        self, answering: Terminal, home: Path, endless_folder: Path
    ) -> None:
        first = the_engine(answering)
        os.kill(first, signal.SIGKILL)
        seconds = answering.shows("the engine was ended by signal 9", "stopped", within_s=2)
        assert seconds < 2
        answering.shows("cut: the engine ended")
        answer = the_answer(home)
        assert answer.status is TurnStatus.CUT
        assert answer.text
        answering.press(CTRL_R)
        answering.shows("Ask something", "ready")
        assert str(endless_folder)[-12:] in answering.text
        assert the_engine(answering) != first
        answering.press("Again" + ENTER)
        answering.shows("generating")


@pytest.mark.slow
class TestTheAppIsKilled:
    def test_the_last_second_is_all_that_is_lost(
        self, answering: Terminal, start: Start, home: Path, endless_folder: Path
    ) -> None:
        engine = the_engine(answering)
        (file,) = (home / "chats").glob("*.jsonl")
        written = [file.stat().st_mtime]
        while len(written) < 4:
            answering.until(lambda: file.stat().st_mtime > written[-1], "more of the answer")
            written.append(file.stat().st_mtime)
        slowest_s = max(later - earlier for earlier, later in itertools.pairwise(written))
        place = home / "state" / "bookmark.json"
        answering.until(
            lambda: place.exists() and file.stem in place.read_text("utf-8"), "its place"
        )
        answering.process.kill()
        at = time.time()
        answering.end()
        assert comes_true(lambda: is_gone(engine))
        # On a loaded machine a second of the app's own is longer.
        assert file.stat().st_mtime > at - max(1.0, 2 * slowest_s)
        answer = the_answer(home)
        assert answer.status is TurnStatus.CUT
        assert len(answer.text) > 20
        start(endless_folder, size=(120, 40)).shows("Hello", "cut: the app ended")

    def test_the_terminal_is_as_it_was(self, start: Start, tiny_folder: Path) -> None:
        terminal = start(tiny_folder)
        before = terminal.modes
        terminal.shows(READY)
        assert terminal.modes != before
        terminal.process.kill()
        terminal.until_given_back(lambda: terminal.modes == before)
        terminal.until_given_back(lambda: are_off(terminal))


def are_off(terminal: Terminal) -> bool:
    """Return whether the last that was heard of each of these modes is their end, and of others their beginning."""
    written = terminal.written
    off, on = (b"1049", b"1000", b"1003", b"1004", b"1006", b"2004"), (b"25", b"7")

    def heard(mode: bytes, end: bytes) -> int:
        return written.rfind(b"\x1b[?%b%b" % (mode, end))

    return all(heard(mode, b"l") > heard(mode, b"h") for mode in off) and all(
        heard(mode, b"h") > heard(mode, b"l") for mode in on
    )


class TestSignals:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
    def test_the_terminal_is_as_it_was(
        self, start: Start, endless_folder: Path, number: signal.Signals
    ) -> None:
        terminal = start(endless_folder)
        before = terminal.modes
        terminal.shows(READY)
        assert terminal.modes != before
        engine = the_engine(terminal)
        os.kill(terminal.process.pid, number)
        assert terminal.end() == 128 + number
        assert terminal.modes == before
        assert are_off(terminal)
        assert comes_true(lambda: is_gone(engine))

    @pytest.mark.slow
    def test_one_that_goes_on_without_having_stopped_is_left_as_ever(
        self, answering: Terminal
    ) -> None:
        for _ in range(3):
            os.kill(answering.process.pid, signal.SIGCONT)
            answering.until(lambda: "generating" in answering.text)
        answering.press(CTRL_Q)
        assert answering.end() == 0

    @pytest.mark.slow
    def test_a_terminal_that_is_taken_away_leaves_nothing_behind(
        self, answering: Terminal, home: Path
    ) -> None:
        engine = the_engine(answering)
        answering.hang_up()
        assert answering.process.wait(15) == 128 + signal.SIGHUP
        assert is_gone(engine)
        assert the_answer(home).text


@pytest.mark.slow
class TestSize:
    def test_too_small_is_told_and_gets_well(self, start: Start, endless_folder: Path) -> None:
        terminal = start(endless_folder, size=(50, 12))
        terminal.shows("50 × 12 is too small")
        terminal.resize(100, 30)
        terminal.shows(READY, "mtplx-tui")
        terminal.resize(20, 5)
        terminal.shows("too small")
        terminal.resize(79, 23)
        terminal.shows(READY)
        terminal.press(CTRL_Q)
        assert terminal.end() == 0

    def test_less_than_80_by_24_is_told_and_works(self, start: Start, endless_folder: Path) -> None:
        terminal = start(endless_folder, size=(79, 23))
        terminal.shows("79 × 23 is tight; 80 × 24 is comfortable")
        ask(terminal, "Hello")


class TestRefused:
    @pytest.mark.parametrize("name", ["dumb", ""])
    def test_a_dumb_terminal(self, start: Start, name: str) -> None:
        terminal = start("demo", TERM=name)
        assert terminal.end() == 2
        assert terminal.written.count(b"\n") == 1
        assert b"\x1b" not in terminal.written
        assert b"mtplx-tui generate" in terminal.written

    def test_no_terminal(self) -> None:
        done = subprocess.run(
            [PROGRAM],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={**os.environ, "TERM": "xterm"},
            check=False,
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1
        assert "mtplx-tui generate" in done.stderr

    def test_an_unknown_model(self, start: Start) -> None:
        terminal = start("nowhere")
        assert terminal.end() == 1
        assert b"there is no folder nowhere" in terminal.written
        assert b"\x1b" not in terminal.written


@pytest.mark.slow
class TestDisk:
    def test_a_home_that_cannot_be_written_leaves_the_chat_in_memory(
        self, start: Start, tmp_path: Path, endless_folder: Path
    ) -> None:
        (tmp_path / "file").touch()
        terminal = start(endless_folder, MTPLX_TUI_HOME=str(tmp_path / "file"))
        ask(terminal, "Hello")
        terminal.shows("kept in memory only")
        terminal.press(CTRL_Q)
        terminal.shows("lose what is not on disk")
        terminal.press("y")
        assert terminal.end() == 0

    def test_a_full_disk_leaves_the_chat_in_memory(
        self, start: Start, home: Path, endless_folder: Path
    ) -> None:
        terminal = start(endless_folder, shell=LIMITED)
        ask(terminal, "Hello")
        terminal.shows("kept in memory only: File too large", "generating")
        terminal.press(CTRL_Q)
        terminal.shows("lose what is not on disk")
        terminal.press(CTRL_Q)
        assert terminal.end() == 0
        assert the_answer(home).status is TurnStatus.CUT


COLOR = re.compile(rb"\x1b\[(?:[\d;]*;)?(?:[34][0-7]|[34]8|9[0-7]|10[0-7])(?:;[\d;]*)?m")


@pytest.mark.slow
class TestPlainTerminals:
    def test_no_color(self, start: Start, endless_folder: Path) -> None:
        terminal = start(endless_folder, NO_COLOR="1")
        ask(terminal, "Hello")
        assert b"\x1b[1;" in terminal.written
        assert not COLOR.search(terminal.written), COLOR.search(terminal.written)

    def test_color(self, start: Start, endless_folder: Path) -> None:
        terminal = start(endless_folder)
        terminal.shows(READY)
        assert COLOR.search(terminal.written)

    def test_a_locale_without_unicode_gets_ascii(self, start: Start, endless_folder: Path) -> None:
        terminal = start(endless_folder, LC_ALL="en_US.ISO-8859-1")
        ask(terminal, "Hello")
        odd = sorted(set(terminal.written.decode("utf-8", "replace")) - set(map(chr, range(128))))
        assert odd == []
