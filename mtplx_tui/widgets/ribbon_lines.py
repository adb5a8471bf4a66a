"""Lays emitted tokens out in lines: which token stands where, and what stands beneath it.

Only grows; what was laid is looked at again only when the width changes. Tokens live in parallel
arrays, lines are ranges of them. Knows no style and no screen.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate

from rich.cells import cell_len

from engine.protocol import MAX_DEPTH, CycleDone, Ended
from mtplx_tui.marks import Marks

__all__ = ["BONUS", "PLAIN", "RESIDUAL", "Drafts", "RibbonLines", "kind_of", "mark_of", "shown"]

PLAIN = 0
BONUS, RESIDUAL = MAX_DEPTH + 1, MAX_DEPTH + 2
"""Kinds of token: 1 to 8 is the depth at which it was accepted, 0 is plain decoding."""


@dataclass(frozen=True, slots=True)
class Drafts:
    """What stands beneath the token that was drawn in place of a rejected draft."""

    depth: int
    rejected: str
    unjudged: tuple[str, ...]
    """Drafted behind the rejected one, so never looked at."""


def kind_of(cycle: CycleDone, index: int) -> int:
    """Return the kind of a cycle's emitted token, whatever ended the run after it."""
    if index < cycle.accepted:
        return index + 1
    if cycle.depth == 0:
        return PLAIN
    return BONUS if cycle.accepted == cycle.depth else RESIDUAL


def mark_of(kind: int, marks: Marks) -> str:
    """Return the sign of a kind of token."""
    if kind == BONUS:
        return marks.bonus
    return marks.residual if kind == RESIDUAL else marks.depths[kind]


def shown(piece: str, marks: Marks) -> str:
    """Return a token's text as one line that can't steer the terminal."""
    piece = piece.replace(_WIDENING, "")
    if piece.isprintable():
        return piece
    return "".join(_sign(character, marks) for character in piece)


def _sign(character: str, marks: Marks) -> str:
    if character == "\n":
        return marks.newline
    if character == "\t":
        return marks.tab
    return character if character.isprintable() else marks.control


_WIDENING = "\ufe0f"
"""Asks for the wide form of a sign; terminals disagree on it, so none gets to see it."""


