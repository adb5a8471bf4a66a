"""What stands in a chat's file: one record a line, only ever appended. And back again.

The first line names the format. A line that can't be read is passed over: it is what a kill
left of the last write, and costs no more than that write. Knows no file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from types import MappingProxyType

from engine import wire
from engine.protocol import Mode, Role
from mtplx_tui.chats.model import AnswerFacts, Chat, Summary, Turn, TurnStatus
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
CUT_NOTE = "the app ended"
"""Of an answer without an end in the file."""


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
    title, created = _text(header, "title"), _number(header, "at")
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
    created = _number(header, "at")
    chat = Chat(chat_id, _text(header, "title"), created, created, options=_options(header))
    reading = _Reading(chat)
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


class _Reading:
    """A chat being read; texts are put together at the end, not line by line."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._changed = chat.changed
        self._texts: dict[str, list[str]] = {}
        self._reasonings: dict[str, list[str]] = {}
        self._ends: dict[str, dict[str, object]] = {}
        self._readers = {
            "turn": self._turn,
            "delta": self._delta,
            "ended": self._ended,
            "renamed": self._renamed,
            "selected": self._selected,
            "options": self._options_chosen,
        }

    def take(self, record: dict[str, object]) -> None:
        """Apply a record; one of an unknown kind or with odd fields changes nothing."""
        read = self._readers.get(str(record.get("is")))
        if read is None:
            return
        try:
            at = _number(record, "at")
            read(record, at)
        except (ValueError, KeyError):
            return
        self._changed = at

    def chat(self) -> Chat:
        """Return the chat read so far."""
        turns = {turn_id: self._whole(turn) for turn_id, turn in self._chat.turns.items()}
        return replace(self._chat, changed=self._changed, turns=MappingProxyType(turns))

    def _whole(self, turn: Turn) -> Turn:
        turn = replace(
            turn,
            text="".join([turn.text, *self._texts.get(turn.id, ())]),
            reasoning="".join([turn.reasoning, *self._reasonings.get(turn.id, ())]),
        )
        end = self._ends.get(turn.id)
        if end is not None:
            status = TurnStatus(_text(end, "status"))
            return replace(turn, status=status, note=_text(end, "note"), facts=_facts(end))
        if turn.status is TurnStatus.STREAMING:
            return replace(turn, status=TurnStatus.CUT, note=CUT_NOTE)
        return turn

    def _turn(self, record: dict[str, object], at: float) -> None:
        parent = None if record.get("parent") is None else _text(record, "parent")
        turn = Turn(
            id=_text(record, "id"),
            # Nothing that can be read is hidden because something before it can't.
            parent=parent if parent is None or parent in self._chat.turns else self._chat.leaf,
            role=Role(_text(record, "role")),
            text=_text(record, "text"),
            reasoning=_text(record, "reasoning"),
            status=TurnStatus(_text(record, "status")),
            note=_text(record, "note"),
            facts=_facts(record),
            options=None if record.get("options") is None else _options(record),
        )
        self._chat = self._chat.with_turn(turn, at)

    def _delta(self, record: dict[str, object], _: float) -> None:
        turn_id, text = _text(record, "turn"), _text(record, "text")
        self._texts.setdefault(turn_id, []).append(text)
        self._reasonings.setdefault(turn_id, []).append(_text(record, "reasoning", ""))

    def _ended(self, record: dict[str, object], _: float) -> None:
        TurnStatus(_text(record, "status"))
        _text(record, "note")
        _facts(record)
        self._ends[_text(record, "turn")] = record

    def _renamed(self, record: dict[str, object], _: float) -> None:
        self._chat = replace(self._chat, title=_text(record, "title"))

    def _selected(self, record: dict[str, object], at: float) -> None:
        self._chat = self._chat.showing(_text(record, "turn"), at)

    def _options_chosen(self, record: dict[str, object], _: float) -> None:
        self._chat = replace(self._chat, options=_options(record))


def _header(content: bytes) -> dict[str, object]:
    header = _parsed(content[: _line_end(content, 0)])
    if header is None or header.get("is") != "created":
        raise BrokenChat("its first line is not that of a chat")
    number = header.get("format")
    if not isinstance(number, int) or number > FORMAT:
        raise BrokenChat("it is of a newer format than this version reads")
    try:
        _text(header, "title"), _number(header, "at"), _options(header)
    except ValueError as error:
        raise BrokenChat(f"its first line is damaged: {error}") from error
    return header


def _parsed(line: bytes) -> dict[str, object] | None:
    try:
        record = json.loads(line.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        return None
    return dict[str, object](record) if isinstance(record, dict) else None


def _text(record: dict[str, object], name: str, otherwise: str | None = None) -> str:
    value = record.get(name, otherwise)
    if not isinstance(value, str):
        raise ValueError(f"{name} is missing or no text")
    return value


def _number(record: dict[str, object], name: str) -> float:
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name} is missing or no number")
    return value


def _optional_number(record: dict[str, object], name: str) -> float | None:
    return None if record.get(name) is None else _number(record, name)


def _whole_number(record: dict[str, object], name: str) -> int:
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name} is missing or no whole number")
    return value


def _optional_whole_number(record: dict[str, object], name: str) -> int | None:
    return None if record.get(name) is None else _whole_number(record, name)


def _table(record: dict[str, object], name: str) -> dict[str, object]:
    value = record.get(name)
    if not isinstance(value, dict):
        raise ValueError(f"{name} is missing or no table")
    return dict[str, object](value)


def _options(record: dict[str, object]) -> Options:
    fields = _table(record, "options")
    stop = fields.get("stop", [])
    if not isinstance(stop, list) or not all(isinstance(text, str) for text in stop):
        raise ValueError("stop is no list of texts")
    return Options(
        system=None if fields.get("system") is None else _text(fields, "system"),
        temperature=_optional_number(fields, "temperature"),
        top_p=_optional_number(fields, "top_p"),
        top_k=_optional_whole_number(fields, "top_k"),
        min_p=_optional_number(fields, "min_p"),
        seed=_optional_whole_number(fields, "seed"),
        depth=_optional_whole_number(fields, "depth"),
        mode=Mode(_text(fields, "mode")),
        max_tokens=_optional_whole_number(fields, "max_tokens"),
        stop=tuple(str(text) for text in stop),
    )


def _facts(record: dict[str, object]) -> AnswerFacts | None:
    if record.get("facts") is None:
        return None
    fields = _table(record, "facts")
    return AnswerFacts(
        model=_text(fields, "model"),
        tokens=_whole_number(fields, "tokens"),
        cycles=_whole_number(fields, "cycles"),
        depth=_optional_whole_number(fields, "depth"),
        tokens_per_s=_optional_number(fields, "tokens_per_s"),
        tokens_per_cycle=_optional_number(fields, "tokens_per_cycle"),
        prompt_tokens=_whole_number(fields, "prompt_tokens"),
        first_token_s=_number(fields, "first_token_s"),
        saved_s=_optional_number(fields, "saved_s"),
        saved_doubt_s=_optional_number(fields, "saved_doubt_s"),
    )
