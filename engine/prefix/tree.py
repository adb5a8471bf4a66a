"""The texts that were read, as a tree of tokens: what a new text has in common with them.

A node is a place that a prompt can go on from; its tokens are those since its parent. Knows no
model: what is held at a node is its owner's matter. Siblings may begin alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

__all__ = ["Match", "Node", "common", "match"]

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class Node(Generic[T]):
    """A place in a text."""

    tokens: tuple[int, ...]
    """Since the parent's place; empty at the root alone."""
    end: int
    """Tokens before the place."""
    parent: Node[T] | None
    held: T | None = None
    """None where it was dropped, or never was."""
    children: list[Node[T]] = field(default_factory=list)
    used: float = 0.0
    """When it was used last."""
    hits: int = 0
    """How many prompts went on from it, or from behind it."""
    pins: int = 0
    """Requests in flight that build on it."""

    def path(self) -> list[Node[T]]:
        """Return the nodes from the root's child to this one."""
        found: list[Node[T]] = []
        node = self
        while node.parent is not None:
            found.append(node)
            node = node.parent
        return found[::-1]

    def nodes(self) -> Iterator[Node[T]]:
        """Yield all nodes below this one."""
        waiting = list(self.children)
        while waiting:
            node = waiting.pop()
            yield node
            waiting += node.children


@dataclass(slots=True)
class Match(Generic[T]):
    """What a text has in common with a tree."""

    place: Node[T]
    """The deepest node wholly in the text that is held, as are all before it."""
    known: Node[T]
    """The deepest node wholly in the text, be it held or not."""
    matched: int
    """Tokens in common with the closest text, be it held or not."""
    closest: Node[T]
    """The node up to or within which these are."""
    partly: Node[T]
    """The held node, all before it held too, that has most in common, though it may go on
    otherwise."""
    shared: int
    """Tokens in common up to or within `partly`."""

    def other(self) -> int | None:
        """Return the token at `matched` in the closest text; None where it ends there."""
        inside = self.matched - self.closest.end
        if inside < 0:
            return self.closest.tokens[inside]
        return next((child.tokens[0] for child in self.closest.children), None)


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two texts begin alike with."""
    size = min(len(one), len(other))
    if one[:size] == other[:size]:
        return size
    return next(i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)


def match(root: Node[T], text: tuple[int, ...]) -> Match[T]:
    """Return what a text has in common with a tree."""
    best = Match(root, root, 0, root, root, 0)
    waiting = [(root, True)]
    while waiting:
        node, is_held = waiting.pop()
        if node.end > best.known.end:
            best.known = node
        if is_held and node.end > best.place.end:
            best.place = node
        for child in node.children:
            alike = common(child.tokens, text[node.end : child.end])
            is_child_held = is_held and child.held is not None
            if is_child_held and node.end + alike > best.shared:
                best.partly, best.shared = child, node.end + alike
            if node.end + alike > best.matched:
                best.closest, best.matched = child, node.end + alike
            if alike == len(child.tokens):
                waiting.append((child, is_child_held))
    return best
