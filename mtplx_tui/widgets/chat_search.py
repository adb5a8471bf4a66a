"""A search in the conversation: what is found in the turns shown, and the way to each place."""

from __future__ import annotations

from collections.abc import Sequence

from mtplx_tui.chats.model import Turn
from mtplx_tui.finding import NOTHING, Finding, find, pattern_of
from mtplx_tui.widgets.answer import Answer
from mtplx_tui.widgets.conversation import Conversation
from mtplx_tui.widgets.turn import TurnBlock

__all__ = ["ChatSearch"]


class ChatSearch:
    """Looks for a text in what is shown, each turn's parts one by one.

    Args:
        conversation: where.
    """

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self.finding: Finding = NOTHING
        self._hidden: tuple[int, ...] = ()
        """Turns too early to be shown that hold the text, by their place in the chat."""

    @property
    def words(self) -> str:
        """What was found, as a person reads it."""
        count = len(self._hidden)
        more = f" and {count:,} earlier turn{'' if count == 1 else 's'}" if count else ""
        return self.finding.words() + more

    def look(self, query: str, path: Sequence[Turn]) -> None:
        """Look for a text, near the place that is marked, else near what is in sight.

        Args:
            query: what is looked for.
            path: all turns of the branch shown.
        """
        pattern = pattern_of(query)
        hidden = path[: self._conversation.first]
        self._hidden = tuple(
            at
            for at, turn in enumerate(hidden)
            if pattern is not None and pattern.search(turn.text)
        )
        parts = [part for block in self._conversation.blocks for part in block.parts]
        marked = self.finding.marked
        near = (self._in_sight(), 0) if marked is None else (marked.part, marked.start)
        self.finding = find(query, (part.searched() for part in parts), near)
        self._mark()

    @property
    def is_laid_out(self) -> bool:
        """Whether all that is to be shown can be searched by now."""
        blocks = self._conversation.blocks
        parts = [part for block in blocks for part in block.parts]
        return all(block.is_filled for block in blocks) and all(
            not isinstance(part, Answer) or part.is_painted for part in parts
        )

    def earlier(self, by: int) -> int | None:
        """Return the turn that has to be shown before a step so far can be made, if one has."""
        return self._hidden[-1] if by < 0 and self._hidden and self.finding.at == 0 else None

    def step(self, by: int) -> None:
        """Mark another place and bring it into sight."""
        self.finding = self.finding.step(by)
        self._mark()
        self.go()

    def end(self) -> None:
        """Mark nothing any more."""
        self.finding, self._hidden = NOTHING, ()
        self._mark()

    def go_on(self, shown: int, path: Sequence[Turn]) -> None:
        """Mark the last place before those turns that were shown already, as many as `shown`."""
        blocks = self._conversation.blocks
        new = sum(len(block.parts) for block in blocks[: len(blocks) - shown])
        self.look(self.finding.query, path)
        earlier = sum(hit.part < new for hit in self.finding.hits)
        self.step(max(0, earlier - 1) - self.finding.at)

    def _in_sight(self) -> int:
        """Return the first part of the turn at the top of what is in sight."""
        before = 0
        for block in self._conversation.blocks:
            if block.virtual_region.bottom > self._conversation.scroll_y:
                break
            before += len(block.parts)
        return before

    def _mark(self) -> None:
        number = 0
        for block in self._conversation.blocks:
            for part in block.parts:
                part.mark(self.finding.of_part(number), self.finding.marked)
                number += 1

    def go(self) -> None:
        """Bring the marked place into sight."""
        marked = self.finding.marked
        if marked is None:
            return
        number = marked.part
        for block in self._conversation.blocks:
            parts = block.parts
            if number < len(parts):
                self._bring(block.virtual_region.y + _row(block, number, marked.start))
                return
            number -= len(parts)

    def _bring(self, row: int) -> None:
        top, height = round(self._conversation.scroll_y), self._conversation.size.height
        if not top <= row < top + height:
            self._conversation.release_anchor()
            self._conversation.scroll_to(y=row - height // 2, animate=False)


def _row(block: TurnBlock, number: int, character: int) -> int:
    """Return the row of a block that a character of one of its parts stands in."""
    part = block.parts[number]
    return part.virtual_region.y + part.row_of(character)
