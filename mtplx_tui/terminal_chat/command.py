"""`mtplx-tui chat` as it is started, interrupted and left."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from contextlib import nullcontext
from dataclasses import dataclass

from engine.protocol import ChatMessage, Role
from mtplx_tui import answer_options, config, requests
from mtplx_tui.chats.desk import Desk
from mtplx_tui.chats.store import Store
from mtplx_tui.cli import UsageError, parser, tell
from mtplx_tui.config import Settings, Terminal
from mtplx_tui.driving import Engine
from mtplx_tui.files import Places
from mtplx_tui.giving_back import LINES, given_back
from mtplx_tui.library.disk import DEMO, Location, ModelNotFound, resolve
from mtplx_tui.remedies import one_line
from mtplx_tui.requests import Options
from mtplx_tui.terminal_chat.lines import Lines, PipedLines
from mtplx_tui.terminal_chat.page import Page, PlainPage, TerminalPage
from mtplx_tui.terminal_chat.slash import COMMANDS, Leave, Slash, model_words
from mtplx_tui.terminal_chat.talk import Talk

__all__ = ["converse", "main", "open_lines"]

_EXAMPLES = """\
examples:
  mtplx-tui chat                                  the last model, or the demo
  mtplx-tui chat --model demo --depth 3
  printf 'Name a fruit.\\nAnother.\\n' | mtplx-tui chat --model demo

Ctrl+c stops an answer, ctrl+d leaves, /help lists the commands. Over a pipe each line is a question
or a command, and standard output has the answers alone. Chats are kept where the app keeps them.
"""
TICK_S = 0.5


@dataclass(frozen=True, slots=True)
class _Job:
    location: Location
    options: Options
    places: Places
    is_typed: bool
    """A person types and looks."""


def main(words: list[str]) -> int:
    """Run the command and return its exit code."""
    places = config.find_places()
    settings, _ = config.load_settings(places)
    chosen = _parsed(words, settings)
    options = _options(chosen)
    try:
        location = resolve(chosen.model or settings.last_model or DEMO)
    except ModelNotFound as error:
        tell(one_line(error))
        return 1
    is_typed = sys.stdin.isatty() and sys.stdout.isatty()
    with given_back(0, LINES) if is_typed else nullcontext():
        return asyncio.run(_Session(_Job(location, options, places, is_typed)).run())


def _parsed(words: list[str], settings: Settings) -> argparse.Namespace:
    chosen = parser("mtplx-tui chat", "Talk with a model in the terminal.", _EXAMPLES)
    chosen.add_argument("--model", help="a folder, owner/name in the hub cache, or demo")
    answer_options.add_options(chosen, settings)
    return chosen.parse_args(words)


def _options(chosen: argparse.Namespace) -> Options:
    """Return what is wanted. Raises UsageError naming what can't be."""
    try:
        options = answer_options.read(chosen)
        requests.check(options, messages=(ChatMessage(Role.USER, "a question"),))
    except ValueError as error:
        raise UsageError(str(error)) from error
    return options


class _Session:
    """One run of the command, from its first line to whatever ends it."""

    def __init__(self, job: _Job) -> None:
        self._job = job
        self._code = 0
        self._main: asyncio.Task[object] | None = None
        self._lines: Lines | None = None
        """Once they are taken."""

    async def run(self) -> int:
        """Talk until the lines end, the person leaves or a signal ends it."""
        terminal = config.read_terminal()
        page = _page(terminal, is_typed=self._job.is_typed)
        desk = Desk(Store(self._job.places.chats), options=self._job.options)
        self._main = asyncio.current_task()
        ticking = asyncio.create_task(_tick(desk))
        try:
            async with Engine() as engine:
                talk = Talk(engine, desk, page, self._job.location)
                self._take_signals(talk)
                await self._talk(talk, terminal)
        except asyncio.CancelledError:
            return self._code
        finally:
            ticking.cancel()
            desk.close()
        return 1 if talk.has_failed and not self._job.is_typed else 0

    async def _talk(self, talk: Talk, terminal: Terminal) -> None:
        if await talk.load(talk.location) and self._job.is_typed:
            talk.page.tell(f"{model_words(talk)}\n/help lists the commands; ctrl+d leaves\n")
        elif talk.model is None and not self._job.is_typed:
            return
        is_typed = self._job.is_typed
        self._lines = open_lines(self._job.places, talk.page, terminal, is_typed=is_typed)
        await converse(talk, self._lines)

    def _take_signals(self, talk: Talk) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._leave, 128 + number)
        loop.add_signal_handler(signal.SIGINT, self._interrupt, talk)

    def _interrupt(self, talk: Talk) -> None:
        if self._job.is_typed and talk.interrupt():
            return
        if self._lines is not None and not talk.is_busy and self._lines.interrupt():
            return
        self._leave(128 + signal.SIGINT)

    def _leave(self, code: int) -> None:
        self._code = code
        if self._main is not None:
            self._main.cancel()


def open_lines(places: Places, page: Page, terminal: Terminal, *, is_typed: bool) -> Lines:
    """Return where a conversation's questions come from: a person's hands, or standard input."""
    if not is_typed:
        return PipedLines(sys.stdin.fileno())
    from mtplx_tui.terminal_chat.typed import TypedLines, open_history

    history = open_history(places.state / "chat-history", page.warn)
    words = {name: command.words for name, command in COMMANDS.items()}
    return TypedLines(history, words, page.tell, is_utf8=terminal.is_utf8)


async def converse(talk: Talk, lines: Lines) -> None:
    """Take questions and commands until they end, or the person leaves."""
    slash = Slash(talk)
    try:
        while (line := await lines.next_line()) is not None:
            await _take(line, talk, slash)
    except Leave:
        return


def _page(terminal: Terminal, *, is_typed: bool) -> Page:
    return TerminalPage(has_color=terminal.has_color) if is_typed else PlainPage()


async def _take(line: str, talk: Talk, slash: Slash) -> None:
    """Ask a question or carry out a command; an empty line is neither."""
    if line.startswith("/") and not line.startswith("//"):
        await slash.run(line)
    elif line.strip():
        await talk.ask(line.removeprefix("/"))


async def _tick(desk: Desk) -> None:
    while True:
        await asyncio.sleep(TICK_S)
        desk.tick()
