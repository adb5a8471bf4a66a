"""What the chat screen does with whole chats and with a turn's text.

Rename, delete, export, copy, save; each asks first where something could be lost.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engine.protocol import Cancel, Role
from mtplx_tui.chats import export
from mtplx_tui.chats.model import Turn
from mtplx_tui.files import trouble
from mtplx_tui.screens.app_screen import AppScreen
from mtplx_tui.screens.dialogs import AskText, Choose, Confirm
from mtplx_tui.widgets.markdown_sections import code_blocks

CLIPBOARD_CHARACTERS = 50_000
"""More than this (about 74 kB on the wire) terminals drop without a word."""


class ChatKeeping(AppScreen):
    """Base of the chat screen."""

    def refresh_chats(self) -> None:
        """Show that a chat changed; the chat screen knows how."""

    def copy_turn(self, turn: Turn) -> None:
        """Send a turn's text to the terminal's clipboard."""
        self._copy(turn.text, "the answer" if turn.role is Role.ASSISTANT else "the question")

    def copy_code(self, turn: Turn) -> None:
        """Send a code block to the clipboard, asking which where there are several."""
        blocks = code_blocks(turn.text)
        if not blocks:
            self.notify("there is no code block in this turn", severity="warning")
        elif len(blocks) == 1:
            self._copy(blocks[0][1], "the code block")
        else:
            self._choose_block(blocks, lambda code: self._copy(code, "the code block"))

    def _choose_block(
        self, blocks: tuple[tuple[str, str], ...], use: Callable[[str], None]
    ) -> None:
        def chosen(answer: str | None) -> None:
            if answer is not None:
                use(blocks[int(answer)][1])

        lines = [_block_line(*block) for block in blocks]
        self.app.push_screen(Choose("Which code block?", lines, len(lines) - 1), chosen)

    def _copy(self, text: str, what: str) -> None:
        if not text.strip():
            self.notify(f"{what} is empty", severity="warning")
            return
        if len(text) > CLIPBOARD_CHARACTERS:
            self.notify(
                f"{what} is too long for most terminals' clipboards; s saves it to a file",
                severity="warning",
            )
        self.app.copy_to_clipboard(text)
        self.notify(f"{what}: sent to the terminal's clipboard")

    def save_turn(self, turn: Turn) -> None:
        """Write a turn's text to a file that is asked for."""
        name = export.file_name(self.mtplx.desk.chat)
        self._write_as(
            "Save this turn to a file", name, lambda path: export.write_free(path, turn.text)
        )

    def _write_as(self, title: str, name: str, write: Callable[[Path], Path]) -> None:
        """Ask for a path and write there; an error is shown where it was asked."""
        written: list[Path] = []

        def check(answer: str) -> None:
            written.append(write(Path(answer).expanduser()))

        def tell(answer: str | None) -> None:
            if answer is not None:
                self.notify(f"written to {written[-1]}", markup=False)

        self.app.push_screen(AskText(title, str(Path.cwd() / name), check), tell)

    def rename_chat(self, chat_id: str, title: str) -> None:
        """Ask for a chat's new title."""

        def rename(answer: str | None) -> None:
            if answer is not None:
                self.mtplx.desk.rename(chat_id, answer)
                self.refresh_chats()

        self.app.push_screen(AskText("Rename the chat", title), rename)

    def delete_chat(self, chat_id: str, title: str) -> None:
        """Delete a chat after asking."""

        def delete(answer: str | None) -> None:
            desk = self.mtplx.desk
            if answer is not None:
                if chat_id == desk.chat.id and desk.running is not None:
                    self.mtplx.send(Cancel(desk.running))
                desk.delete(chat_id)
                self.refresh_chats()

        self.app.push_screen(
            Confirm("Delete this chat?", f"“{title}” with all its branches. It can't be undone."),
            delete,
        )

    def export_chat(self, chat_id: str) -> None:
        """Write a chat to a file: Markdown, or JSON where the name ends so."""
        try:
            chat = self.mtplx.desk.read(chat_id)
        except (OSError, ValueError) as error:
            self.notify(f"the chat can't be read: {trouble(error)}", severity="error", markup=False)
            return
        self._write_as(
            "Export as .md or .json",
            export.file_name(chat),
            lambda path: export.export(chat, path),
        )


def _block_line(language: str, code: str) -> str:
    lines = code.rstrip("\n").split("\n")
    first = next((line.strip() for line in lines if line.strip()), "")
    return f"{language or 'text'}, {len(lines)} line{'' if len(lines) == 1 else 's'}: {first[:48]}"
