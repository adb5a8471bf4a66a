"""The LM head that drafts are drawn through: the trunk's own, or fewer of its rows in fewer bits.

A draft may come from any law, as long as that law is known: a token without a row here has
draft probability 0, and is never drafted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mlx.core as mx
import mlx.nn as nn

from engine.model import packed_rows
from engine.model.trunk import Trunk
from kernels.quant_matvec import Packed, quant_matvec

__all__ = ["DraftHead", "full_head", "trimmed_head"]

_GROUP = 64


class DraftHead:
    """See the module.

    Args:
        logits: normed hidden rows to logits; [..., hidden] to [..., columns].
        vocabulary: of the trunk.
        tokens: uint32 [columns], ascending: the token each column stands for; None where they
            are all tokens.
    """

    def __init__(
        self, logits: Callable[[mx.array], mx.array], vocabulary: int, tokens: mx.array | None
    ) -> None:
        self.logits = logits
        self.vocabulary = vocabulary
        self._tokens = tokens
        self.column_of = _columns(vocabulary, tokens)
        """int32 [vocabulary]: each token's column, -1 where it has none; None: they are the same."""

    @property
    def columns(self) -> int:
        """How many tokens can be drafted."""
        return self.vocabulary if self._tokens is None else self._tokens.shape[0]

    def tokens_at(self, columns: mx.array) -> mx.array:
        """Return the tokens that columns stand for; uint32 [n] to uint32 [n]."""
        return columns if self._tokens is None else self._tokens[columns]

    def narrowed(self, rows: mx.array) -> mx.array:
        """Return the columns of full rows; [n, vocabulary] to [n, columns]."""
        return rows if self._tokens is None else mx.take(rows, self._tokens, axis=-1)

    def widened(self, probs: mx.array) -> mx.array:
        """Return rows over the whole vocabulary, 0 elsewhere; [n, columns] to [n, vocabulary]."""
        if self._tokens is None:
            return probs
        ids = mx.broadcast_to(self._tokens, probs.shape)
        return mx.put_along_axis(mx.zeros((len(probs), self.vocabulary)), ids, probs, axis=-1)


def _columns(vocabulary: int, tokens: mx.array | None) -> mx.array | None:
    if tokens is None:
        return None
    columns = mx.arange(tokens.shape[0], dtype=mx.int32)
    return mx.put_along_axis(mx.full((vocabulary,), -1, mx.int32), tokens, columns, axis=0)


def full_head(trunk: Trunk) -> DraftHead:
    """Return the trunk's own LM head."""
    return DraftHead(trunk.unembed, trunk.vocabulary, None)


def trimmed_head(trunk: Trunk, tokens: Sequence[int], bits: int | None = None) -> DraftHead:
    """Return a copy of some rows of the trunk's LM head.

    Args:
        trunk: gives the rows.
        tokens: their ids, in any order; those outside the vocabulary are left out.
        bits: of a weight; None keeps the rows as they are.

    Raises:
        ValueError: no token is left.
    """
    kept = sorted({token for token in tokens if 0 <= token < trunk.vocabulary})
    if not kept:
        raise ValueError("a draft head needs at least one token")
    ids = mx.array(kept, mx.uint32)
    rows = trunk.lm_head_rows(ids)
    logits = _plain(rows) if bits is None else _quantised(rows, bits)
    return DraftHead(logits, trunk.vocabulary, ids)


def _plain(rows: mx.array) -> Callable[[mx.array], mx.array]:
    mx.eval(rows)
    return lambda hidden: hidden @ rows.T


def _quantised(rows: mx.array, bits: int) -> Callable[[mx.array], mx.array]:
    packed = Packed(*mx.quantize(rows, group_size=_GROUP, bits=bits), _GROUP, bits)
    mx.eval(packed.weight, packed.scales, packed.biases)
    if packed_rows.is_there():
        return _on_cpu(packed, *rows.shape)

    def logits(hidden: mx.array) -> mx.array:
        return quant_matvec(hidden, packed)

    return logits


def _on_cpu(packed: Packed, columns: int, inputs: int) -> Callable[[mx.array], mx.array]:
    layer = nn.QuantizedLinear(inputs, columns, False, _GROUP, packed.bits)  # noqa: FBT003 - MLX's
    layer.update({"weight": packed.weight, "scales": packed.scales, "biases": packed.biases})
    packed_rows.use_packed_rows(layer)
    return lambda hidden: layer(hidden)
