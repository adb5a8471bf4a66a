"""What the terminal chat writes: plain text for a pipe, a little more where a person looks."""

from __future__ import annotations

import base64
import os
import sys
import termios
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from engine.protocol import Channel, TextRun
from mtplx_tui.chats.answer_words import answer_words
from mtplx_tui.chats.model import Turn, TurnStatus
from mtplx_tui.cli import tell
from mtplx_tui.terminal_chat.wrapping import Wrapping
from mtplx_tui.wording import showable

__all__ = ["Page", "PlainPage", "TerminalPage", "state_words"]

DIM, RESET = "\x1b[2m", "\x1b[0m"


class Page(Protocol):
    """Where a chat is written."""

    def tell(self, text: str) -> None:
        """Write what a person asked to be told."""
        ...

    def warn(self, text: str) -> None:
        """Write what went wrong, one line."""
        ...

    def answering(self) -> AbstractContextManager[None]:
        """Surround an answer."""
        ...

    def write(self, runs: tuple[TextRun, ...]) -> None:
        """Write what came of an answer."""
        ...

    def end(self, turn: Turn) -> None:
        """Write what is to be told of an answer that ended."""
        ...

    def copy(self, text: str) -> bool:
        """Send a text to the clipboard; False where there is no terminal to take it."""
        ...


class PlainPage:
    """Answers alone on standard output, an empty line between two; troubles on standard error."""

    def __init__(self) -> None:
        self._has_written = False
        self._last = ""

    def tell(self, text: str) -> None:
        """Write it to standard output."""
        _write(f"{text}\n")

    def warn(self, text: str) -> None:
        """Write it to standard error."""
        tell(text)

    @contextmanager
    def answering(self) -> Generator[None]:
        """Part an answer from the one before, and end its last line."""
        if self._has_written:
            _write("\n")
        self._last = ""
        try:
            yield
        finally:
            self._end_line()

    def _end_line(self) -> None:
        if self._last and not self._last.endswith("\n"):
            _write("\n")

    def write(self, runs: tuple[TextRun, ...]) -> None:
        """Write the answer; reasoning is left out."""
        text = "".join(run.text for run in runs if run.channel is Channel.ANSWER)
        if text:
            self._has_written, self._last = True, text
            _write(text)

    def end(self, turn: Turn) -> None:
        """Tell what went wrong."""
        if turn.status in (TurnStatus.CUT, TurnStatus.FAILED):
            tell(state_words(turn))

    def copy(self, text: str) -> bool:
        """Refuse: there is no terminal."""
        return False


class TerminalPage:
    """Answers with their reasoning dimmed above, and the line of facts under each; lines end at blanks.

    Args:
        has_color: whether text may be dimmed.
    """

    def __init__(self, *, has_color: bool) -> None:
        self._dim, self._reset = (DIM, RESET) if has_color else ("", "")
        self._channel: Channel | None = None
        self._last = ""
        self._wrapping = Wrapping(_columns)

    def tell(self, text: str) -> None:
        """Write it as it is, but for what would steer the terminal."""
        _write(f"{_wrapped(text)}\n")

    def warn(self, text: str) -> None:
        """Write it among the rest."""
        _write(f"{_wrapped(f'! {text}')}\n")

    @contextmanager
    def answering(self) -> Generator[None]:
        """Keep keys that are typed meanwhile from being echoed into the answer."""
        self._channel, self._last, self._wrapping = None, "", Wrapping(_columns)
        with _no_echo():
            try:
                yield
            finally:
                _write(self._wrapping.rest())
                if self._channel is not None:
                    _write(self._reset)
                self._end_line()

    def write(self, runs: tuple[TextRun, ...]) -> None:
        """Write what came, with a new paragraph where the answer begins after its reasoning."""
        for run in runs:
            if not run.text:
                continue
            if run.channel is not self._channel:
                self._turn_to(run.channel)
            self._last = run.text
            _write(self._wrapping.add(showable(run.text)))

    def _end_line(self) -> None:
        if self._last and not self._last.endswith("\n"):
            _write("\n")

    def _turn_to(self, channel: Channel) -> None:
        if self._channel is not None:
            _write(self._wrapping.rest())
            _write("\n" if self._last.endswith("\n") else "\n\n")
        self._channel, self._wrapping = channel, Wrapping(_columns)
        is_thought = channel is Channel.REASONING
        _write(self._dim if is_thought else self._reset)
        if is_thought:
            _write(self._wrapping.add("thinking: "))

    def end(self, turn: Turn) -> None:
        """Write the line of facts."""
        parts = [state_words(turn), *([] if turn.facts is None else answer_words(turn.facts))]
        line = " · ".join(part for part in parts if part)
        _write(f"{self._dim}{_wrapped(line)}{self._reset}\n\n")

    def copy(self, text: str) -> bool:
        """Send it to the terminal's clipboard by OSC 52, which answers nothing."""
        coded = base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")
        _write(f"\x1b]52;c;{coded}\a")
        return True


def state_words(turn: Turn) -> str:
    """Return why an answer stands as it does; empty where it simply ended."""
    return {
        TurnStatus.STREAMING: "",
        TurnStatus.DONE: turn.note,
        TurnStatus.STOPPED: "stopped",
        TurnStatus.CUT: f"cut: {turn.note or 'the engine ended'}",
        TurnStatus.FAILED: f"failed: {turn.note or 'the engine gave no reason'}",
    }[turn.status]


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except OSError:
        return 0


def _wrapped(text: str) -> str:
    wrapping = Wrapping(_columns)
    return wrapping.add(showable(text)) + wrapping.rest()


@contextmanager
def _no_echo() -> Generator[None]:
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    quiet = [*before]
    quiet[3] &= ~termios.ECHO
    termios.tcsetattr(descriptor, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSANOW, before)
