"""`mtplx-tui chat` in a terminal: a person types, edits, interrupts and leaves."""

from __future__ import annotations

import base64
import os
import signal
import stat
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from engine.protocol import Channel, TextRun
from mtplx_tui.chats.model import TurnStatus
from mtplx_tui.chats.store import Store
from mtplx_tui.terminal_chat import page
from mtplx_tui.terminal_chat.page import TerminalPage
from tests.fakes.processes import children
from tests.fakes.terminal import Terminal

PROGRAM = Path(sys.executable).with_name("mtplx-tui")
CTRL_C, CTRL_D, ENTER, UP, TAB = "\x03", "\x04", "\r", "\x1b[A", "\t"
READY = "/help lists the commands"
Start = Callable[..., Terminal]


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    assert home.is_dir()
    started: list[Terminal] = []

    def run(*words: str | Path) -> Terminal:
        environment = {
            **{name: text for name, text in os.environ.items() if name not in ("COLUMNS", "LINES")},
            "TERM": "xterm-256color",
            "LC_ALL": "C.UTF-8",
            "PROMPT_TOOLKIT_NO_CPR": "1",
        }
        started.append(Terminal([PROGRAM, "chat", *words], environment))
        return started[-1]

    yield run
    for terminal in started:
        terminal.close()


def ready(start: Start, folder: Path, *words: str) -> Terminal:
    terminal = start("--model", folder, *words)
    terminal.shows(READY, "› ", within_s=120)
    return terminal


def leave(terminal: Terminal) -> None:
    """Press ctrl+d at the next prompt: before it reads keys, the terminal would swallow it."""
    terminal.until(
        lambda: terminal.reads_keys and terminal.text.rstrip().endswith("›"),
        "a prompt that reads keys",
    )
    terminal.press(CTRL_D)
    assert terminal.end() == 0


def ask(terminal: Terminal, home: Path) -> Store:
    """Ask, and wait until the answer is under way."""
    terminal.press("Hello" + ENTER)
    store = Store(home / "chats")
    terminal.until(lambda: bool(store.summaries()), "the question on disk")

    def shown() -> int:
        return len("".join(terminal.text.partition("› Hello")[2].split()))

    terminal.until(lambda: shown() > 20, "some of the answer")
    return store


def test_ctrl_c_stops_the_answer_and_not_the_program(
    start: Start, endless_folder: Path, home: Path
) -> None:
    terminal = ready(start, endless_folder)
    store = ask(terminal, home)
    terminal.press(CTRL_C)
    terminal.shows("stopped · ", "tok/s")
    (summary,) = store.summaries()
    answer = store.read(summary.id).path()[-1]
    assert answer.status is TurnStatus.STOPPED
    assert answer.text
    terminal.press(CTRL_C)
    terminal.shows("ctrl+d or /exit leaves")
    assert children(terminal.process.pid)
    leave(terminal)


def test_ctrl_c_between_an_answer_and_the_next_line_does_not_leave(
    start: Start, tiny_folder: Path
) -> None:
    terminal = ready(start, tiny_folder)
    os.kill(terminal.process.pid, signal.SIGINT)  # as the terminal does where no line is asked for
    terminal.shows("ctrl+d or /exit leaves")
    leave(terminal)


@pytest.mark.slow
def test_keys_typed_into_an_answer_are_not_echoed_and_the_echo_comes_back(
    start: Start, endless_folder: Path, home: Path
) -> None:
    terminal = ready(start, endless_folder)
    ask(terminal, home)
    terminal.press("zq~zq")
    terminal.press(CTRL_C)
    terminal.shows("stopped")
    assert b"zq~zq" not in terminal.written
    terminal.press("/exit" + ENTER)
    assert terminal.end() == 0
    modes = terminal.modes[3]
    assert isinstance(modes, int)
    assert modes & termios.ECHO


@pytest.mark.slow
def test_history_comes_back_in_the_next_run_and_is_the_owners_alone(
    start: Start, tiny_folder: Path, home: Path
) -> None:
    first = ready(start, tiny_folder)
    first.press("/mode seeded" + ENTER)
    first.shows("mode: seeded")
    first.press("/exit" + ENTER)
    assert first.end() == 0
    history = home / "state" / "chat-history"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    second = ready(start, tiny_folder)
    second.press(UP + UP + ENTER)
    second.shows("mode: seeded")
    leave(second)


