"""`mtplx-tui start` as it is started, interrupted, left, and followed by a chat."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Generator
from contextlib import AsyncExitStack, contextmanager, nullcontext
from dataclasses import asdict

from engine.protocol import TextRun
from mtplx_tui import config
from mtplx_tui.chats.model import Turn
from mtplx_tui.cli import UsageError, parser, tell
from mtplx_tui.config import Settings, Terminal
from mtplx_tui.driving import EngineTrouble
from mtplx_tui.files import Places
from mtplx_tui.giving_back import LINES, given_back
from mtplx_tui.library.speed import bytes_per_s
from mtplx_tui.setup.asking import Asker, Defaults, Left, PipedAsker, TypedAsker, pick
from mtplx_tui.setup.choosing import Manner, SetupFailed
from mtplx_tui.setup.flow import Place, Step
from mtplx_tui.setup.offers import Offer
from mtplx_tui.setup.steps import Steps
from mtplx_tui.term import TerminalRefused, check_terminal
from mtplx_tui.terminal_chat.command import converse, open_lines
from mtplx_tui.terminal_chat.page import Page, PlainPage, TerminalPage
from mtplx_tui.view import RequestView
from mtplx_tui.wording import showable

__all__ = ["main"]

_EXAMPLES = """\
examples:
  mtplx-tui start                                 step by step, by keyboard
  mtplx-tui start --yes                           the demo, asking nothing; later, straight to chat
  mtplx-tui start --yes --model owner/name        downloads it and goes on with it
  mtplx-tui start --json                          the defaults; one JSON document

