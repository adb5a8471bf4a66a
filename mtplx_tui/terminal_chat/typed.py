"""Lines typed by a person: edited, kept in a history, commands completed. Uses prompt_toolkit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.shortcuts import CompleteStyle

__all__ = ["TypedLines", "open_history"]

PROMPT, PLAIN_PROMPT = "› ", "> "
CONTINUED, PLAIN_CONTINUED = "… ", ". "
LEAVE = "ctrl+d or /exit leaves"


class TypedLines:
    """See the module. Alt+enter, or a pasted line end, goes on with the same question.

    Args:
        history: of what was typed, earlier runs counted in.
        commands: the slash commands, each with the words that may follow it.
        tell: shows a line.
        is_utf8: whether the terminal takes more than ASCII.
    """

    def __init__(
        self,
        history: History,
        commands: Mapping[str, tuple[str, ...]],
        tell: Callable[[str], None],
        *,
        is_utf8: bool,
    ) -> None:
        self._tell = tell
        self._prompt = PROMPT if is_utf8 else PLAIN_PROMPT
        continued = CONTINUED if is_utf8 else PLAIN_CONTINUED
        self._session: PromptSession[str] = PromptSession(
            history=history,
            completer=_Commands(commands),
            complete_style=CompleteStyle.READLINE_LIKE,
            complete_while_typing=False,
            multiline=True,
            prompt_continuation=continued,
            key_bindings=_keys(),
            enable_suspend=True,
            reserve_space_for_menu=0,
        )

    async def next_line(self) -> str | None:
        """Let a person type; ctrl+c empties the line, ctrl+d in an empty one ends the chat."""
        prompt = FormattedText([("bold", self._prompt)])
        while True:
            try:
                return await self._session.prompt_async(prompt, handle_sigint=False)
            except KeyboardInterrupt:
                self._tell(LEAVE)
            except EOFError:
                return None

    def interrupt(self) -> bool:
        """Take a ctrl+c that came as a signal: just before a line is asked for the terminal still makes one of it."""
        asking = self._session.app.future
        if asking is not None and not asking.done():
            self._session.app.exit(exception=KeyboardInterrupt())
        else:
            self._tell(LEAVE)
        return True


def open_history(path: Path, warn: Callable[[str], None]) -> History:
    """Return the history in a file that others can't read; in memory where there can be none."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))
    except OSError as error:
        warn(f"what is typed is not kept: {path}: {error.strerror}")
        return InMemoryHistory()
    return _KeptHistory(path, warn)


class _KeptHistory(FileHistory):
    """A history whose file may become unwritable; told once."""

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        super().__init__(path)
        self._warn: Callable[[str], None] | None = warn

    def store_string(self, string: str) -> None:
        """Write an entry."""
        try:
            super().store_string(string)
        except OSError as error:
            if self._warn is not None:
                self._warn(f"what is typed is not kept: {error.strerror}")
            self._warn = None


class _Commands(Completer):
    """Completes slash commands and the words that follow them."""

    def __init__(self, commands: Mapping[str, tuple[str, ...]]) -> None:
        self._commands = commands

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """Yield what the text before the cursor may become."""
        typed = document.text_before_cursor
        if not typed.startswith("/"):
            return
        command, gap, begun = typed.partition(" ")
        words = self._commands.get(command, ()) if gap else tuple(self._commands)
        start = begun if gap else command
        for word in words:
            if word.startswith(start):
                yield Completion(word, start_position=-len(start))


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def go_on(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys
