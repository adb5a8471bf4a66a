"""Every family's head in float64 NumPy, written from the equations; a text at once, teacher-forced.

Shares no code with the engine and none with MLX. A layer's weights come by mlx-lm's names, with
gains as they multiply; what a family's head is made of stands in `HEADS`, in a table of its own.

    latent attention  DeepSeek-V2, arXiv:2405.04434
    routing           DeepSeek-V3, arXiv:2412.19437: sigmoid scores, a bias that only chooses
    indexer           DeepSeek-V3.2, arXiv:2512.02556: the best few keys of each query
    sinks             gpt-oss, arXiv:2508.10925: a logit a head that takes weight and gives nothing
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tests.fakes import reference
from tests.fakes.reference import Array, Weights, rms_norm, sigmoid, silu, swiglu

Config = Mapping[str, Any]
Part = Callable[[Array, Weights, Config], Array]


def turned(x: Array, dims: int, base: float, *, is_interleaved: bool) -> Array:
    """Turn the first dims of [n, heads, width] by their positions; pairs are halves or neighbours."""
    angles = np.arange(len(x))[:, None] * base ** (-np.arange(0, dims, 2) / dims)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    first = slice(0, dims, 2) if is_interleaved else slice(0, dims // 2)
    second = slice(1, dims, 2) if is_interleaved else slice(dims // 2, dims)
    out = x.copy()
    out[..., first] = x[..., first] * cos - x[..., second] * sin
    out[..., second] = x[..., second] * cos + x[..., first] * sin
    return out


def past(rows: int, window: int | None = None) -> Array:
    """Return which keys [rows, rows] a query may see: its own and those before it, or a few of them."""
    back = np.arange(rows)[:, None] - np.arange(rows)[None]
    return (back >= 0) & (back < (window or rows))


def attend(
    query: Array, key: Array, value: Array, seen: Array, sinks: Array | None = None
) -> Array:
    """Return [n, heads x value width] of [n, heads, width] queries over keys of as many or fewer heads."""
    share = query.shape[1] // key.shape[1]
    key, value = np.repeat(key, share, axis=1), np.repeat(value, share, axis=1)
    scores = np.einsum("thd,shd->hts", query, key) / np.sqrt(query.shape[-1])
    mix = np.exp(np.where(seen, scores, -np.inf))
    total = mix.sum(axis=-1, keepdims=True)
    if sinks is not None:
        total = total + np.exp(sinks)[:, None, None]
    return np.einsum("hts,shd->thd", mix / total, value).reshape(len(query), -1)


def linear(x: Array, w: Weights, name: str) -> Array:
    return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0)


@dataclass(frozen=True)
class Grouped:
    """Attention in which several queries share a key."""

    width: str = "head_dim"
    """Key of the config; empty: the hidden width by the heads."""
    turn: float | None = 1.0
    """Share of the width that is rotated; None: positions are not told apart."""
    is_interleaved: bool = False
    is_normed: bool = False
    window: str = ""
    sinks: str = ""
    name: str = "self_attn"

    def __call__(self, x: Array, w: Weights, c: Config) -> Array:
        heads, shared = c["num_attention_heads"], c["num_key_value_heads"]
        width = c[self.width] if self.width else c["hidden_size"] // heads
        query = linear(x, w, f"{self.name}.q_proj").reshape(len(x), heads, width)
        key = linear(x, w, f"{self.name}.k_proj").reshape(len(x), shared, width)
        value = linear(x, w, f"{self.name}.v_proj").reshape(len(x), shared, -1)
        if self.is_normed:
            query = rms_norm(query, w[f"{self.name}.q_norm.weight"])
            key = rms_norm(key, w[f"{self.name}.k_norm.weight"])
        if self.turn is not None:
            dims = int(self.turn * width)
            query, key = (
                turned(part, dims, c["rope_theta"], is_interleaved=self.is_interleaved)
                for part in (query, key)
            )
        seen = past(len(x), c[self.window] if self.window else None)
        sinks = w[f"{self.name}.{self.sinks}"] if self.sinks else None
        return linear(attend(query, key, value, seen, sinks), w, f"{self.name}.o_proj")


@dataclass(frozen=True)
class Latent:
    """Attention over keys and values that one low-rank row a position unfolds to."""

    is_turned: bool = True
    indexer: Literal["", "halves", "neighbours"] = ""
    """How its rotary pairs lie; empty where there is none."""
    name: str = "self_attn"
    out: str = "o_proj"
    gate: str = ""
    """Of each head's output."""

    def __call__(self, x: Array, w: Weights, c: Config) -> Array:
        rank, plain, turning = c["kv_lora_rank"], c["qk_nope_head_dim"], c["qk_rope_head_dim"]
        low = rms_norm(
            linear(x, w, f"{self.name}.q_a_proj"), w[f"{self.name}.q_a_layernorm.weight"]
        )
        query = linear(low, w, f"{self.name}.q_b_proj").reshape(
            len(x), c["num_attention_heads"], plain + turning
        )
        both = linear(x, w, f"{self.name}.kv_a_proj_with_mqa")
        latent = rms_norm(both[:, :rank], w[f"{self.name}.kv_a_layernorm.weight"])
        shared = np.repeat(both[:, None, rank:], query.shape[1], axis=1)
        query_end = query[..., plain:]
        if self.is_turned:
            query_end, shared = (
                turned(part, turning, c["rope_theta"], is_interleaved=True)
                for part in (query_end, shared)
            )
        # What mlx-lm keeps in two: [heads, rank, plain] of keys, [heads, value, rank] of values.
        key = np.einsum("nr,hrd->nhd", latent, w[f"{self.name}.embed_q.weight"])
        value = np.einsum("nr,hvr->nhv", latent, w[f"{self.name}.unembed_out.weight"])
        seen = past(len(x))
        if self.indexer:
            seen = seen & self._chosen(x, low, w, c)
        rows = attend(
            np.concatenate([query[..., :plain], query_end], axis=-1),
            np.concatenate([key, shared], axis=-1),
            value,
            seen,
        )
        if self.gate:
            gate = sigmoid(linear(x, w, f"{self.name}.{self.gate}"))
            rows = (rows.reshape(len(x), gate.shape[1], -1) * gate[..., None]).reshape(len(x), -1)
        return linear(rows, w, f"{self.name}.{self.out}")

    def _chosen(self, x: Array, low: Array, w: Weights, c: Config) -> Array:
        name, heads, few = f"{self.name}.indexer", c["index_n_heads"], c["index_topk"]
        query = linear(low, w, f"{name}.wq_b").reshape(len(x), heads, -1)
        key = linear(x, w, f"{name}.wk")
        key = key - key.mean(axis=-1, keepdims=True)
        key = key / np.sqrt(key.var(axis=-1, keepdims=True) + 1e-5)
        key = key * w[f"{name}.k_norm.weight"] + w[f"{name}.k_norm.bias"]
        query, key = (
            turned(
                part, c["qk_rope_head_dim"], c["rope_theta"],
                is_interleaved=self.indexer == "neighbours",
            )
            for part in (query, key[:, None])
        )  # fmt: skip
        hits = np.maximum(np.einsum("thd,sd->ths", query, key[:, 0]), 0)
        scores = np.einsum("ths,th->ts", hits, linear(x, w, f"{name}.weights_proj"))
        scores = np.where(past(len(x)), scores, -np.inf)
        order = np.argsort(-scores, axis=-1)[:, :few]
        chosen = np.zeros_like(scores, dtype=bool)
        np.put_along_axis(chosen, order, values=True, axis=-1)
        return chosen


