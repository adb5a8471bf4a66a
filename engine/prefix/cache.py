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

from engine.prefix.disk import Disk, Stored
from engine.prefix.held import Held, can_go_back_anywhere, can_hold, hold, take_up
from engine.prefix.tree import Match, Node, match
from engine.protocol import Reread
from engine.speculation.stream import Stream

__all__ = ["PrefixCache", "Reuse"]


@dataclass(eq=False, slots=True)
class Place:
    """Where a place's state is: in memory, on the disk, or both."""

    state: Held | None
    stored: str = ""
    """What it is known by on the disk; empty where it is not there."""


_Node = Node[Place]

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
        self.disk: Disk | None = None
        self._clock = clock
        self._unwritten: list[_Node] = []

    @property
    def places(self) -> list[_Node]:
        """All nodes whose state is in memory."""
        return [node for node in self.root.nodes() if _state(node) is not None]

    def begin(self, stream: Stream, text: tuple[int, ...]) -> Reuse:
        """Put as much of a prompt as is held into a request that has read nothing.

        Its last token is left to be read, since it is what the first cycle begins with.
        """
        if not self.limit_bytes or not can_hold(stream):
            return Reuse(self._pinned(self.root), 0, 0, Reread.OFF, None)
        found, whole = match(self.root, text[:-1]), match(self.root, text)
        place, reused = self._best(found, stream)
        while not self._load(place):
            found = match(self.root, text[:-1])
            place, reused = self._best(found, stream)
        if reused:
            path = [state for node in place.path() if (state := _state(node)) is not None]
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
        if node is None or _state(node) is None:
            state = hold(stream, _state(place))
            if not self._make_room(state.nbytes):
                return place
            if node is None:
                node = Node(tokens, end, place)
                place.children.append(node)
            self._put(node, state)
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

    def use_disk(self, disk: Disk | None) -> None:
        """Keep places on a disk too from now on, and know those that are there; None: no longer."""
        self.disk = disk
        self._unwritten.clear()
        if disk is None:
            return
        waiting: dict[str, list[Stored]] = {}
        for stored in disk.places():
            waiting.setdefault(stored.parent, []).append(stored)
        parents: list[tuple[str, _Node]] = [("", self.root)]
        while parents:
            digest, node = parents.pop()
            for stored in waiting.get(digest, ()):
                child = next((c for c in node.children if c.tokens == stored.tokens), None)
                if child is None:
                    child = Node(stored.tokens, node.end + len(stored.tokens), node)
                    node.children.append(child)
                child.held = child.held or Place(None)
                child.held.stored = stored.digest
                parents.append((stored.digest, child))

    @property
    def can_write(self) -> bool:
        """Whether places wait to be written to the disk."""
        return bool(self._unwritten)

    def write_one(self) -> None:
        """Write the place that waits longest; what it builds on was written before."""
        node = self._unwritten.pop(0)
        state, parent = _state(node), node.parent
        if self.disk is None or state is None or parent is None or node.held is None:
            return
        before = parent.held.stored if parent.held else ""
        if before or parent is self.root:
            node.held.stored = self.disk.write(before, node.tokens, state)

    def _best(self, found: Match[Place], stream: Stream) -> tuple[_Node, int]:
        """Return the place to go on from, and how much of the text that saves."""
        if can_go_back_anywhere(stream) and found.shared - 1 > found.place.end:
            return found.partly, found.shared - 1
        return found.place, found.place.end

    def _load(self, place: _Node) -> bool:
        """Bring a place and what it builds on into memory; return whether all of it is there."""
        path = [self._pinned(node) for node in place.path()]
        try:
            return all(self._is_loaded(node) for node in path)
        finally:
            for node in path:
                self.release(node)

    def _is_loaded(self, node: _Node) -> bool:
        if node.held is None or node.held.state is not None:
            return node.held is not None
        state = self.disk.read(node.held.stored) if self.disk else None
        if state is None:
            node.held = None
            return False
        self._make_room(state.nbytes)
        self._put(node, state)
        return True

    def _put(self, node: _Node, state: Held) -> None:
        self.nbytes += state.nbytes
        if node.held is None:
            node.held = Place(state)
        node.held.state = state
        if self.disk is not None and not node.held.stored:
            self._unwritten.append(node)

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
        state = _state(node)
        if node.held is not None and state is not None:
            self.nbytes -= state.nbytes
            node.held.state = None
            node.held = node.held if node.held.stored else None
        husks = [node for node in self.root.nodes() if node.held is None and not node.children]
        for husk in sorted(husks, key=lambda node: node.used)[:-_HUSKS]:
            if husk.parent is not None and not husk.pins:
                husk.parent.children.remove(husk)


def _is_end(node: _Node) -> bool:
    """Return whether nothing that is held or in use builds on a node."""
    below = node.children
    return not node.pins and all(_state(child) is None and not child.pins for child in below)


def _state(node: _Node) -> Held | None:
    return node.held.state if node.held else None


def _worth(node: _Node) -> float:
    return node.used + (CONVERSATION_S if node.hits else 0.0)


def _reason(whole: Match[Place], length: int, *, is_dropped: bool) -> tuple[Reread, int | None]:
    """Return what ended the reuse of a prompt, and the token in what is kept."""
    other = whole.other()
    if is_dropped:
        return Reread.DROPPED, None
    if not whole.matched:
        return Reread.NEW, None
    if whole.matched == length or other is None:
        return Reread.APPENDED, None
    return Reread.DIFFERS, other