class RibbonLines:
    """The tokens of one answer at one width.

    Args:
        marks: to draw with.
        width: cells of a line, at least 1.
        has_drafts: whether rejected drafts get a row of their own beneath their line.
    """

    def __init__(self, marks: Marks, width: int, *, has_drafts: bool) -> None:
        self.marks = marks
        self.width = width
        self.has_drafts = has_drafts
        self.texts: list[str] = []
        self.kinds = bytearray()
        self.cycles = array("L")
        """Of each token, the cycle it came from, counted from the first one laid."""
        self.drafts: dict[int, Drafts] = {}
        """By the token they stand beneath."""
        self.starts: list[int] = []
        """The first token of each line."""
        self.rows = array("L")
        """Twice the line's number; one more for the row of its drafts."""
        self.taken = 0
        """Cycles laid so far."""
        self._cells = array("H")
        self._ends = array("L")
        """Of each token, the character behind it in the text that is searched."""
        self._used = 0
        self._is_broken = True
        """Whether the next token begins a line."""
        self._known: dict[str, tuple[str, int]] = {}

    def extend(self, cycles: Iterable[CycleDone]) -> int:
        """Lay more cycles; return the first row that changed."""
        first_row = self._first_row_of_last_line()
        first_token = len(self.texts)
        for cycle in cycles:
            self._take(cycle)
        self._lay(first_token)
        return first_row

    def rewrap(self, width: int, *, has_drafts: bool) -> None:
        """Lay all tokens anew."""
        self.width, self.has_drafts = width, has_drafts
        self.starts, self.rows = [], array("L")
        self._used, self._is_broken = 0, True
        self._lay(0)

    def searched(self) -> str:
        """Return all tokens as one text, line breaks as blanks."""
        return "".join(self.texts).replace(self.marks.newline, " ")

    def tokens_of(self, start: int, end: int) -> range:
        """Return the tokens that characters of what `searched` returned belong to."""
        if len(self._ends) != len(self.texts):
            self._ends = array("L", accumulate(map(len, self.texts)))
        first = bisect_right(self._ends, start)
        return range(first, bisect_left(self._ends, end, lo=first) + 1)

    def row_of(self, token: int) -> int:
        """Return the row that a token stands on."""
        return self._row_of(self._line_of(token))

    def line(self, number: int) -> range:
        """Return the tokens of a line."""
        end = self.starts[number + 1] if number + 1 < len(self.starts) else len(self.texts)
        return range(self.starts[number], end)

    def placed(self, number: int) -> Iterator[tuple[int, int, str]]:
        """Give each token of a line: its number, the column of its mark, and what is shown."""
        column = 0
        for token in self.line(number):
            text = self.texts[token]
            if self._is_pulled_in(token, number):
                text = text[1:]
            blanks = len(text) - len(text.lstrip(" "))
            text = f"{text[:blanks]}{self._mark(token, number)}{text[blanks:]}"
            yield token, column + blanks, text
            column += cell_len(text)

    def rows_of_cycle(self, cycle: int) -> range:
        """Return the rows on which a cycle's tokens stand; none if it emitted nothing."""
        tokens = [t for t in self._tokens_near(cycle) if self.cycles[t] == cycle]
        if not tokens:
            return range(0)
        lines = [self._line_of(tokens[0]), self._line_of(tokens[-1])]
        return range(self._row_of(lines[0]), self._row_of(lines[1] + 1))

    def _tokens_near(self, cycle: int) -> range:
        return range(bisect_left(self.cycles, cycle), bisect_right(self.cycles, cycle))

    def _line_of(self, token: int) -> int:
        return bisect_right(self.starts, token) - 1

    def _row_of(self, line: int) -> int:
        return bisect_left(self.rows, 2 * line)

    def _first_row_of_last_line(self) -> int:
        return self._row_of(len(self.starts) - 1) if self.starts else 0

    def _mark(self, token: int, line: int) -> str:
        kind = self.kinds[token]
        if token != self.starts[line] and kind == self.kinds[token - 1]:
            return ""
        return mark_of(kind, self.marks)

    def _is_pulled_in(self, token: int, line: int) -> bool:
        """Whether a token begins a line that was broken for want of room, with a blank."""
        if token != self.starts[line] or not self.texts[token].startswith(" "):
            return False
        return token > 0 and not self.texts[token - 1].endswith(self.marks.newline)

    def _take(self, cycle: CycleDone) -> None:
        """Note a cycle's tokens."""
        for index, piece in enumerate(cycle.emitted_pieces):
            text, cells = self._shown(piece)
            self.texts.append(text)
            self._cells.append(cells)
            self.kinds.append(kind_of(cycle, index))
            self.cycles.append(self.taken)
        self.taken += 1
        last = len(self.texts) - 1
        if cycle.ended is Ended.STOP and cycle.emitted_pieces:
            self.texts[last] += self.marks.stop
            self._cells[last] += 1
        rejected = cycle.drafted_pieces[cycle.accepted :]
        if rejected and len(cycle.emitted_pieces) > cycle.accepted:
            texts = [self._shown(piece)[0].strip() or self.marks.space for piece in rejected]
            self.drafts[last] = Drafts(cycle.accepted + 1, texts[0], tuple(texts[1:]))

    def _shown(self, piece: str) -> tuple[str, int]:
        known = self._known.get(piece)
        if known is None:
            text = shown(piece, self.marks)
            known = self._known[piece] = (text, min(cell_len(text), 0xFFFE))
        return known

    def _lay(self, first: int) -> None:
        """Lay the tokens from one on, behind what is laid already."""
        width, kinds, cells, newline = self.width, self.kinds, self._cells, self.marks.newline
        used, is_broken = self._used, self._is_broken
        for token in range(first, len(self.texts)):
            needed = cells[token]
            if not is_broken:
                needed += kinds[token] != kinds[token - 1]
                is_broken = used + needed > width
            if is_broken:
                self.rows.append(2 * len(self.starts))
                self.starts.append(token)
                line = len(self.starts) - 1
                used, needed = 0, cells[token] + 1 - self._is_pulled_in(token, line)
            used += needed
            if token in self.drafts and self.has_drafts and not self.rows[-1] % 2:
                self.rows.append(self.rows[-1] + 1)
            is_broken = self.texts[token].endswith(newline)
        self._used, self._is_broken = used, is_broken