def dense(x: Array, w: Weights, c: Config) -> Array:
    return swiglu(x, w, "mlp")


def squared(x: Array, up: Array, down: Array) -> Array:
    return np.maximum(x @ up.T, 0) ** 2 @ down.T


def softly_capped(x: Array, up: Array, gate: Array, beta: float) -> Array:
    slope = x @ gate.T
    return beta * np.tanh(slope / beta) * sigmoid(slope) * (x @ up.T)


@dataclass(frozen=True)
class Experts:
    """The best few of many MLPs by sigmoid scores, and one that all rows go through."""

    gate: str = "mlp.gate.weight"
    bias: str = "mlp.gate.e_score_correction_bias"
    top: str = "num_experts_per_tok"
    name: str = "mlp"
    kind: Literal["swiglu", "squared", "situ"] = "swiglu"

    def __call__(self, x: Array, w: Weights, c: Config) -> Array:
        scores = sigmoid(x @ w[self.gate].T)
        out = np.zeros_like(x)
        for t, row in enumerate(x):
            best = self._best(scores[t] + w[self.bias], c)
            weights = c["routed_scaling_factor"] * scores[t][best] / scores[t][best].sum()
            for weight, expert in zip(weights, best, strict=True):
                out[t] += weight * self._expert(row, w, c, f"{self.name}.switch_mlp", expert)
        return out + self._expert(x, w, c, f"{self.name}.shared_experts", None)

    def _best(self, scores: Array, c: Config) -> Array:
        """Choose groups by the sum of their two best, then experts among them."""
        groups = scores.reshape(c.get("n_group", 1), -1)
        two = np.sort(groups, axis=-1)[:, -2:].sum(axis=-1)
        kept = np.argsort(-two)[: c.get("topk_group", 1)]
        left = np.full_like(groups, -np.inf)
        left[kept] = groups[kept]
        return np.argsort(-left.ravel())[: c[self.top]]

    def _expert(self, x: Array, w: Weights, c: Config, name: str, expert: int | None) -> Array:
        def matrix(kind: str) -> Array:
            weight = w[f"{name}.{kind}.weight"]
            return weight if expert is None else weight[expert]

        if self.kind == "squared":
            names = ("up_proj", "down_proj") if expert is None else ("fc1", "fc2")
            return squared(x, matrix(names[0]), matrix(names[1]))
        up, gate, down = matrix("up_proj"), matrix("gate_proj"), matrix("down_proj")
        if self.kind == "situ":
            return softly_capped(x, up, gate, c["activation_situ_beta"]) @ down.T
        return (silu(x @ gate.T) * (x @ up.T)) @ down.T


