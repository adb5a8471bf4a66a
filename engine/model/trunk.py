"""An mlx-lm model with the hidden state before its last norm tapped. Copies none of its code."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

from engine.errors import HeadError
from engine.model.cache import Cache, trunk_cache

__all__ = ["Trunk", "TrunkOutput"]


@dataclass(frozen=True, slots=True)
class TrunkOutput:
    """One pass of the trunk over n positions."""

    logits: mx.array
    """[n, vocabulary]."""
    hidden: mx.array | None
    """[1, n, hidden], before the final norm; None where the trunk isn't tapped."""


class _NormTap(nn.Module):
    """The trunk's final norm, which also keeps what went into it."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self._seen: list[mx.array] = []

    def __call__(self, x: mx.array) -> mx.array:
        self._seen[:] = [x]
        return self.norm(x)

    def take(self) -> mx.array:
        """Return the newest input, and let go of it."""
        return self._seen.pop()


class Trunk:
    """The model proper."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._tap: _NormTap | None = None

    def tap(self) -> None:
        """Keep the hidden rows from now on.

        Raises:
            HeadError: the model has no final norm where mlx-lm's text models have it.
        """
        inner = getattr(self.model, "model", None)
        norm = getattr(inner, "norm", None)
        if inner is None or norm is None:
            raise HeadError("the trunk's last norm was not found, so its head can't be fed")
        self._tap = _NormTap(norm)
        inner.norm = self._tap

    def make_cache(self) -> Cache:
        """Return empty caches for one request."""
        return trunk_cache(self.model)

    def forward(self, tokens: mx.array, cache: Cache) -> TrunkOutput:
        """Run the model over the next positions; the cache's window grows by them.

        Args:
            tokens: integer [n].
            cache: of the request.
        """
        logits = self.model(tokens[None], cache=cache.layers)
        cache.wrote(tokens.shape[0])
        return TrunkOutput(logits[0], None if self._tap is None else self._tap.take())

    def embed(self, tokens: mx.array) -> mx.array:
        """Return the input embeddings of tokens; integer [..., n] to [..., n, hidden]."""
        return self.model.model.embed_tokens(tokens)

    def unembed(self, hidden: mx.array) -> mx.array:
        """Return the logits of normed hidden rows; [..., hidden] to [..., vocabulary]."""
        lm_head = getattr(self.model, "lm_head", None)
        return lm_head(hidden) if lm_head else self.model.model.embed_tokens.as_linear(hidden)

    @property
    def vocabulary(self) -> int:
        """How many columns the logits have."""
        return self._lm_head().weight.shape[0]

    def lm_head_rows(self, tokens: mx.array) -> mx.array:
        """Return rows of the LM head, unpacked; integer [n] to [n, hidden]."""
        layer = self._lm_head()
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

    def _lm_head(self) -> nn.Module:
        """Return the module that holds the LM head's weights, tied to the embedding or not."""
        return getattr(self.model, "lm_head", None) or self.model.model.embed_tokens
