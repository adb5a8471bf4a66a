"""The decoding state of one request: its caches, its last token, and the hidden rows to come.

Between cycles all tokens but the last are in the trunk's cache, and `pending` holds the true
hidden rows the head has not taken in yet, each with the token that follows it. The head
always takes in true rows in the end; rows it recycled while drafting are rolled back.

After a plain cycle whose next one is plain too, the trunk's pass over `last` may be under way
already. Its row is open in the trunk's cache: the next cycle takes it, and whoever needs the caches
as the text has them gives it up, which rolls that row back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import mlx.core as mx

from engine.model.arrays import integers
from engine.model.cache import Cache
from engine.model.head import Head
from engine.model.trunk import Trunk, TrunkOutput
from engine.speculation.grammar import Grammar
from engine.speculation.history import History
from engine.speculation.sampling import RowRules

__all__ = ["PENDING_LIMIT", "Stream", "Witness"]

Witness = Callable[[mx.array, mx.array | None], None]
"""Shown float32 [depth + 1, vocabulary] of the target, and [depth, vocabulary] of the draft."""

_FARTHEST_AHEAD = 8192
"""Positions behind which no pass runs ahead: MLX keeps what a pass reads until it has run, so one handed over before
that writes its rows into copies of all keys and values. Over 8,192 positions of a 27B model that is half a GB."""
PENDING_LIMIT = 256
"""Rows kept for the head while nothing is drafted, before they are taken in in one pass."""


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Hidden rows and the tokens that follow them."""

    hidden: mx.array
    """[1, n, hidden]."""
    tokens: mx.array
    """integer [n]."""


