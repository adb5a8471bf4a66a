"""Token ids to text as it grows: whole characters only, cut at stop strings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["Detokenizer", "StopStrings"]

_BROKEN = "\ufffd"
_MOST_HELD = 4
"""Tokens of one broken character; after so many it won't be mended by the next."""


class Detokenizer:
    """Turns a run of ids into text, holding back a character whose bytes are not all there.

    Args:
        decode: ids to text, special tokens left out; broken bytes give U+FFFD.
        piece: what a token reads as behind others.
        silent: tokens that `decode` leaves out.
    """

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        piece: Callable[[int], str],
        silent: frozenset[int] = frozenset(),
    ) -> None:
        self._decode = decode
        self._piece = piece
        self._silent = silent
        self._context: list[int] = []
        self._held: list[int] = []

    def add(self, token: int) -> str:
        """Return the text that became readable with this token; often, but not always, its own."""
        if token in self._silent:
            return ""
        if self._context and not self._held:
            piece = self._piece(token)
            if _BROKEN not in piece:
                self._context = [token]
                return piece
        self._held.append(token)
        text = self._new_text()
        if text.endswith(_BROKEN) and len(self._held) < _MOST_HELD:
            return ""
        return self._settle(text)

    def finish(self) -> str:
        """Return what was held back, broken as it is."""
        return self._settle(self._new_text()) if self._held else ""

    def _new_text(self) -> str:
        """Decode behind the last settled tokens: a first token may read differently alone."""
        before = self._decode(self._context)
        return self._decode([*self._context, *self._held])[len(before) :]

    def _settle(self, text: str) -> str:
        self._context = self._held
        self._held = []
        return text


class StopStrings:
    """Cuts a growing text before the first stop string, holding back what may begin one."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._held = ""
        self.came = ""
        """The stop string that cut the text."""

    def feed(self, text: str) -> tuple[str, bool]:
        """Return the text that is safe to show, and whether a stop string came."""
        if not self._stops:
            return text, False
        held = self._held + text
        found = [(at, stop) for stop in self._stops if (at := held.find(stop)) >= 0]
        if found:
            at, self.came = min(found)
            self._held = ""
            return held[:at], True
        keep = longest_overlap(held, self._stops)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep], False

    def finish(self) -> str:
        """Return what was held back for a stop string that did not come."""
        held, self._held = self._held, ""
        return held


def longest_overlap(text: str, marks: tuple[str, ...]) -> int:
    """Return how many characters at the end of the text may be the beginning of a mark."""
    longest = 0
    for mark in marks:
        at = text.find(mark[0], max(0, len(text) - len(mark) + 1))
        while at >= 0 and not mark.startswith(text[at:]):
            at = text.find(mark[0], at + 1)
        if at >= 0:
            longest = max(longest, len(text) - at)
    return longest
