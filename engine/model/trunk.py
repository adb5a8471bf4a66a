"""An mlx-lm model with its last hidden state and its recurrent layers tapped.

Copies none of its code: mlx-lm's model is built and run as it is.
"""

from __future__ import annotations

import functools
import weakref
from dataclasses import dataclass
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn

from engine.errors import HeadError
from engine.model.cache import Cache, trunk_cache
from engine.model.gated_attention import reads_written
from engine.model.packed_rows import Tiled
from engine.model.recurrent import tap_recurrent_layers
from engine.model.residuals import settled
from engine.model.steps import PassParts, Progress, Replay, unheard
from engine.verdict.families import Side

__all__ = ["NormTap", "Trunk", "TrunkOutput", "body_of", "embedding_name", "norm_name"]

_NORMS = ("norm", "norm_f", "final_layernorm", "ln_f")
_EMBEDDINGS = ("embed_tokens", "word_embeddings", "embeddings", "wte")
_BODIES = ("model", "backbone", "transformer")


@dataclass(frozen=True, slots=True)
class TrunkOutput:
    """One pass of the trunk over n positions."""

    logits: mx.array
    """[n, vocabulary]."""
    hidden: mx.array | None
    """[1, n, hidden], before or after the final norm; None where the trunk isn't tapped."""


class NormTap(nn.Module):
    """The trunk's final norm, which also keeps what went into it or came out of it."""

    def __init__(self, norm: nn.Module, side: Side) -> None:
        super().__init__()
        self.norm = norm
        self._side = side
        self._seen: list[mx.array] = []

    def __call__(self, x: mx.array) -> mx.array:
        """Return the normed rows."""
        normed = settled(self.norm(x))
        self._seen[:] = [settled(x) if self._side == "pre" else normed]
        return normed

    def take(self) -> mx.array:
        """Return the newest hidden rows, and let go of them."""
        return self._seen.pop()


