"""The head trained for the demo model: one llama block between two norms and the tied LM head.

u      = fc(concat(rmsnorm(E[next token]), rmsnorm(hidden)))
g      = block(u)
logits = LM head(rmsnorm(g)),  and g, before that norm, is recycled for the next depth
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models import llama
from mlx_lm.models.base import create_attention_mask

from engine.errors import HeadError
from engine.model.arrays import read_arrays
from engine.model.cache import Cache, kv_cache
from engine.model.draft_head import DraftHead, full_head, trimmed_head
from engine.model.trunk import Trunk
from engine.verdict.families import Family

__all__ = ["DemoHead", "load_demo_head"]


class DemoHead(nn.Module):
    """See the module; its cache holds one entry a trunk position.

    Without a `draft_head` drafts are drawn through the trunk's own LM head.
    """

    def __init__(
        self,
        args: llama.ModelArgs,
        trunk: Trunk,
        family: Family,
        draft_head: DraftHead | None = None,
    ) -> None:
        super().__init__()
        self.pre_fc_norm_embedding = nn.RMSNorm(args.hidden_size, args.rms_norm_eps)
        self.pre_fc_norm_hidden = nn.RMSNorm(args.hidden_size, args.rms_norm_eps)
        self.fc = nn.Linear(2 * args.hidden_size, args.hidden_size, bias=False)
        self.layers = [llama.TransformerBlock(args)]
        self.norm = nn.RMSNorm(args.hidden_size, args.rms_norm_eps)
        self._is_embedding_first = family.concat == "embedding,hidden"
        self._embed: Callable[[mx.array], mx.array] = trunk.embed
        self.draft_head = draft_head or full_head(trunk)

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
        return self.draft_head.logits(self.norm(recycled))[0]


def load_demo_head(
    path: Path, args: llama.ModelArgs, trunk: Trunk, family: Family, tokens: Sequence[int]
) -> DemoHead:
    """Return the head with the weights of a safetensors file, in the trunk's precision.

    Args:
        path: of the file.
        args: the trunk's shape.
        trunk: that the head belongs to.
        family: its contract.
        tokens: that can be drafted. On a GPU, where a draft reads most of all its LM head, their
            rows are packed in 4 bits; a CPU multiplies floats faster.

    Raises:
        HeadError: a tensor is missing, too many or of the wrong shape.
    """
    is_cpu = mx.default_device() == mx.cpu
    draft_head = trimmed_head(trunk, tokens, None if is_cpu else 4)
    head = DemoHead(args, trunk, family, draft_head)
    weights = read_arrays(path)
    dtype = mx.float32 if is_cpu else mx.bfloat16
    try:
        head.load_weights(
            [
                (name.removeprefix(family.prefixes[0]), w.astype(dtype))
                for name, w in weights.items()
            ]
        )
    except ValueError as error:
        raise HeadError(f"the demo head does not fit its trunk: {error}") from error
    mx.eval(head.parameters())
    return head
