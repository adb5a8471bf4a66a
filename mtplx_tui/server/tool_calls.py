"""Finds calls of tools in a growing answer: each is given whole, and none is left in the text.

What may turn out to be a call is held back until it is one; what turns out to be none comes back
as text. An answer cut within a call leaves nothing of it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence

from engine.protocol import Channel, TextRun
from mtplx_tui.server.ask import Call, Tool
from mtplx_tui.server.call_syntax import Found, is_within_text, json_calls, properties, read
from mtplx_tui.server.steps import Part, Said
from mtplx_tui.server.tool_formats import ToolFormat

__all__ = ["CallFinder", "ForcedCall", "new_call_id"]


def new_call_id() -> str:
    """Return an id for a call, as clients expect it to look."""
    return f"call_{secrets.token_hex(12)}"


class CallFinder:
    """Turns runs of text into parts.

    Args:
        form: how the model writes calls.
        tools: those it was told of; their schemas give values their types.
    """

    def __init__(self, form: ToolFormat, tools: Sequence[Tool]) -> None:
        self._scanners = {Channel.ANSWER: _Scanner(form, tools, Channel.ANSWER)}
        if form.is_in_reasoning:
            self._scanners[Channel.REASONING] = _Scanner(form, tools, Channel.REASONING)

    def feed(self, runs: Sequence[TextRun]) -> list[Part]:
        """Return what became certain with these runs."""
        parts: list[Part] = []
        for run in runs:
            scanner = self._scanners.get(run.channel)
            parts += scanner.feed(run.text) if scanner else [Said(run.channel, run.text)]
        return parts

    def finish(self, *, is_whole: bool) -> list[Part]:
        """Return what was held back.

        Args:
            is_whole: whether the model itself ended the answer; a call that was cut is dropped.
        """
        scanners = reversed(list(self._scanners.values()))
        return [part for each in scanners for part in each.finish(is_whole=is_whole)]


class ForcedCall:
    """Reads an answer that a grammar made a call: one JSON object with name and arguments."""

    def __init__(self) -> None:
        self._text = ""

    def feed(self, runs: Sequence[TextRun]) -> list[Part]:
        """Hold all back but reasoning."""
        self._text += "".join(run.text for run in runs if run.channel is Channel.ANSWER)
        return [Said(run.channel, run.text) for run in runs if run.channel is Channel.REASONING]

    def finish(self, *, is_whole: bool) -> list[Part]:
        """Return the call; nothing where the answer was cut before its end."""
        found = json_calls(self._text, {}) if is_whole else None
        return [] if found is None else _made(found)


class _Scanner:
    """One channel's text; see the module."""

    def __init__(self, form: ToolFormat, tools: Sequence[Tool], channel: Channel) -> None:
        self._form = form
        self._channel = channel
        self._types = {tool.name: properties(tool.parameters) for tool in tools}
        self._held = ""
        self._is_inside = False
        self._looked = 0
        """How far a call that is open was searched for its end."""
        self._is_after_call = False

    def feed(self, text: str) -> list[Part]:
        self._held += text
        parts: list[Part] = []
        while (found := self._inside() if self._is_inside else self._outside()) is not None:
            parts += found
        return _joined(parts)

    def finish(self, *, is_whole: bool) -> list[Part]:
        held, self._held = self._held, ""
        if self._is_inside:
            found = read(self._form, held[len(self._form.opens) :], self._types)
            if not is_whole:
                return []
            return self._said(held) if found is None else _made(found)
        if not is_whole:
            held = held[: self._doubtful(held)]
        is_lost = self._is_after_call and not held.strip()
        return [] if is_lost else self._said(held)

    def _doubtful(self, held: str) -> int:
        """Return where a text ends before what may be the beginning of a call, or of its tail."""
        keep = max(_overlap(held, mark) for mark in (*self._marks(), *self._form.tails))
        ends = [at for wrapper in self._form.wrappers if (at := held.find(wrapper)) >= 0]
        return min([len(held) - keep, *ends])

    def _outside(self) -> list[Part] | None:
        """Take one step outside of a call; None where more text is needed."""
        if self._is_after_call and self._drop_tail():
            return []
        at, size = self._opening()
        if at < 0:
            return self._safe_text()
        if size == 0:
            return self._text_until(len(self._held[:at].rstrip())) or None
        said = self._text_until(at)
        self._held = self._form.opens + self._held[size:]
        self._is_inside, self._looked = True, len(self._form.opens)
        return said

    def _opening(self) -> tuple[int, int]:
        """Return where a call begins, wrapper counted in, and the length up to after its mark.

        A length of 0 means that it may begin there; a place of -1, that none does.
        """
        opens, held = self._form.opens, self._held
        best = held.find(opens)
        size = len(opens)
        for wrapper in self._form.wrappers:
            start = 0
            while (at := held.find(wrapper, start)) >= 0 and (best < 0 or at < best):
                behind = held[at + len(wrapper) :]
                blank = len(behind) - len(behind.lstrip())
                rest = behind[blank:]
                if rest.startswith(opens):
                    return at, len(wrapper) + blank + len(opens)
                if opens.startswith(rest):
                    return at, 0
                start = at + len(wrapper)
        return (best, size) if best >= 0 else (-1, 0)

    def _safe_text(self) -> list[Part] | None:
        """Give out the text that can't be the beginning of a call."""
        marks = (self._form.opens, *self._form.wrappers)
        marks += self._form.tails if self._is_after_call else ()
        keep = max(_overlap(self._held, mark) for mark in marks)
        end = len(self._held) - keep
        end = len(self._held[:end].rstrip())
        return self._text_until(end) or None

    def _text_until(self, end: int) -> list[Part]:
        """Give out text up to a place; blanks before a call, or after one, are left out."""
        text, self._held = self._held[:end], self._held[end:]
        if not text.strip():
            is_lost = self._is_after_call or self._held.startswith(self._marks())
            return [] if is_lost else self._said(text)
        if self._is_after_call:
            text, self._is_after_call = text.lstrip(), False
        return self._said(text.rstrip() if self._held.startswith(self._marks()) else text)

    def _marks(self) -> tuple[str, ...]:
        return (self._form.opens, *self._form.wrappers)

    def _drop_tail(self) -> bool:
        stripped = self._held.lstrip()
        for tail in self._form.tails:
            if stripped.startswith(tail):
                self._held = stripped[len(tail) :]
                return True
        return False

    def _inside(self) -> list[Part] | None:
        """Take one step within a call; None where more text is needed."""
        form = self._form
        if not form.closes:
            return None
        at = self._held.find(form.closes, self._looked)
        if at < 0:
            self._looked = max(self._looked, len(self._held) - len(form.closes))
            return None
        body = self._held[len(form.opens) : at]
        end = at + len(form.closes)
        if form.syntax == "json" and is_within_text(body):
            self._looked = end
            return []
        found = read(form, body, self._types)
        block, self._held = self._held[:end], self._held[end:]
        self._is_inside = False
        if found is None:
            return self._said(block)
        self._is_after_call = True
        return _made(found)

    def _said(self, text: str) -> list[Part]:
        return [Said(self._channel, text)] if text else []


def _made(found: Found) -> list[Part]:
    return [
        Call(new_call_id(), name, json.dumps(arguments, ensure_ascii=False))
        for name, arguments in found
    ]


def _joined(parts: list[Part]) -> list[Part]:
    """Return the parts with neighbours of the same channel made one."""
    joined: list[Part] = []
    for part in parts:
        before = joined[-1] if joined else None
        if isinstance(part, Said) and isinstance(before, Said) and before.channel is part.channel:
            joined[-1] = Said(part.channel, before.text + part.text)
        else:
            joined.append(part)
    return joined


def _overlap(text: str, mark: str) -> int:
    """Return how many characters at the end of the text may begin a mark."""
    for size in range(min(len(mark) - 1, len(text)), 0, -1):
        if text.endswith(mark[:size]):
            return size
    return 0
