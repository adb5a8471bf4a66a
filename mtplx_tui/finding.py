"""Searching in what is shown: where a text stands, which place is marked, and what comes next.

One model for the conversation and the ribbon. A text is looked for whatever its case, and a blank in
it stands for any blanks, line breaks among them. Knows no screen.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, replace

__all__ = ["NOTHING", "Finding", "Hit", "find", "pattern_of"]


@dataclass(frozen=True, slots=True, order=True)
class Hit:
    """One place where the text stands."""

    part: int
    """Which of the searched parts."""
    start: int
    """Its first character in that part."""
    end: int
    """Behind its last one."""


@dataclass(frozen=True, slots=True)
class Finding:
    """All places of a text, and the one that is marked."""

    query: str = ""
    hits: tuple[Hit, ...] = ()
    """In their order."""
    at: int = 0
    """The marked one; of no meaning where there is none."""

    @property
    def marked(self) -> Hit | None:
        """The marked place; None where there is none."""
        return self.hits[self.at] if self.hits else None

    def step(self, by: int) -> Finding:
        """Return the finding with a place further on marked, going round at the ends."""
        return replace(self, at=(self.at + by) % len(self.hits)) if self.hits else self

    def of_part(self, part: int) -> tuple[Hit, ...]:
        """Return the places in one part."""
        first = bisect_left(self.hits, Hit(part, 0, 0))
        last = bisect_left(self.hits, Hit(part + 1, 0, 0))
        return self.hits[first:last]

    def words(self) -> str:
        """Return which place of how many is marked, as a person reads it."""
        if not self.query.strip():
            return ""
        return f"{self.at + 1:,} of {len(self.hits):,}" if self.hits else "nothing found"


NOTHING = Finding()


def find(query: str, parts: Iterable[str], near: tuple[int, int] = (0, 0)) -> Finding:
    """Return all places of a text.

    Args:
        query: what is looked for; blanks alone find nothing.
        parts: where.
        near: part and character; the first place from there on is marked, else the last one.
    """
    pattern = pattern_of(query)
    if pattern is None:
        return Finding(query)
    hits = tuple(
        Hit(number, match.start(), match.end())
        for number, part in enumerate(parts)
        for match in pattern.finditer(part)
    )
    at = min(bisect_left(hits, Hit(*near, 0)), max(0, len(hits) - 1))
    return Finding(query, hits, at)


def pattern_of(query: str) -> re.Pattern[str] | None:
    """Return what matches a text; None where there is nothing to look for."""
    words = query.split()
    if not words:
        return None
    return re.compile(r"\s+".join(map(re.escape, words)), re.IGNORECASE)