@dataclass(frozen=True)
class Block:
    """A layer: attention and MLP, each behind a norm and added to what came in."""

    attention: Part
    mlp: Part

    def __call__(self, x: Array, w: Weights, c: Config) -> Array:
        h = x + self.attention(rms_norm(x, w["input_layernorm.weight"]), w, c)
        return h + self.mlp(rms_norm(h, w["post_attention_layernorm.weight"]), w, c)


@dataclass(frozen=True)
class Sublayer:
    """Half a layer: one norm, one mixer."""

    mixer: Part

    def __call__(self, x: Array, w: Weights, c: Config) -> Array:
        return x + self.mixer(rms_norm(x, w["norm.weight"], c["layer_norm_epsilon"]), w, c)


def qwen(x: Array, w: Weights, c: Config) -> Array:
    return reference.block(x, {f"l.{key}": value for key, value in w.items()}, "l", dict(c))


@dataclass(frozen=True)
class HeadOf:
    """What a family's head is made of, and how it is fed."""

    layers: tuple[Part, ...]
    trunk_row: Literal["pre", "post"] = "post"
    recycled: Literal["pre", "post"] = "post"
    is_hidden_first: bool = False
    blanks_first: bool = False
    eps: str = "rms_norm_eps"


SIGMOID = Experts()
HEADS: dict[str, HeadOf] = {
    "qwen3_5": HeadOf((qwen,)),
    "qwen3_5_moe": HeadOf((qwen,)),
    "qwen3_next": HeadOf((qwen,)),
    "deepseek_v3": HeadOf((Block(Latent(), SIGMOID),), blanks_first=True),
    "deepseek_v32": HeadOf((Block(Latent(indexer="halves"), SIGMOID),), blanks_first=True),
    "glm_moe_dsa": HeadOf((Block(Latent(indexer="neighbours"), SIGMOID),)),
    "glm4_moe_lite": HeadOf((Block(Latent(), SIGMOID),)),
    "glm4_moe": HeadOf((Block(Grouped(turn=0.5, is_normed=True), SIGMOID),)),
    "mimo": HeadOf(
        (Block(Grouped(width=""), dense),), trunk_row="pre", recycled="pre", is_hidden_first=True
    ),
    "mimo_v2_flash": HeadOf(
        (
            Block(
                Grouped(turn=0.5, window="sliding_window_size", sinks="attention_sink_bias"), dense
            ),
        ),
        recycled="pre",
        eps="layernorm_epsilon",
    ),
    "nemotron_h": HeadOf(
        (
            Sublayer(Grouped(turn=None, name="mixer")),
            Sublayer(
                Experts(
                    "mixer.gate.weight", "mixer.gate.e_score_correction_bias",
                    name="mixer", kind="squared",
                )
            ),
        ),
        eps="layer_norm_epsilon",
    ),
    "ernie4_5_moe": HeadOf((Block(Grouped(width="", is_interleaved=True), dense),)),
    "exaone_moe": HeadOf((Block(Grouped(is_normed=True, window="sliding_window"), SIGMOID),)),
    "bailing_hybrid": HeadOf(
        (
            Block(
                Latent(name="attention", out="dense"),
                Experts("mlp.gate.gate_proj.weight", "mlp.gate.expert_bias"),
            ),
        )
    ),
    "bailing_moe_v3": HeadOf(
        (
            Block(
                Latent(name="attention", out="dense", gate="g_proj"),
                Experts(bias="mlp.gate.expert_bias"),
            ),
        )
    ),
    "kimi_k3": HeadOf(
        (
            Block(
                Latent(is_turned=False),
                Experts(bias="mlp.e_score_correction_bias", top="num_experts_per_token", kind="situ"),
            ),
        ),
        trunk_row="pre",
        recycled="pre",
    ),
}  # fmt: skip
"""By the tiny checkpoint's name."""


