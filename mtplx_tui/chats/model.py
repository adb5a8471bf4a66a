"""A conversation as a frozen tree of turns; every change returns a new Chat.

Turns are only ever added: another answer to a question, or another wording of it, is a sibling.
The branch shown is the path from the root to the leaf. Knows no file and no engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from engine.protocol import Role
from mtplx_tui.requests import Options

__all__ = ["AnswerFacts", "Chat", "Summary", "Turn", "TurnStatus", "title_for"]

TITLE_LENGTH = 48


class TurnStatus(StrEnum):
    """How far a turn is."""

    STREAMING = "streaming"
    DONE = "done"
    STOPPED = "stopped"
    """By the person."""
    CUT = "cut"
    """The engine or the app ended under it."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class AnswerFacts:
    """What is known of how an answer was made."""

    model: str
    tokens: int
    cycles: int
    depth: int | None
    """In force at the end; None: automatic."""
    tokens_per_s: float | None
    """Over the time of the cycles; None before the first."""
    tokens_per_cycle: float | None
    prompt_tokens: int = 0
    first_token_s: float = 0.0
    """From the question to the first token; 0 where it is not known."""
    saved_s: float | None = None
    """Against plain decoding; None where it was not measured."""
    saved_doubt_s: float | None = None
    """Half of its 95 % interval."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One question or one answer."""

    id: str
    parent: str | None
    role: Role
    text: str
    reasoning: str = ""
    status: TurnStatus = TurnStatus.DONE
    note: str = ""
    """Why it stands as it does, one line; often empty."""
    facts: AnswerFacts | None = None
    """Of an answer that ended."""
    options: Options | None = None
    """What an answer was made with, seed and sampling resolved."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A chat in a list."""

    id: str
    title: str
    created: float
    changed: float


def _empty() -> Mapping[str, Turn]:
    return MappingProxyType({})


def _no_branches() -> Mapping[str | None, tuple[str, ...]]:
    return MappingProxyType({})


def _no_choice() -> Mapping[str | None, str]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation."""

    id: str
    title: str = ""
    """Empty until the first question."""
    created: float = 0.0
    """Seconds since 1970, as `changed`."""
    changed: float = 0.0
    turns: Mapping[str, Turn] = field(default_factory=_empty)
    """In the order they were added."""
    branches: Mapping[str | None, tuple[str, ...]] = field(default_factory=_no_branches)
    """The turns below each turn; those at the root are below None."""
    chosen: Mapping[str | None, str] = field(default_factory=_no_choice)
    """Which of the branches below a turn was shown last."""
    leaf: str | None = None
    """The last turn shown."""
    options: Options = field(default_factory=Options)

    def path(self) -> tuple[Turn, ...]:
        """Return the branch shown, from the root to the leaf."""
        return self.path_to(self.leaf)

    def path_to(self, turn_id: str | None) -> tuple[Turn, ...]:
        """Return the turns from the root to this one; none for None.

        Raises:
            KeyError: there is no such turn.
        """
        turns: list[Turn] = []
        at = turn_id
        while at is not None:
            turns.append(self.turns[at])
            at = turns[-1].parent
        return tuple(reversed(turns))

    def siblings(self, turn_id: str) -> tuple[str, ...]:
        """Return the branches that this turn is one of, oldest first, itself included.

        Raises:
            KeyError: there is no such turn.
        """
        return self.branches[self.turns[turn_id].parent]

    def summary(self) -> Summary:
        """Return the chat as a list shows it."""
        return Summary(self.id, self.title, self.created, self.changed)

    def with_turn(self, turn: Turn, at: float) -> Chat:
        """Return the chat with one more turn, which is the leaf now.

        Raises:
            ValueError: its parent is not here, or the turn is already.
        """
        if turn.id in self.turns:
            raise ValueError(f"there is a turn {turn.id} already")
        if turn.parent is not None and turn.parent not in self.turns:
            raise ValueError(f"there is no turn {turn.parent} to follow")
        below = (*self.branches.get(turn.parent, ()), turn.id)
        chat = replace(
            self,
            changed=at,
            title=self.title or (title_for(turn.text) if turn.role is Role.USER else ""),
            turns=MappingProxyType({**self.turns, turn.id: turn}),
            branches=MappingProxyType({**self.branches, turn.parent: below}),
        )
        return chat.showing(turn.id, at)

    def with_changed(self, turn: Turn, at: float) -> Chat:
        """Return the chat with a turn of it replaced by a later state of the same turn."""
        turns = {**self.turns, turn.id: turn}
        return replace(self, changed=at, turns=MappingProxyType(turns))

    def showing(self, turn_id: str, at: float) -> Chat:
        """Return the chat with the branch through a turn shown, down to where it was last.

        Raises:
            KeyError: there is no such turn.
        """
        chosen = dict(self.chosen)
        for turn in self.path_to(turn_id):
            chosen[turn.parent] = turn.id
        leaf = turn_id
        while below := self.branches.get(leaf, ()):
            leaf = chosen.get(leaf, below[-1])
        return replace(self, changed=at, leaf=leaf, chosen=MappingProxyType(chosen))


def title_for(question: str) -> str:
    """Return the title of a chat that begins with this question: its first line, cut."""
    line = next((line for line in question.splitlines() if line.strip()), "")
    words = " ".join(line.split())
    if len(words) <= TITLE_LENGTH:
        return words
    cut = words[: TITLE_LENGTH - 1]
    head, _, _ = cut.rpartition(" ")
    return f"{head if len(head) > TITLE_LENGTH // 2 else cut}…"
