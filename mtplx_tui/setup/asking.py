"""Where the answers of the set-up come from: a person's hands, standard input, or the defaults."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from mtplx_tui.terminal_chat.lines import PipedLines

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession

__all__ = ["Asker", "Defaults", "Left", "PipedAsker", "TypedAsker", "pick"]


class Left(Exception):
    """The person left, or the answers ended."""


class Asker(Protocol):
    """Answers, line by line."""

    async def line(self, prompt: str) -> str:
        """Return an answer without blanks around it; empty for the default. Raises Left."""
        ...


class Defaults:
    """Asks nobody."""

    async def line(self, prompt: str) -> str:
        """Return the default."""
        return ""


class PipedAsker:
    """Reads standard input; what is asked is not shown."""

    def __init__(self, descriptor: int) -> None:
        self._lines = PipedLines(descriptor)

    async def line(self, prompt: str) -> str:
        """Return the next line."""
        line = await self._lines.next_line()
        if line is None:
            raise Left
        return line.strip()


class TypedAsker:
    """Lets a person type; ctrl+c and ctrl+d leave."""

    def __init__(self) -> None:
        self._session: PromptSession[str] | None = None

    async def line(self, prompt: str) -> str:
        """Ask, and return what was typed."""
        if self._session is None:
            from prompt_toolkit import PromptSession

            self._session = PromptSession(reserve_space_for_menu=0)
        try:
            return (await self._session.prompt_async(prompt, handle_sigint=False)).strip()
        except (EOFError, KeyboardInterrupt) as error:
            raise Left from error


async def pick(
    asker: Asker, tell: Callable[[str], None], question: str, choices: Sequence[str]
) -> int:
    """Return the number of the choice that was picked, from 0; the first is the default.

    Raises:
        Left: nobody answered.
    """
    rows = [f"  {number}  {choice}" for number, choice in enumerate(choices, 1)]
    tell("\n".join(["", question, *rows]))
    while True:
        answer = await asker.line("enter takes 1, or type a number: ")
        if not answer:
            return 0
        if answer.isascii() and answer.isdigit() and 1 <= int(answer[:4]) <= len(choices):
            return int(answer) - 1
        tell(f"a number from 1 to {len(choices)} is wanted, not {answer[:40]!r}")