@pytest.mark.slow
def test_commands_are_completed(start: Start, tiny_folder: Path) -> None:
    terminal = ready(start, tiny_folder)
    terminal.press("/mo" + TAB + " blo" + TAB + ENTER)
    terminal.shows("mode: block")
    terminal.press("/help" + ENTER)
    terminal.shows("/retry", "/copy", "/exit")
    terminal.press("/exit" + ENTER)
    assert terminal.end() == 0


@pytest.mark.slow
def test_answers_are_retried_copied_and_counted(
    start: Start, tiny_folder: Path, home: Path
) -> None:
    terminal = ready(start, tiny_folder, "--max-tokens", "12")
    terminal.press("Hello" + ENTER)
    terminal.shows("depth 0", "token")
    terminal.press("/retry" + ENTER)
    store = Store(home / "chats")

    def answers() -> int:
        (summary,) = store.summaries()
        turns = store.read(summary.id).turns.values()
        return sum(turn.status is TurnStatus.DONE and turn.role == "assistant" for turn in turns)

    terminal.until(lambda: answers() == 2, "two answers")
    terminal.press("/copy" + ENTER)
    terminal.shows("sent to the terminal's clipboard")
    (summary,) = store.summaries()
    answer = store.read(summary.id).path()[-1].text
    coded = base64.b64encode(answer.encode("utf-8", "replace"))
    assert b"\x1b]52;c;" + coded + b"\x07" in terminal.written
    terminal.press("/stats" + ENTER)
    terminal.shows("cycles in", "verify")
    leave(terminal)


def test_killed_in_an_answer_or_at_the_prompt_it_leaves_keys_as_they_were(
    start: Start, endless_folder: Path, home: Path
) -> None:
    for is_asked in (False, True):
        terminal = start("--model", endless_folder)
        before = terminal.modes
        terminal.shows(READY, "› ", within_s=120)
        if is_asked:
            ask(terminal, home)
        assert terminal.modes != before
        terminal.process.kill()
        terminal.until_given_back(lambda: terminal.modes == before)  # noqa: B023


class TestPage:
    @pytest.fixture
    def written(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """What is written, piece by piece."""
        pieces: list[str] = []
        monkeypatch.setattr(page, "_write", pieces.append)
        monkeypatch.setattr(page, "_no_echo", nullcontext)
        monkeypatch.setattr(page, "_columns", lambda: 20)
        return pieces

    @staticmethod
    def answered(shown: TerminalPage, *runs: TextRun) -> None:
        with shown.answering():
            for run in runs:
                shown.write((run,))

    def test_a_model_cannot_steer_the_terminal(self, written: list[str]) -> None:
        run = TextRun(Channel.ANSWER, "a\x1b]52;c;eA==\x07b\x9b2J")
        self.answered(TerminalPage(has_color=False), run)
        assert "".join(written) == "a␛]52;c;eA==␇b\ufffd2J\n"

    def test_reasoning_is_dim_and_the_answer_is_not(self, written: list[str]) -> None:
        runs = (TextRun(Channel.REASONING, "hm"), TextRun(Channel.ANSWER, "yes"))
        self.answered(TerminalPage(has_color=True), *runs)
        assert "".join(written) == "\x1b[2mthinking: hm\n\n\x1b[0myes\x1b[0m\n"

    def test_lines_end_at_blanks(self, written: list[str]) -> None:
        runs = (
            TextRun(Channel.REASONING, "what is it"),
            TextRun(Channel.REASONING, " about?"),
            TextRun(Channel.ANSWER, "The sky appears bl"),
            TextRun(Channel.ANSWER, "ue to us."),
        )
        shown = TerminalPage(has_color=False)
        self.answered(shown, *runs)
        answer = "thinking: what is it\nabout?\n\nThe sky appears blue\nto us.\n"
        assert "".join(written) == answer
        shown.tell("what a person asked to be told")
        assert "".join(written) == f"{answer}what a person asked\nto be told\n"
