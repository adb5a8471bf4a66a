"""A head over pairs: two norms, a projection of both, layers of the trunk's kind, a final norm.

u      = projection(concat(norm(E[next token]), norm(hidden)))
g      = layers(u)
logits = LM head(norm(g)),  and g or norm(g), as the family has it, is recycled

The layers are mlx-lm's own, built as a model of the trunk's class with as many layers as the
head has; that model's embedding only hands u through, its final norm is the head's. Where it would ask
the cache of a recurrent layer for a mask, an empty one stands behind the others.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Mapping
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import ArraysCache

from engine.errors import HeadError
from engine.model.cache import Cache, LayerCache, trunk_cache
from engine.model.draft_head import DraftHead, full_head
from engine.model.gated_attention import reads_written
from engine.model.steps import PassParts, Progress, Replay, unheard
from engine.model.trunk import NormTap, Trunk, body_of, embedding_name, norm_name
from engine.verdict.families import Family

__all__ = ["PairHead"]


class PairHead(nn.Module):
    """See the module; its cache holds one entry a trunk position.

    Args:
        shell: mlx-lm's model that holds the layers; its embedding and final norm are replaced.
        trunk: its embedding and LM head are shared.
        width: of the hidden rows.
        family: its contract.
    """

    def __init__(self, shell: nn.Module, trunk: Trunk, width: int, family: Family) -> None:
        super().__init__()
        body = body_of(shell)
        embedding, norm = embedding_name(body), norm_name(body)
        eps = getattr(body[norm], "eps", None)
        if not isinstance(eps, float):
            raise HeadError("its family's norm is not one this version knows")
        body[embedding] = nn.Identity()
        has_norm = family.parts is not None and bool(family.parts.final_norm)
        final = nn.RMSNorm(width, eps) if has_norm else nn.Identity()
        body[norm] = NormTap(final, "pre")
        self.embedding_norm = nn.RMSNorm(width, eps)
        self.hidden_norm = nn.RMSNorm(width, eps)
        self.projection: nn.Module = nn.Linear(2 * width, width, bias=False)
        self.body = body
        self._new_cache = functools.partial(trunk_cache, shell)
        self._spare: list[LayerCache] = []
        if hasattr(body, "ssm_idx"):
            body.ssm_idx = len(self.make_cache().layers)
            self._spare = [cast("LayerCache", ArraysCache(size=1))]
        self.final_norm_name = norm
        self.follow(family)
        self._blanks_first = family.blanks_first
        self._embed: Callable[[mx.array], mx.array] = trunk.embed
        self.draft_head = full_head(trunk)
        self._passes: Replay | None = None

    def follow(self, family: Family) -> None:
        """Take the order of the inputs and the recycled row from a contract."""
        self._is_embedding_first = family.concat == "embedding,hidden"
        self._recycle = family.recycle

    @property
    def final_norm(self) -> NormTap:
        """The head's last norm, and the tap around it."""
        tap = self.body[self.final_norm_name]
        if not isinstance(tap, NormTap):
            raise HeadError("the head's final norm is gone")
        return tap

    def keep_own(self, matrices: Mapping[str, nn.Module]) -> None:
        """Use the head's own "embedding" or "lm_head" in place of the trunk's."""
        for name, matrix in matrices.items():
            self[name] = matrix
        if "embedding" in matrices:
            self._embed = _call_of(matrices["embedding"])
        if "lm_head" in matrices:
            matrix = matrices["lm_head"]
            self.draft_head = DraftHead(_call_of(matrix), matrix["weight"].shape[0], None)

    def make_cache(self) -> Cache:
        """Return an empty cache for one request."""
        return self._new_cache()

    def forward(self, hidden: mx.array, tokens: mx.array, cache: Cache) -> mx.array:
        """Run the head; see `engine.model.head.Head.forward`."""
        before, after = self.run(hidden, tokens, cache)
        return before if self._recycle == "pre" else after

    def run(self, hidden: mx.array, tokens: mx.array, cache: Cache) -> tuple[mx.array, mx.array]:
        """Run the head; return its rows before and after its final norm."""
        rows = tokens.shape[0]
        if self._passes is not None and self._passes.can_run(rows, cache.layers):
            inputs = [hidden, tokens.astype(mx.uint32)]
            (before, after), tapes = self._passes.run(inputs, rows, cache.layers)
            cache.wrote(rows, tapes)
            return before, after
        is_first = not cache.length + cache.open
        before, after = self._rows(hidden, tokens, cache.layers, is_first=is_first)
        cache.wrote(rows)
        return before, after

    def _rows(
        self, hidden: mx.array, tokens: mx.array, layers: list[Any], *, is_first: bool
    ) -> tuple[mx.array, mx.array]:
        embedded = self.embedding_norm(self._embed(tokens[None]))
        if self._blanks_first and is_first:
            embedded = embedded * (mx.arange(tokens.shape[0]) > 0)[:, None]
        pair = [embedded, self.hidden_norm(hidden)]
        pair = pair if self._is_embedding_first else pair[::-1]
        u = self.projection(mx.concatenate(pair, axis=-1))
        normed = self.body(u, [*layers, *self._spare])
        return self.final_norm.take(), normed

    def replay_passes(self, progress: Progress = unheard) -> str:
        """Repeat passes over few rows as graphs from now on, once one was found equal.

        Its weights and its LM head must be final by then.

        Args:
            progress: told the stage and how much of how much is done; may raise to end it.

        Returns:
            Why passes are built anew each time though they could be graphs; empty where not.
        """
        own = functools.partial(PairHead._pass, weakref.proxy(self))
        attends = reads_written(self.body, self.make_cache().layers)
        self._passes = passes = Replay(PassParts("draft passes", own, reads_written=attends))
        run = functools.partial(self._open, self._begun())
        if not passes.prepare(self._trial, run, progress) and not passes.note:
            self._passes = None
        return passes.note

    def _pass(self, inputs: list[mx.array], layers: list[Any]) -> list[mx.array]:
        hidden, tokens = inputs
        return [*self._rows(hidden, tokens, layers, is_first=False)]

    def _begun(self) -> Cache:
        """Return a cache that holds a few positions."""
        cache = self.make_cache()
        self.run(*self._made_up(3), cache)
        cache.commit(3)
        return cache

    def _open(self, cache: Cache, rows: int) -> mx.array:
        """Run over made-up rows and undo them; return what came out."""
        _, normed = self.run(*self._made_up(rows), cache)
        cache.commit(0)
        return normed

    def _made_up(self, rows: int) -> tuple[mx.array, mx.array]:
        tokens = mx.arange(rows, dtype=mx.uint32)
        embedded = self._embed(tokens[None])
        shape = (1, rows, self.hidden_norm["weight"].shape[0])
        return mx.random.normal(shape, embedded.dtype, key=mx.random.key(rows)), tokens

    def _trial(self) -> mx.array:
        """Return rows of passes that take in true ones and draft; [rows, hidden]."""
        cache = self._begun()
        passes = [self._open(cache, rows) for rows in (1, 4, 1)]
        return mx.concatenate(passes, axis=1)[0].astype(mx.float32)

    def logits(self, recycled: mx.array) -> mx.array:
        """Return draft logits; see `engine.model.head.Head.logits`."""
        normed = self.final_norm.norm(recycled) if self._recycle == "pre" else recycled
        return self.draft_head.logits(normed)[0]


def _call_of(module: nn.Module) -> Callable[[mx.array], mx.array]:
    """Return what calls a module as it is by then: it may be given a faster class."""

    def call(rows: mx.array) -> mx.array:
        return module(rows)

    return call
