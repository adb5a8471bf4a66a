"""A chat as a file for other programs: the branch shown as Markdown, or the whole tree as JSON."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path

from engine import wire
from engine.protocol import Role
from mtplx_tui.chats.model import Chat, Turn, TurnStatus
from mtplx_tui.files import write_atomically
from mtplx_tui.view import depth_words

__all__ = ["as_json", "as_markdown", "export", "file_name", "write_free"]

FORMAT = 1


def export(chat: Chat, path: Path) -> Path:
    """Write a chat: as JSON where the path ends in .json, else as Markdown.

    Args:
        chat: what to write.
        path: a file, or a folder in which the file gets a name from the title.

    Returns:
        The file written; it has a number in its name if there was one of that name already.

    Raises:
        OSError: it can't be written.
    """
    path = path.expanduser()
    if path.is_dir():
        path /= file_name(chat)
    text = as_json(chat) if path.suffix.lower() == ".json" else as_markdown(chat)
    return write_free(path, text)


def write_free(path: Path, text: str) -> Path:
    """Write a text file under the first free name: name.md, name-2.md, name-3.md.

    Returns:
        The file written.

    Raises:
        OSError: it can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    free = _reserved(path)
    try:
        write_atomically(free, _encodable(text))
    except BaseException:
        free.unlink(missing_ok=True)
        raise
    return free


def _reserved(path: Path) -> Path:
    """Make an empty file that nobody else takes for theirs, and return it."""
    free, number = path, 1
    while True:
        try:
            os.close(os.open(free, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        except FileExistsError:
            number += 1
            free = path.with_name(f"{path.stem}-{number}{path.suffix}")
        else:
            return free


def file_name(chat: Chat) -> str:
    """Return the name of a Markdown file, made of the title."""
    words = re.sub(r"[^\w]+", "-", chat.title.casefold()).strip("-")
    return f"{words[:60].strip('-') or 'chat'}.md"


def as_markdown(chat: Chat) -> str:
    """Return the branch shown."""
    parts = [f"# {chat.title or 'Chat'}", f"*{_date(chat.created)}*"]
    if chat.options.system is not None:
        parts += ["## System", chat.options.system]
    for turn in chat.path():
        parts += _turn(turn)
    return "\n\n".join(parts) + "\n"


def as_json(chat: Chat) -> str:
    """Return the whole tree of turns."""
    content = {
        "format": FORMAT,
        "id": chat.id,
        "title": chat.title,
        "created": _date(chat.created),
        "changed": _date(chat.changed),
        "options": wire.plain_fields(chat.options),
        "leaf": chat.leaf,
        "turns": [wire.plain_fields(turn) for turn in chat.turns.values()],
    }
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def _turn(turn: Turn) -> list[str]:
    if turn.role is Role.USER:
        return ["## You", turn.text]
    parts = [f"## {turn.facts.model if turn.facts is not None else 'Model'}"]
    if turn.reasoning:
        summary = "<details><summary>Thought</summary>"
        parts += [summary, turn.reasoning.strip("\n"), "</details>"]
    if turn.text:
        parts.append(turn.text)
    if facts := _facts(turn):
        parts.append(f"*{facts}*")
    return parts


def _facts(turn: Turn) -> str:
    said = [] if turn.status is TurnStatus.DONE else [turn.status.value]
    if turn.note:
        said.append(turn.note)
    if turn.facts is not None:
        facts = turn.facts
        said.append(f"{facts.tokens} tokens")
        if facts.tokens_per_s is not None and facts.tokens_per_cycle is not None:
            said += [f"{facts.tokens_per_s:.1f}/s", f"{facts.tokens_per_cycle:.2f} a cycle"]
        said.append(f"depth {depth_words(facts.depth)}")
    if turn.options is not None:
        said.append(f"seed {turn.options.seed}")
    return " · ".join(said)


def _date(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _encodable(text: str) -> str:
    """Return the text with broken characters, which no file can hold, replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
