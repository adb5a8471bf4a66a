"""The prefixes that are kept for one loaded model: looked up, added, and dropped for want of room.

Places are dropped from the ends of texts, those first that were used longest ago. A text that a
later prompt went on from counts as used so much later: a conversation that waits for its person
is not pushed out by prompts that came once. What is dropped leaves its tokens for a while, so
that a later prompt can be told why it is read again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from engine.prefix.held import Held, can_go_back_anywhere, can_hold, hold, take_up
from engine.prefix.tree import Match, Node, match
from engine.protocol import Reread
from engine.speculation.stream import Stream

__all__ = ["PrefixCache", "Reuse"]

_Node = Node[Held]

CONVERSATION_S = 600.0
"""How much later a text that was gone on from counts as used."""
_HUSKS = 512
"""Dropped places whose tokens are remembered."""


@dataclass(frozen=True, slots=True)
class Reuse:
    """How much of a prompt was taken over, and what ended it."""

    place: _Node
    """That the request builds on, pinned for it."""
    reused: int
    matched: int
    why: Reread
    other: int | None
    """The token in what is kept where `why` is DIFFERS."""
    is_continued: bool = False
    """Whether nothing went on from there before: the next turn of a conversation."""


class PrefixCache:
    """See the module.

    Args:
        limit_bytes: of all that is held; 0 holds nothing.
        clock: seconds.
    """

    def __init__(self, limit_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit_bytes = limit_bytes
        self.nbytes = 0
        self.root: _Node = Node((), 0, None)
        self._clock = clock

    @property
    def places(self) -> list[_Node]:
        """All nodes that are held."""
        return [node for node in self.root.nodes() if node.held is not None]

    def begin(self, stream: Stream, text: tuple[int, ...]) -> Reuse:
        """Put as much of a prompt as is held into a request that has read nothing.

        Its last token is left to be read, since it is what the first cycle begins with.
        """
        if not self.limit_bytes or not can_hold(stream):
            return Reuse(self._pinned(self.root), 0, 0, Reread.OFF, None)
        found, whole = match(self.root, text[:-1]), match(self.root, text)
        place, reused = found.place, found.place.end
        if can_go_back_anywhere(stream) and found.shared - 1 > reused:
            place, reused = found.partly, found.shared - 1
        if reused:
            path = [node.held for node in place.path() if node.held is not None]
            take_up(stream, path, reused, text[reused])
        is_continued = bool(reused) and all(child.held is None for child in place.children)
        self._touch(place, hits=1)
        why, other = _reason(whole, len(text), is_dropped=found.known.end > reused)
        if place.end > reused and place.parent is not None:
            place = place.parent
        return Reuse(self._pinned(place), reused, whole.matched, why, other, is_continued)

    def keep(
        self, stream: Stream, text: tuple[int, ...], place: _Node, *, is_continued: bool = False
    ) -> _Node:
        """Hold a request's state at the place it has come to.

        Args:
            stream: between two cycles or chunks.
            text: all its tokens so far, and maybe more.
            place: the pinned one that it builds on.
            is_continued: of the request's `Reuse`.

        Returns:
            The new place, pinned in its stead; the same where nothing could be added.
        """
        end = stream.position
        if end <= place.end or not self.limit_bytes or not can_hold(stream):
            return place
        tokens = text[place.end : end]
        node = next((child for child in place.children if child.tokens == tokens), None)
        if node is None or node.held is None:
            held = hold(stream, place.held)
            if not self._make_room(held.nbytes):
                return place
            if node is None:
                node = Node(tokens, end, place)
                place.children.append(node)
            node.held = held
            self.nbytes += held.nbytes
        self._touch(node, hits=int(is_continued))
        self.release(place)
        return self._pinned(node)

    def release(self, place: _Node) -> None:
        """Let go of a place that a request built on."""
        place.pins -= 1

    def limit(self, limit_bytes: int) -> None:
        """Hold no more than so many bytes from now on."""
        self.limit_bytes = limit_bytes
        self._make_room(0)

    def _pinned(self, node: _Node) -> _Node:
        node.pins += 1
        return node

    def _touch(self, node: _Node, hits: int = 0) -> None:
        now = self._clock()
        for each in node.path():
            each.used = now
            each.hits += hits

    def _make_room(self, nbytes: int) -> bool:
        """Drop places until so many bytes fit; return whether they do."""
        while self.nbytes + nbytes > self.limit_bytes:
            ends = [node for node in self.places if _is_end(node)]
            if not ends:
                return False
            self._drop(min(ends, key=_worth))
        return True

    def _drop(self, node: _Node) -> None:
        if node.held is not None:
            self.nbytes -= node.held.nbytes
            node.held = None
        husks = [node for node in self.root.nodes() if node.held is None and not node.children]
        for husk in sorted(husks, key=lambda node: node.used)[:-_HUSKS]:
            if husk.parent is not None and not husk.pins:
                husk.parent.children.remove(husk)


def _is_end(node: _Node) -> bool:
    """Return whether nothing that is held or in use builds on a node."""
    return not node.pins and all(child.held is None and not child.pins for child in node.children)


def _worth(node: _Node) -> float:
    return node.used + (CONVERSATION_S if node.hits else 0.0)


def _reason(whole: Match[Held], length: int, *, is_dropped: bool) -> tuple[Reread, int | None]:
    """Return what ended the reuse of a prompt, and the token in what is kept."""
    other = whole.other()
    if is_dropped:
        return Reread.DROPPED, None
    if not whole.matched:
        return Reread.NEW, None
    if whole.matched == length or other is None:
        return Reread.APPENDED, None
    return Reread.DIFFERS, other