Left or killed at any moment, the next one goes on where it was. What was chosen is last_model in
config.toml. Exit codes: 0 set up, 1 something failed (one line says what), 2 wrong usage, 130 left.
"""
AGAIN = "go on with the set-up: `mtplx-tui start`"


def main(words: list[str]) -> int:
    """Run the command and return its exit code."""
    chosen = parser("mtplx-tui start", "Set mtplx-tui up, step by step.", _EXAMPLES)
    chosen.add_argument("--yes", action="store_true", help="take the defaults, ask nothing")
    chosen.add_argument("--model", help="the model to choose: a folder, owner/name, or demo")
    chosen.add_argument("--json", action="store_true", help="print one JSON document; asks nothing")
    options = chosen.parse_args(words)
    if options.model is not None and not options.model.strip():
        raise UsageError("--model needs a name")
    places = config.find_places()
    settings, _ = config.load_settings(places)
    run = _Run(options, places, settings)
    with given_back(0, LINES) if run.is_typed else nullcontext():
        code = asyncio.run(run.run())
    if code == 0 and run.app_model is not None:
        from mtplx_tui.opening import open_app

        return open_app(run.app_model)
    return code


class _Silent(PlainPage):
    """Standard output is kept for one JSON document."""

    def tell(self, text: str) -> None:
        """Tell nobody."""

    def write(self, runs: tuple[TextRun, ...]) -> None:
        """Show no answer."""

    def end(self, turn: Turn) -> None:
        """Show no facts."""

    @contextmanager
    def answering(self) -> Generator[None]:
        """Surround an answer with nothing."""
        yield


class _Run:
    """One run of the command, to whatever ends it."""

    def __init__(self, options: argparse.Namespace, places: Places, settings: Settings) -> None:
        self._options, self._places, self._settings = options, places, settings
        self.app_model: str | None = None
        """What the app is to be opened on afterwards; None for no app."""
        self._terminal = config.read_terminal()
        self.is_typed = sys.stdin.isatty() and sys.stdout.isatty()
        """Whether a person types and looks."""
        self._is_asking = not (options.yes or options.json)
        self._code = 128 + signal.SIGINT
        self._main: asyncio.Task[object] | None = None
        self._steps: Steps | None = None
        self._is_talking = False

    async def run(self) -> int:
        """Set up, then talk; return the exit code."""
        self._main = asyncio.current_task()
        self._take_signals()
        try:
            async with AsyncExitStack() as stack:
                await self._go(stack)
        except SetupFailed as error:
            tell(str(error))
            return 1
        except EngineTrouble as error:
            tell(str(error))
            return error.exit_code
        except Left:
            return self._left()
        except asyncio.CancelledError:
            if not self._is_talking:
                tell(AGAIN)
            return self._code
        return 0

    async def _go(self, stack: AsyncExitStack) -> None:
        page, options = self._page(), self._options
        manner = Manner(
            is_asking=self._is_asking,
            has_terminal=self.is_typed and _can_show_app(self._terminal),
            wants_hub=self._is_asking or options.json,
            model=options.model,
            is_utf8=self._terminal.is_utf8,
        )
        asker = self._asker()
        steps = Steps(self._places, self._settings, manner, page, asker, stack)
        self._steps = steps
        is_again = steps.step is Step.DONE and options.model in (None, steps.progress.model)
        if is_again:
            is_again = await self._is_same(asker, page, steps)
        elif steps.progress.model and options.model in (None, steps.progress.model):
            page.tell(f"going on where it was: {showable(steps.progress.model)}, {steps.step}")
        if not is_again:
            if options.model not in (None, steps.progress.model):
                steps.choose_again()
            await steps.run()
        if options.json:
            document = _document(steps, self._settings_file, is_again=is_again)
            sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
            return
        await self._chat(steps, page)

    @property
    def _settings_file(self) -> str:
        return str(self._places.config_file)

    async def _is_same(self, asker: Asker, page: Page, steps: Steps) -> bool:
        """Whether all is to be as it was; forgets it where not."""
        where = "in the app" if steps.progress.place is Place.APP else "here in the terminal"
        same = f"same as last time: {showable(steps.progress.model)}, {where}"
        if not self._is_asking:
            page.tell(same)
            return True
        if await pick(asker, page.tell, "Welcome back", (same, "set up again")) == 0:
            return True
        steps.begin_anew()
        return False

    async def _chat(self, steps: Steps, page: Page) -> None:
        """Go where the person talks."""
        name = steps.model_to_talk_with
        is_app = steps.progress.place is Place.APP and not steps.is_for_later
        if is_app and self.is_typed and _can_show_app(self._terminal):
            self.app_model = name
            return
        if not self.is_typed and steps.talk is not None:
            return  # An answer was seen; whoever reads a pipe asked for no more.
        talk = await steps.converse_with(name)
        page.tell("\n/help lists the commands; ctrl+d leaves" if self.is_typed else "")
        self._is_talking = True
        lines = open_lines(self._places, page, self._terminal, is_typed=self.is_typed)
        await converse(talk, lines)

    def _page(self) -> Page:
        if self._options.json:
            return _Silent()
        return TerminalPage(has_color=self._terminal.has_color) if self.is_typed else PlainPage()

    def _asker(self) -> Asker:
        if not self._is_asking:
            return Defaults()
        return TypedAsker() if self.is_typed else PipedAsker(sys.stdin.fileno())

    def _left(self) -> int:
        """Tell how to go on, and return the exit code."""
        is_piped = not self.is_typed
        if is_piped and self._steps is not None and not self._steps.progress.model:
            tell("start asks which model to take; --yes takes the default without asking")
            return 2
        tell(AGAIN)
        return 128 + signal.SIGINT

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            loop.add_signal_handler(number, self._interrupt, number)

    def _interrupt(self, number: signal.Signals) -> None:
        """Stop an answer of the chat; anything else is left."""
        talk = None if self._steps is None else self._steps.talk
        is_answer = number is signal.SIGINT and self._is_talking and self.is_typed
        if is_answer and talk is not None and talk.interrupt():
            return
        self._code = 128 + number
        if self._main is not None:
            self._main.cancel()


def _can_show_app(terminal: Terminal) -> bool:
    try:
        check_terminal(terminal)
    except TerminalRefused:
        return False
    return True


def _document(steps: Steps, settings_file: str, *, is_again: bool) -> dict[str, object]:
    seen, progress = steps.seen, steps.progress
    speed = seen.speed
    return {
        "model": progress.model,
        "same_as_last_time": is_again,
        "step": str(steps.step),
        "settings": settings_file,
        "machine": None if seen.machine is None else asdict(seen.machine),
        "weights_bytes_per_s": None if speed is None else list(bytes_per_s(speed)),
        "has_gpu": None if speed is None else speed.device == "gpu",
        "models": [_offer(offer, steps) for offer in seen.offers],
        "hub_error": seen.hub_error or None,
        "answer": None if seen.answer is None else _answer(seen.answer),
    }


def _offer(offer: Offer, steps: Steps) -> dict[str, object]:
    speed = steps.speed_of(offer)
    return {
        "name": offer.name,
        "is_here": offer.is_here,
        "tier": offer.tier,
        "size_bytes": offer.size_bytes,
        "memory_bytes": offer.memory_bytes,
        "drafts": offer.drafts,
        "obstacle": offer.obstacle or None,
        "speed": None if speed is None else asdict(speed),
    }


def _answer(request: RequestView) -> dict[str, object]:
    return {
        "text": request.answer,
        "tokens": request.emitted,
        "cycles": len(request.cycles),
        "tokens_per_s": request.tokens_per_s,
        "tokens_per_cycle": request.tokens_per_cycle,
        "reached_at": list(request.reached_at),
        "accepted_at": list(request.accepted_at),
    }