@dataclass(frozen=True)
class Rows:
    """What a head makes of n pairs of a hidden row and the token behind it."""

    before: Array
    """[n, width], before its final norm, and behind it:"""
    after: Array
    logits: Array


def head(
    name: str, names: Mapping[str, str], hidden: Array, tokens: list[int], w: Weights, c: Config
) -> Rows:
    """Run a head over pairs.

    Args:
        name: of the tiny checkpoint.
        names: of the head's parts in `w`.
        hidden: [n, width].
        tokens: n of them.
        w: weights of the head by those names, and the trunk's `embedding` and `lm_head`.
        c: the text's config.
    """
    made, eps = HEADS[name], c[HEADS[name].eps]
    embedded = w[f"{names['embedding']}.weight" if "embedding" in names else "embedding"][tokens]
    if made.blanks_first:
        embedded[0] = 0
    pair = [
        rms_norm(embedded, w[f"{names['embedding_norm']}.weight"], eps),
        rms_norm(hidden, w[f"{names['hidden_norm']}.weight"], eps),
    ]
    if made.is_hidden_first:
        pair.reverse()
    x = np.concatenate(pair, axis=1) @ w[f"{names['projection']}.weight"].T
    for index, layer in enumerate(made.layers):
        prefix = names["layers"].replace("{j}", str(index))
        own = {k.removeprefix(prefix): v for k, v in w.items() if k.startswith(prefix)}
        x = layer(x, own, c)
    after = rms_norm(x, w[f"{names['final_norm']}.weight"], eps) if "final_norm" in names else x
    lm_head = w[f"{names['lm_head']}.weight" if "lm_head" in names else "lm_head"]
    return Rows(x, after, after @ lm_head.T)