class Trunk:
    """The model proper; of a multimodal one, its text part."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._tap: NormTap | None = None
        self._taps = tap_recurrent_layers(model)
        self._steps: Replay | None = None

    @property
    def can_roll_back(self) -> bool:
        """Whether part of a window can be undone in all its caches."""
        return self.make_cache().can_roll_back

    def tap(self, side: Side = "pre") -> None:
        """Keep the hidden rows from now on, from before or after the final norm.

        Raises:
            HeadError: the model has no final norm where mlx-lm's text models have it.
        """
        body = body_of(self.model)
        name = norm_name(body)
        norm = body[name]
        self._tap = NormTap(norm.norm if isinstance(norm, NormTap) else norm, side)
        body[name] = self._tap

    def normed(self, hidden: mx.array) -> mx.array:
        """Return hidden rows behind the final norm; [1, n, hidden] to the same.

        Raises:
            HeadError: the trunk isn't tapped.
        """
        if self._tap is None:
            raise HeadError("the trunk's last norm is not tapped")
        return self._tap.norm(hidden)

    def make_cache(self) -> Cache:
        """Return empty caches for one request."""
        return trunk_cache(self.model, self._taps)

    def forward(self, tokens: mx.array, cache: Cache) -> TrunkOutput:
        """Run the model over the next positions; the cache's window grows by them.

        Args:
            tokens: integer [n].
            cache: of the request.
        """
        rows = tokens.shape[0]
        if self._steps is not None and self._steps.can_run(rows, cache.layers):
            (logits, *hidden), tapes = self._steps.run(
                [tokens.astype(mx.uint32)], rows, cache.layers
            )
            cache.wrote(rows, tapes)
            return TrunkOutput(logits[0], hidden[0] if hidden else None)
        logits = self.model(tokens[None], cache=cache.layers)
        cache.wrote(rows)
        return TrunkOutput(logits[0], self._hidden())

    def _hidden(self) -> mx.array | None:
        return None if self._tap is None else self._tap.take()

    @property
    def steps_note(self) -> str:
        """Why passes are not compiled though they could be; empty where they are."""
        return "" if self._steps is None else self._steps.note

    @property
    def compiled_graphs(self) -> int:
        """How many graphs of passes there are; 0 where none is compiled."""
        return 0 if self._steps is None else self._steps.count

    def _pass(self, inputs: list[mx.array], layers: list[Any]) -> list[mx.array]:
        logits = self.model(inputs[0][None], cache=layers)
        hidden = self._hidden()
        return [logits] if hidden is None else [logits, hidden]

    def compile_steps(self, progress: Progress = unheard) -> None:
        """Compile passes over few rows from now on, once one was found equal to the ordinary one.

        The trunk must not be tapped anew after that.

        Args:
            progress: told the stage and how much of how much is done; may raise to end it.
        """
        own = functools.partial(Trunk._pass, weakref.proxy(self))
        body = body_of(self.model)
        has_layers = isinstance(body.get("layers"), list)
        attends = reads_written(self.model, self.make_cache().layers)
        parts = PassParts("steps", own, self._taps, body if has_layers else None, attends)
        self._steps = Replay(parts)
        run = functools.partial(self._open, self._begun())
        if not self._steps.prepare(self._trial, run, progress) and not self._steps.note:
            self._steps = None

    def _begun(self) -> Cache:
        """Return a cache that holds a position."""
        cache = self.make_cache()
        self.forward(mx.zeros(1, mx.uint32), cache)
        cache.commit(1)
        return cache

    def _open(self, cache: Cache, rows: int) -> mx.array:
        """Run over made-up rows and undo them; return their logits."""
        logits = self.forward(mx.zeros(rows, mx.uint32), cache).logits
        cache.commit(0)
        return logits

    def _trial(self) -> mx.array:
        """Return the logits of passes that read, draft, roll back and go on; [rows, vocabulary]."""
        cache = self.make_cache()
        rows = []
        for count, kept in ((4, 4), (1, 1), (4, 2), (1, 1)):
            rows.append(self.forward(mx.arange(1, count + 1) % self.vocabulary, cache).logits)
            cache.commit(kept if cache.can_roll_back else count)
        logits = mx.concatenate(rows).astype(mx.float32)
        mx.eval(logits)
        return logits

    def embed(self, tokens: mx.array) -> mx.array:
        """Return the input embeddings of tokens; integer [..., n] to [..., n, hidden]."""
        return self.embedding(tokens)

    def unembed(self, hidden: mx.array) -> mx.array:
        """Return the logits of normed hidden rows; [..., hidden] to [..., vocabulary]."""
        lm_head = self.lm_head
        if isinstance(lm_head, (nn.Embedding, nn.QuantizedEmbedding)):
            return lm_head.as_linear(hidden)
        return lm_head(hidden)

    @property
    def lm_head(self) -> nn.Module:
        """The module that unembeds: the LM head, or the embedding tied to it."""
        lm_head = _text_model(self.model).get("lm_head")
        return lm_head if isinstance(lm_head, nn.Module) else self.embedding

    @property
    def embedding(self) -> nn.Embedding:
        """The module that embeds tokens.

        Raises:
            HeadError: it was not found where mlx-lm's text models have it.
        """
        body = body_of(self.model)
        return cast("nn.Embedding", body[embedding_name(body)])

    @property
    def vocabulary(self) -> int:
        """How many columns the logits have."""
        return self.lm_head.weight.shape[0]

    def lm_head_rows(self, tokens: mx.array) -> mx.array:
        """Return rows of the LM head, unpacked; integer [n] to [n, hidden]."""
        layer = self.lm_head
        if isinstance(layer, Tiled):
            return layer.unpacked(tokens)
        weight = layer.weight[tokens]
        if not isinstance(layer, (nn.QuantizedLinear, nn.QuantizedEmbedding)):
            return weight
        biases = None if layer.biases is None else layer.biases[tokens]
        return mx.dequantize(
            weight,
            layer.scales[tokens],
            biases,
            group_size=layer.group_size,
            bits=layer.bits,
            mode=layer.mode,
        )


def _text_model(model: nn.Module) -> nn.Module:
    inner = model.get("language_model")
    return _text_model(inner) if isinstance(inner, nn.Module) else model


def body_of(model: nn.Module) -> nn.Module:
    """Return the module of an mlx-lm model that holds embedding, layers and final norm."""
    text = _text_model(model)
    name = _first(text, _BODIES)
    return text if name is None else _text_model(text[name])


def embedding_name(body: nn.Module) -> str:
    """Return the name of a body's embedding.

    Raises:
        HeadError: it was not found where mlx-lm's text models have it.
    """
    name = _first(body, _EMBEDDINGS)
    if name is None:
        raise HeadError("the trunk's embedding was not found, so its head can't be fed")
    return name


def norm_name(body: nn.Module) -> str:
    """Return the name of a body's final norm.

    Raises:
        HeadError: it was not found where mlx-lm's text models have it.
    """
    name = _first(body, _NORMS)
    if name is None:
        raise HeadError("the trunk's last norm was not found, so its head can't be fed")
    return name


def _first(module: nn.Module, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if isinstance(module.get(name), nn.Module)), None)
