"""What stands in a chat's file: one record a line, only ever appended. And back again.

The first line names the format. A line that can't be read is passed over: it is what a kill
left of the last write, and costs no more than that write. Knows no file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from engine import wire
from mtplx_tui.chats.fields import number_of, options_of, text_of
from mtplx_tui.chats.model import Chat, Summary, Turn
from mtplx_tui.chats.reading import Reading
from mtplx_tui.requests import Options

__all__ = [
    "BrokenChat",
    "delta",
    "ended",
    "glance",
    "options_chosen",
    "renamed",
    "replay",
    "selected",
    "texts",
    "turn_added",
    "whole",
]

FORMAT = 1


class BrokenChat(ValueError):
    """A file that is no chat, or one of a newer format; the message is one line."""


def whole(chat: Chat) -> list[bytes]:
    """Return the lines that make this chat from nothing."""
    header: dict[str, object] = {
        "is": "created",
        "format": FORMAT,
        "id": chat.id,
        "at": chat.created,
        "title": chat.title,
        "options": wire.plain_fields(chat.options),
    }
    lines = [_line(header)]
    lines += [turn_added(turn, chat.changed) for turn in chat.turns.values()]
    lines += [selected(turn_id, chat.changed) for turn_id in chat.chosen.values()]
    if chat.leaf is not None:
        lines.append(selected(chat.leaf, chat.changed))
    return lines


def turn_added(turn: Turn, at: float) -> bytes:
    """Return the line of a turn as it stands."""
    return _line({"is": "turn", "at": at, **wire.plain_fields(turn)})


def delta(turn_id: str, text: str, reasoning: str, at: float) -> bytes:
    """Return the line of what came to a streaming answer."""
    record: dict[str, object] = {"is": "delta", "at": at, "turn": turn_id, "text": text}
    if reasoning:
        record["reasoning"] = reasoning
    return _line(record)


def ended(turn: Turn, at: float) -> bytes:
    """Return the line of an answer's end; its text is in the lines before."""
    facts = None if turn.facts is None else wire.plain_fields(turn.facts)
    return _line(
        {
            "is": "ended",
            "at": at,
            "turn": turn.id,
            "status": turn.status.value,
            "note": turn.note,
            "facts": facts,
        }
    )


def renamed(title: str, at: float) -> bytes:
    """Return the line of a new title."""
    return _line({"is": "renamed", "at": at, "title": title})


def selected(turn_id: str, at: float) -> bytes:
    """Return the line of a branch being shown."""
    return _line({"is": "selected", "at": at, "turn": turn_id})


def options_chosen(options: Options, at: float) -> bytes:
    """Return the line of new options."""
    return _line({"is": "options", "at": at, "options": wire.plain_fields(options)})


def _line(record: dict[str, object]) -> bytes:
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass") + b"\n"


def glance(chat_id: str, content: bytes) -> Summary:
    """Return a chat's summary without reading its turns.

    Raises:
        BrokenChat: it is no chat.
    """
    header = _header(content)
    title, created = text_of(header, "title"), number_of(header, "at")
    at = content.rfind(b'\n{"is":"renamed"')
    while at >= 0:
        record = _parsed(content[at + 1 : _line_end(content, at + 1)])
        if record is not None and isinstance(record.get("title"), str):
            title = str(record["title"])
            break
        at = content.rfind(b'\n{"is":"renamed"', 0, at)
    if not title:
        title = replay(chat_id, content).title
    return Summary(chat_id, title, created, _last_at(content, created))


def _line_end(content: bytes, start: int) -> int:
    end = content.find(b"\n", start)
    return len(content) if end < 0 else end


def _last_at(content: bytes, otherwise: float) -> float:
    """Return when the last line that can be read was written."""
    end = len(content)
    while end > 0:
        start = content.rfind(b"\n", 0, end) + 1
        record = _parsed(content[start:end])
        at = None if record is None else record.get("at")
        if isinstance(at, (int, float)) and not isinstance(at, bool):
            return float(at)
        end = start - 1
    return otherwise


def replay(chat_id: str, content: bytes) -> Chat:
    """Return the chat that a file holds.

    Raises:
        BrokenChat: it is no chat.
    """
    header = _header(content)
    created = number_of(header, "at")
    chat = Chat(chat_id, text_of(header, "title"), created, created, options=options_of(header))
    reading = Reading(chat)
    for record in _records(content):
        reading.take(record)
    return reading.chat()


def texts(content: bytes) -> list[str]:
    """Return what was said in a chat, a text a turn; quicker than to replay it.

    Raises:
        BrokenChat: it is no chat.
    """
    _header(content)
    found: dict[object, list[str]] = {}
    for record in _records(content):
        text = record.get("text")
        if isinstance(text, str):
            name = record.get("id" if record.get("is") == "turn" else "turn")
            found.setdefault(str(name), []).append(text)
    return ["".join(parts) for parts in found.values()]


def _records(content: bytes) -> Iterator[dict[str, object]]:
    """Return the records behind the header that can be read."""
    lines = content.split(b"\n")[1:]
    try:
        # All at once is three times as fast, and a torn line is rare.
        whole = b"[%s]" % b",".join(line for line in lines if line)
        records = json.loads(whole.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        records = [_parsed(line) for line in lines]
    return (dict[str, object](record) for record in records if isinstance(record, dict))


def _header(content: bytes) -> dict[str, object]:
    header = _parsed(content[: _line_end(content, 0)])
    if header is None or header.get("is") != "created":
        raise BrokenChat("its first line is not that of a chat")
    number = header.get("format")
    if not isinstance(number, int) or number > FORMAT:
        raise BrokenChat("it is of a newer format than this version reads")
    try:
        text_of(header, "title"), number_of(header, "at"), options_of(header)
    except ValueError as error:
        raise BrokenChat(f"its first line is damaged: {error}") from error
    return header


def _parsed(line: bytes) -> dict[str, object] | None:
    try:
        record = json.loads(line.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        return None
    return dict[str, object](record) if isinstance(record, dict) else None
