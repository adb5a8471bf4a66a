"""Cuts a growing Markdown text into sections that no longer change, and a live tail.

A section is a finished top-level block, an item of a top-level list, or a part of a long code
block; once cut off it is never looked at again, so an answer's cost does not grow with its
length. Knows markdown-it and nothing of how a section is shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

LONG_FENCE = 48
"""Lines of an open code block from which on its first lines are cut off."""
FENCE_PART = 32
"""Lines in a part of an open code block."""
MERGED_FENCE = 400
"""A closed code block of at most so many lines becomes one section again."""
LONG_PARAGRAPH = 4_000
"""Characters of a paragraph from which on its first part is cut off."""
LONG_BLOCK = 20_000
"""The same for any other block."""
COSTLY_TAIL = 3_000
"""Characters of a live block from which on it is shown as plain text until it is finished."""

_LISTS = ("bullet_list_open", "ordered_list_open")


@dataclass(frozen=True, slots=True)
class Section:
    """A piece of Markdown that can be shown on its own."""

    source: str
    is_joined: bool = False
    """No blank row between it and the section before."""
    is_plain: bool = False
    """Shown as it stands, not as Markdown."""
    number: int | None = None
    """What a list item counts as, where it is one of an ordered list."""


@dataclass(frozen=True, slots=True)
class Change:
    """What became of the finished sections: drop the last `dropped`, then append `added`."""

    dropped: int
    added: tuple[Section, ...]


@dataclass(slots=True)
class _OpenFence:
    """A code block of which some lines were cut off already."""

    opening: str
    lines: list[str] = field(default_factory=list)
    parts: int = 0


@dataclass(frozen=True, slots=True)
class _Unit:
    """A top-level block, or an item of a top-level list; lines as markdown-it counts them."""

    kind: str
    start: int
    end: int
    is_joined: bool = False
    number: int | None = None


@cache
def markdown_parser() -> MarkdownIt:
    """Return the parser that cutting and painting share; raw HTML is text to it."""
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])


class SectionSplitter:
    """Takes a text in pieces; gives finished sections and the tail that is still live."""

    def __init__(self) -> None:
        self.sections: list[Section] = []
        self._tail: str = ""
        self._fence: _OpenFence | None = None
        self._number: int | None = None
        self._is_joined = False

    @property
    def tail(self) -> Section | None:
        """The live rest, None where it holds nothing to show."""
        if not self._tail.strip():
            return None
        is_plain = self._fence is None and len(self._tail) > COSTLY_TAIL
        return Section(self._source(), self._is_joined, is_plain, self._number)

    def feed(self, text: str) -> None:
        """Append text."""
        self._tail += text

    def settle(self) -> Change:
        """Cut off whatever can no longer change; a line still being written decides nothing."""
        whole_lines, newline, _ = self._source().rpartition("\n")
        return self._settle(whole_lines + newline or self._source())

    def _settle(self, known: str) -> Change:
        units = _units(markdown_parser().parse(known), self._number)
        if not units:
            return Change(0, ())
        dropped, added = self._cut_finished(units)
        while more := self._cut_long(units[-1]):
            added += more
        return self._record(dropped, added)

    def finish(self) -> Change:
        """Cut off everything: no more text will come."""
        first = self._settle(self._source())
        last = self.tail
        self._tail = ""
        self._is_joined, self._number = False, None
        fence, self._fence = self._fence, None
        if last is None:
            return first
        dropped, added = (0, [last]) if fence is None else self._merged(fence, last)
        return _together(first, self._record(dropped, added))

    def _record(self, dropped: int, added: list[Section]) -> Change:
        if dropped:
            del self.sections[-dropped:]
        self.sections += added
        return Change(dropped, tuple(added))

    def _source(self) -> str:
        if self._fence is None:
            return self._tail
        return f"{self._fence.opening}\n{self._tail}"

    def _cut_finished(self, units: list[_Unit]) -> tuple[int, list[Section]]:
        """Cut off all units but the last; the caller finds the last one in the tail."""
        if len(units) == 1:
            return 0, []
        lines = self._source().split("\n")
        starts = [0, *(unit.start for unit in units[1:])]
        added = []
        for index, unit in enumerate(units[:-1]):
            source = "\n".join(lines[starts[index] : starts[index + 1]])
            is_joined = unit.is_joined if index else self._is_joined
            added.append(Section(source, is_joined, number=unit.number))
        dropped = 0
        if self._fence is not None:
            dropped, added[:1] = self._merged(self._fence, added[0])
            self._fence = None
        self._tail = "\n".join(lines[starts[-1] :])
        self._is_joined, self._number = units[-1].is_joined, units[-1].number
        return dropped, added

    def _merged(self, fence: _OpenFence, last: Section) -> tuple[int, list[Section]]:
        """Join the parts of a code block, now that its end is known, unless it is very long."""
        body = last.source.split("\n")[1:]
        if len(fence.lines) + len(body) > MERGED_FENCE:
            return 0, [last]
        whole = "\n".join([fence.opening, *fence.lines, *body])
        return fence.parts, [Section(whole, self.sections[-fence.parts].is_joined)]

    def _cut_long(self, unit: _Unit) -> list[Section]:
        """Cut off the first part of a last unit that has grown too long."""
        if unit.kind == "fence":
            return self._cut_fence()
        limit = LONG_PARAGRAPH if unit.kind == "paragraph_open" else LONG_BLOCK
        if len(self._tail) <= limit:
            return []
        at = max(self._tail.rfind("\n", 0, limit), self._tail.rfind(" ", 0, limit)) + 1 or limit
        section = Section(
            self._tail[:at],
            self._is_joined,
            is_plain=unit.kind != "paragraph_open",
            number=self._number,
        )
        self._tail = self._tail[at:]
        self._is_joined, self._number = True, None
        return [section]

    def _cut_fence(self) -> list[Section]:
        lines = self._tail.split("\n")
        if self._fence is None:
            opening, lines = lines[0], lines[1:]
            if not opening.strip():
                return []
        else:
            opening = self._fence.opening
        if len(lines) <= LONG_FENCE:
            return []
        fence = self._fence or _OpenFence(opening)
        part = "\n".join([opening, *lines[:FENCE_PART]])
        section = Section(part, self._is_joined)
        fence.lines += lines[:FENCE_PART]
        fence.parts += 1
        self._fence = fence
        self._tail = "\n".join(lines[FENCE_PART:])
        self._is_joined = True
        return [section]


def _together(first: Change, second: Change) -> Change:
    """Return one change that does what two do."""
    kept = len(first.added) - second.dropped
    if kept >= 0:
        return Change(first.dropped, first.added[:kept] + second.added)
    return Change(first.dropped - kept, second.added)


def _units(tokens: list[Token], number: int | None) -> list[_Unit]:
    """Return the top-level blocks, lists by item; `number` is what a first ordered item counts."""
    units: list[_Unit] = []
    open_list: Token | None = None
    count, is_first_item = 1, True
    for token in tokens:
        if token.map is None:
            continue
        start, end = token.map
        if token.level == 0:
            open_list = token if token.type in _LISTS else None
            if open_list is None:
                units.append(_Unit(token.type, start, end))
            else:
                is_first = not units and number is not None
                count = number if is_first else int(token.attrs.get("start", 1))
                is_first_item = True
        elif open_list is not None and token.level == 1 and token.type == "list_item_open":
            ordered = open_list.type == "ordered_list_open"
            units.append(_Unit("list", start, end, not is_first_item, count if ordered else None))
            count, is_first_item = count + 1, False
    return units


def code_blocks(text: str) -> tuple[tuple[str, str], ...]:
    """Return (language, code) of each code block in a text, in order."""
    return tuple(
        (token.info.split(" ")[0].strip(), token.content)
        for token in markdown_parser().parse(text)
        if token.type in ("fence", "code_block")
    )