class Stream:
    """See the module.

    Args:
        trunk_cache: empty.
        head: None where nothing can be drafted.
        seed: of the request.
    """

    def __init__(self, trunk_cache: Cache, head: Head | None, seed: int) -> None:
        self.trunk_cache = trunk_cache
        self.head = head
        self.head_cache = head.make_cache() if head else None
        self.seed = seed
        self.history: History | None = None
        """Where penalties, biases or bans were asked for."""
        self.grammar: Grammar | None = None
        """Where a grammar was asked for."""
        self.logprobs: int | None = None
        """How many likeliest tokens to report beside each emitted one; None: report nothing."""
        self.witness: Witness | None = None
        """Shown the rows of every window before it is judged, by a certificate."""
        self.has_xray = False
        """Whether cycles tell what their windows were judged by."""
        self.runs_beside_host = mx.default_device() != mx.cpu
        """Whether what is handed over runs by itself; on a CPU handing over is the work itself."""
        self.cycle = 0
        self.last = -1
        """The token after what the trunk's cache holds; -1 before the prompt is read."""
        self._pending: list[_Pairs] = []
        self._ahead: TrunkOutput | Exception | None = None
        """Of the pass that was handed over before its cycle, or why it could not be."""

    @property
    def position(self) -> int:
        """Absolute position of `last`."""
        return self.trunk_cache.length

    @property
    def can_draft(self) -> bool:
        """Whether there is a head and a hidden row for it to start from."""
        return self.head is not None and bool(self._pending)

    @property
    def can_run_ahead(self) -> bool:
        """Whether a pass handed over before its cycle gains time, and can be undone."""
        is_near = self.trunk_cache.length < _FARTHEST_AHEAD
        return self.runs_beside_host and is_near and self.trunk_cache.can_roll_back

    @property
    def is_whole(self) -> bool:
        """Whether the caches can be relied on: not where a pass ahead of its cycle broke off."""
        return not isinstance(self._ahead, Exception)

    @property
    def pending_rows(self) -> int:
        """Hidden rows the head has not taken in."""
        return sum(pairs.tokens.shape[0] for pairs in self._pending)

    def add_pending(self, hidden: mx.array | None, tokens: mx.array) -> None:
        """Keep hidden rows for the head, each with the token that follows it.

        Args:
            hidden: [1, n, hidden], of the trunk; None is for streams without a head.
            tokens: integer [n].
        """
        if self.head is not None and hidden is not None:
            self._pending.append(_Pairs(hidden, tokens))

    def absorb(self) -> mx.array:
        """Let the head take in all pending rows; return its newest row, [1, 1, hidden].

        Raises:
            ValueError: there is no head, or nothing is pending.
        """
        if self.head is None or self.head_cache is None or not self._pending:
            raise ValueError("nothing is pending for a head")
        hidden = mx.concatenate([pairs.hidden for pairs in self._pending], axis=1)
        tokens = mx.concatenate([pairs.tokens for pairs in self._pending])
        self._pending = []
        recycled = self.head.forward(hidden, tokens, self.head_cache)
        self.head_cache.commit(tokens.shape[0])
        return recycled[:, -1:]

    def rules(self, drafted: mx.array) -> RowRules | None:
        """Return what bends the logits of a window; waits for the drafts if there is a grammar.

        Args:
            drafted: integer [depth]; the window has depth + 1 rows.
        """
        rules = self.history.rules(drafted) if self.history else None
        if self.grammar is None:
            return rules
        allowed = self.grammar.masks(integers(drafted))
        return replace(rules or RowRules(), allowed=allowed)

    def draft_rules(self, drafted: Sequence[mx.array]) -> RowRules | None:
        """Return what bends the logits of the next draft; never waits.

        The grammar is known for the first draft only: later ones would have to be waited for,
        and a draft that breaks the grammar is rejected anyway.

        Args:
            drafted: integer [1] each.
        """
        rules = None
        if self.history is not None:
            tokens = mx.concatenate(list(drafted)) if drafted else mx.zeros((0,), mx.uint32)
            rules = self.history.rules(tokens, len(drafted))
        if self.grammar is None or drafted:
            return rules
        return replace(rules or RowRules(), allowed=self.grammar.masks(()))

    def run_ahead(self, trunk: Trunk, token: mx.array) -> None:
        """Commit a plain window's row, and hand over the pass over the token drawn behind it.

        An error is kept until the pass is asked for: the token before it is right, and to be told.

        Args:
            trunk: the model.
            token: uint32 []; may still be under way.
        """
        self.trunk_cache.commit(1)
        try:
            output = trunk.forward(token[None], self.trunk_cache)
            mx.async_eval(output.logits)
        except Exception as error:  # noqa: BLE001 - `take_ahead` raises it
            self._ahead = error
        else:
            self._ahead = output

    def take_ahead(self) -> TrunkOutput | None:
        """Return what the pass over `last` gives, its row open; None where none was handed over.

        Raises:
            Exception: what that pass raised.
        """
        if isinstance(self._ahead, Exception):
            raise self._ahead
        output, self._ahead = self._ahead, None
        return output

    def give_up_ahead(self) -> None:
        """Undo the pass over `last`, where one was handed over.

        Raises:
            Exception: what that pass raised.
        """
        if self.take_ahead() is not None:
            self.trunk_cache.commit(0)

    def commit(self, hidden: mx.array | None, kept: tuple[int, ...]) -> None:
        """Commit the window's rows of kept tokens, undo the others, and end the cycle.

        Args:
            hidden: [1, n, hidden], of the window's rows; None for streams without a head.
            kept: one or more of the window's emitted tokens, from its first on.
        """
        self.trunk_cache.commit(len(kept))
        self.follow(hidden, kept)

    def follow(self, hidden: mx.array | None, kept: tuple[int, ...]) -> None:
        """Make kept tokens part of the text, their window's rows being committed; end the cycle.

        Args:
            hidden: of `commit`.
            kept: of `commit`.
        """
        if hidden is not None:
            self.add_pending(hidden[:, : len(kept)], mx.array(kept))
        if self.history is not None:
            self.history.commit(kept)
        if self.grammar is not None:
            self.grammar.commit(kept)
        self.last = kept[-1]
        self.cycle += 1

    def prime(self) -> None:
        """Let the head take in all pending rows but the last, which the next draft needs."""
        if self.pending_rows < 2:
            return
        *before, newest = self._pending
        split = newest.tokens.shape[0] - 1
        last = _Pairs(newest.hidden[:, split:], newest.tokens[split:])
        if split:
            before.append(_Pairs(newest.hidden[:, :split], newest.tokens[:split]))
        self._pending = before
        self.absorb()
        if self.head_cache is not None:
            self.head_cache.commit(0)
        self._pending = [last]

    @property
    def boundary(self) -> mx.array | None:
        """The trunk's newest hidden row, [1, 1, hidden]; None where nothing waits for the head."""
        return self._pending[-1].hidden[:, -1:] if self._pending else None

    def resume(self, boundary: mx.array | None, following: int) -> None:
        """Go on from caches that were filled from outside.

        Args:
            boundary: what `boundary` gave there; None where the head took in all rows.
            following: the token after the trunk's cache.
        """
        if boundary is not None:
            self.add_pending(boundary, mx.array([following]))

    def caches(self) -> list[Cache]:
        """Return the caches that exist."""
        return [cache for cache in (self.trunk_cache, self.head_cache) if cache is not None]
