"""What every MTP head offers to the draft phase, whatever its family."""

from __future__ import annotations

from typing import Protocol

import mlx.core as mx

from engine.model.cache import Cache
from engine.model.draft_head import DraftHead

__all__ = ["Head"]


class Head(Protocol):
    """A head drafts the token two places after a hidden row, given the token one place after."""

    draft_head: DraftHead
    """Which tokens the columns of `logits` stand for."""

    def make_cache(self) -> Cache:
        """Return an empty cache for one request."""

    def forward(self, hidden: mx.array, tokens: mx.array, cache: Cache) -> mx.array:
        """Run the head over n pairs of a hidden row and the token that follows it.

        Args:
            hidden: [1, n, hidden], of the trunk, or recycled from this function.
            tokens: integer [n].
            cache: of the request; its window grows by n.

        Returns:
            [1, n, hidden]: to recycle for the next depth, and to give to `logits`.
        """

    def logits(self, recycled: mx.array) -> mx.array:
        """Return draft logits of rows that `forward` gave; [1, n, hidden] to [n, columns]."""
