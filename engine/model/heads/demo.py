"""The head trained for the demo model: one llama block between two norms and the tied LM head.

u      = fc(concat(rmsnorm(E[next token]), rmsnorm(hidden)))
g      = block(u)
logits = LM head(rmsnorm(g)),  and g, before that norm, is recycled for the next depth
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models import llama
from mlx_lm.models.base import create_attention_mask

from engine.errors import HeadError
from engine.model.arrays import read_arrays
from engine.model.cache import Cache, kv_cache
from engine.model.trunk import Trunk
from engine.verdict.families import Family

__all__ = ["DemoHead", "load_demo_head"]


class DemoHead(nn.Module):
    """See the module; its cache holds one entry a trunk position."""

    def __init__(self, args: llama.ModelArgs, trunk: Trunk, family: Family) -> None:
        super().__init__()
        self.pre_fc_norm_embedding = nn.RMSNorm(args.hidden_size, args.rms_norm_eps)
        self.pre_fc_norm_hidden = nn.RMSNorm(args.hidden_size, args.rms_norm_eps)
        self.fc = nn.Linear(2 * args.hidden_size, args.hidden_size, bias=False)
        self.layers = [llama.TransformerBlock(args)]
        self.norm = nn.RMSNorm(args.hidden_size, args.rms_norm_eps)
        self._is_embedding_first = family.concat == "embedding,hidden"
        self._embed: Callable[[mx.array], mx.array] = trunk.embed
        self._unembed: Callable[[mx.array], mx.array] = trunk.unembed

    def make_cache(self) -> Cache:
        """Return an empty cache for one request."""
        return kv_cache(len(self.layers))

    def forward(self, hidden: mx.array, tokens: mx.array, cache: Cache) -> mx.array:
        """Run the head; see `engine.model.head.Head.forward`."""
        embedded = self.pre_fc_norm_embedding(self._embed(tokens[None]))
        normed = self.pre_fc_norm_hidden(hidden)
        pair = [embedded, normed] if self._is_embedding_first else [normed, embedded]
        u = self.fc(mx.concatenate(pair, axis=-1))
        (layer_cache,) = cache.layers
        mask = create_attention_mask(u, layer_cache)
        recycled = self.layers[0](u, mask, cache=layer_cache)
        cache.wrote(tokens.shape[0])
        return recycled

    def logits(self, recycled: mx.array) -> mx.array:
        """Return draft logits; see `engine.model.head.Head.logits`."""
        return self._unembed(self.norm(recycled))[0]


def load_demo_head(path: Path, args: llama.ModelArgs, trunk: Trunk, family: Family) -> DemoHead:
    """Return the head with the weights of a safetensors file, in the trunk's precision.

    Raises:
        HeadError: a tensor is missing, too many or of the wrong shape.
    """
    head = DemoHead(args, trunk, family)
    weights = read_arrays(path)
    dtype = mx.float32 if mx.default_device() == mx.cpu else mx.bfloat16
    try:
        head.load_weights(
            [(name.removeprefix(family.prefix), w.astype(dtype)) for name, w in weights.items()]
        )
    except ValueError as error:
        raise HeadError(f"the demo head does not fit its trunk: {error}") from error
    mx.eval(head.parameters())
    return head
