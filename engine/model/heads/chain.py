"""Distinct heads, one a depth: each is fed the rows of the one before it.

Head k takes the row of head k-1 at a position and the token k places on, so its true input for a
position comes k-1 tokens later than head 1's. Each head keeps a cache of its own and the one
row that waits for its token. While drafting, every head takes in what the drafted tokens make
known, and `commit(0)` undoes it; true tokens then go through all of them again.

Deeper than there are heads, the last one is fed its own rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import mlx.core as mx
import mlx.nn as nn

from engine.model.cache import Cache
from engine.model.heads.pair import PairHead
from engine.model.steps import Progress, unheard

__all__ = ["ChainCache", "ChainHead"]


class ChainCache(Cache):
    """The caches of all heads of a chain; a pass over true rows is committed whole."""

    def __init__(self, heads: Sequence[Cache]) -> None:
        super().__init__([layer for head in heads for layer in head.layers])
        self.heads = heads
        self.waiting: dict[int, mx.array] = {}
        """By head, from 1: the row that waits for its token; [1, 1, hidden]."""
        self.drafted = 0
        """Tokens drafted since the true rows were taken in."""
        self.live: dict[int, mx.array] | None = None
        """Rows that wait while drafting; None while true rows are taken in."""

    def waiting_rows(self) -> tuple[mx.array | None, ...]:
        """Return, for each head but the first, the row that waits for its token."""
        return tuple(self.waiting.get(index) for index in range(1, len(self.heads)))

    def restored(self, length: int, waiting: Sequence[mx.array | None]) -> None:
        """Note that the layers were filled from outside; see `Cache.restored`."""
        for late, head in enumerate(self.heads):
            head.restored(max(0, length - late), ())
        self.length = length
        rows = enumerate(waiting, 1)
        self.waiting = {index: row for index, row in rows if row is not None}

    def commit(self, kept: int) -> None:
        """Make all open positions final, or none of them.

        Raises:
            ValueError: a part of them is asked for.
        """
        if kept not in (0, self.open):
            raise ValueError(f"a chain of heads can't commit {kept} of {self.open} positions")
        for head in self.heads:
            head.commit(head.open if kept else 0)
        self.length += kept
        self.open = 0
        self.drafted = 0
        self.live = dict(self.waiting) if kept else None


class ChainHead(nn.Module):
    """See the module.

    Args:
        heads: in the order of depth, all over one embedding and LM head.
    """

    def __init__(self, heads: list[PairHead]) -> None:
        super().__init__()
        self.heads = heads
        self.draft_head = heads[0].draft_head

    def make_cache(self) -> Cache:
        """Return empty caches for one request."""
        return ChainCache([head.make_cache() for head in self.heads])

    def forward(self, hidden: mx.array, tokens: mx.array, cache: Cache) -> mx.array:
        """Run the chain; see `engine.model.head.Head.forward`.

        Returns:
            [1, n, 2 hidden]: rows to feed on, and beside them the same rows normed.
        """
        chain = cast("ChainCache", cache)
        chain.wrote(tokens.shape[0])
        if chain.live is None:
            return self._take_in(hidden, tokens, chain)
        return self._draft(chain.live, hidden, tokens, chain)

    def logits(self, recycled: mx.array) -> mx.array:
        """Return draft logits; see `engine.model.head.Head.logits`."""
        return self.draft_head.logits(mx.split(recycled, 2, axis=-1)[1])[0]

    def replay_passes(self, progress: Progress = unheard) -> str:
        """Repeat passes of every head as graphs; see `PairHead.replay_passes`."""
        notes = [head.replay_passes(progress) for head in self.heads]
        return next((note for note in notes if note), "")

    def _take_in(self, hidden: mx.array, tokens: mx.array, chain: ChainCache) -> mx.array:
        """Feed true rows and tokens through all heads, each as far as tokens are known."""
        first = _run(self.heads[0], hidden, tokens, chain.heads[0])
        rows = first
        for index in range(1, len(self.heads)):
            fed = mx.split(rows, 2, axis=-1)[0]
            before = chain.waiting.get(index)
            fed = fed if before is None else mx.concatenate([before, fed], axis=1)
            chain.waiting[index] = fed[:, -1:]
            known = fed.shape[1] - 1
            if not known:
                break
            rows = _run(self.heads[index], fed[:, :-1], tokens[-known:], chain.heads[index])
        return first

    def _draft(
        self, live: Mapping[int, mx.array], recycled: mx.array, token: mx.array, chain: ChainCache
    ) -> mx.array:
        """Feed a drafted token to every head that waits for it; the first of them drafts on."""
        chain.drafted += 1
        drafting = min(chain.drafted, len(self.heads) - 1)
        waiting = {**live, drafting: mx.split(recycled, 2, axis=-1)[0]}
        rows: dict[int, mx.array] = {}
        for index in range(drafting, len(self.heads)):
            if index in waiting:
                rows[index] = _run(self.heads[index], waiting[index], token, chain.heads[index])
        chain.live = {index + 1: mx.split(row, 2, axis=-1)[0] for index, row in rows.items()}
        return rows[drafting]


def _run(head: PairHead, hidden: mx.array, tokens: mx.array, cache: Cache) -> mx.array:
    """Return rows of one head before and after its norm, side by side; [1, n, 2 hidden]."""
    return mx.concatenate([*head.run(hidden, tokens, cache)], axis=-1)
