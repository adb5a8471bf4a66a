"""Puts a chat together from its records, one after the other."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from engine.protocol import Role
from mtplx_tui.chats.fields import facts_of, number_of, options_of, text_of
from mtplx_tui.chats.model import Chat, Turn, TurnStatus, title_for

__all__ = ["Reading"]

CUT_NOTE = "the app ended"
"""Of an answer without an end in the file."""


class Reading:
    """A chat being read: what `Chat` does to itself turn by turn, done in place.

    Texts are put together at the end, not line by line; a turn behind the last one costs no walk
    back to the root.
    """

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._changed = chat.changed
        self._turns: dict[str, Turn] = {}
        self._branches: dict[str | None, tuple[str, ...]] = {}
        self._chosen: dict[str | None, str] = {}
        self._leaf: str | None = None
        self._path: set[str | None] = {None}
        """The turns from the root to the leaf."""
        self._is_chosen = True
        """Whether every turn of the path is the chosen one of its branches."""
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
            at = number_of(record, "at")
            read(record, at)
        except (ValueError, KeyError):
            return
        self._changed = at

    def chat(self) -> Chat:
        """Return the chat read so far."""
        turns = {turn_id: self._whole(turn) for turn_id, turn in self._turns.items()}
        return replace(
            self._chat,
            changed=self._changed,
            turns=MappingProxyType(turns),
            branches=MappingProxyType(self._branches),
            chosen=MappingProxyType(self._chosen),
            leaf=self._leaf,
        )

    def _whole(self, turn: Turn) -> Turn:
        turn = replace(
            turn,
            text="".join([turn.text, *self._texts.get(turn.id, ())]),
            reasoning="".join([turn.reasoning, *self._reasonings.get(turn.id, ())]),
        )
        end = self._ends.get(turn.id)
        if end is not None:
            status = TurnStatus(text_of(end, "status"))
            return replace(turn, status=status, note=text_of(end, "note"), facts=facts_of(end))
        if turn.status is TurnStatus.STREAMING:
            return replace(turn, status=TurnStatus.CUT, note=CUT_NOTE)
        return turn

    def _turn(self, record: dict[str, object], _: float) -> None:
        parent = None if record.get("parent") is None else text_of(record, "parent")
        turn = Turn(
            id=text_of(record, "id"),
            # Nothing that can be read is hidden because something before it can't.
            parent=parent if parent is None or parent in self._turns else self._leaf,
            role=Role(text_of(record, "role")),
            text=text_of(record, "text"),
            reasoning=text_of(record, "reasoning"),
            status=TurnStatus(text_of(record, "status")),
            note=text_of(record, "note"),
            facts=facts_of(record),
            options=None if record.get("options") is None else options_of(record),
        )
        self._add(turn)

    def _add(self, turn: Turn) -> None:
        """Do as `Chat.with_turn`."""
        if turn.id in self._turns:
            raise ValueError(f"there is a turn {turn.id} already")
        if not self._chat.title and turn.role is Role.USER:
            self._chat = replace(self._chat, title=title_for(turn.text))
        self._turns[turn.id] = turn
        self._branches[turn.parent] = (*self._branches.get(turn.parent, ()), turn.id)
        if turn.parent == self._leaf and self._is_chosen:
            self._chosen[turn.parent] = self._leaf = turn.id
            self._path.add(turn.id)
        else:
            self._show(turn.id)

    def _show(self, turn_id: str) -> None:
        """Do as `Chat.showing`. Raises KeyError where there is no such turn."""
        if turn_id in self._path and self._is_chosen:
            return
        self._path, self._is_chosen = {None}, True
        at: str | None = turn_id
        while at is not None:
            parent = self._turns[at].parent
            self._path.add(at)
            self._chosen[parent] = at
            at = parent
        self._leaf = turn_id
        while below := self._branches.get(self._leaf, ()):
            self._is_chosen = self._is_chosen and self._leaf in self._chosen
            self._leaf = self._chosen.get(self._leaf, below[-1])
            self._path.add(self._leaf)

    def _delta(self, record: dict[str, object], _: float) -> None:
        turn_id, text = text_of(record, "turn"), text_of(record, "text")
        self._texts.setdefault(turn_id, []).append(text)
        self._reasonings.setdefault(turn_id, []).append(text_of(record, "reasoning", ""))

    def _ended(self, record: dict[str, object], _: float) -> None:
        TurnStatus(text_of(record, "status"))
        text_of(record, "note")
        facts_of(record)
        self._ends[text_of(record, "turn")] = record

    def _renamed(self, record: dict[str, object], _: float) -> None:
        self._chat = replace(self._chat, title=text_of(record, "title"))

    def _selected(self, record: dict[str, object], _: float) -> None:
        turn_id = text_of(record, "turn")
        if turn_id not in self._turns:
            raise KeyError(turn_id)
        self._show(turn_id)

    def _options_chosen(self, record: dict[str, object], _: float) -> None:
        self._chat = replace(self._chat, options=options_of(record))
