"""Qwen3.5's blocks, recurrence and head in float64 NumPy, written from the equations.

Shares no code with the engine, and none with MLX: one row at a time, one head at a time. A
model's weights come by their published names with gains as they multiply.

    gated DeltaNet   Yang, Kautz, Hatamizadeh 2024, arXiv:2412.06464
    rotary embedding Su et al. 2021, arXiv:2104.09864
    gated attention  Qiu et al. 2025, arXiv:2505.06708
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray
Weights = dict[str, Array]

EPS = 1e-6


def rms_norm(x: Array, gain: Array | float, eps: float = EPS) -> Array:
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps) * gain


def silu(x: Array) -> Array:
    return x / (1 + np.exp(-x))


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def swiglu(x: Array, weights: Weights, name: str) -> Array:
    gate, up = x @ weights[f"{name}.gate_proj.weight"].T, x @ weights[f"{name}.up_proj.weight"].T
    return (silu(gate) * up) @ weights[f"{name}.down_proj.weight"].T


def experts(x: Array, weights: Weights, name: str, top: int) -> Array:
    """Softmax over all experts, the best few renormalised, and a gated shared one."""
    out = np.zeros_like(x)
    for t, row in enumerate(x):
        scores = np.exp(row @ weights[f"{name}.gate.weight"].T)
        scores /= scores.sum()
        best = np.argsort(-scores)[:top]
        for expert in best:
            part = {
                f"e.{kind}.weight": weights[f"{name}.switch_mlp.{kind}.weight"][expert]
                for kind in ("gate_proj", "up_proj", "down_proj")
            }
            out[t] += scores[expert] / scores[best].sum() * swiglu(row, part, "e")
        shared = sigmoid(row @ weights[f"{name}.shared_expert_gate.weight"].T)
        out[t] += shared * swiglu(row, weights, f"{name}.shared_expert")
    return out


def rotate(x: Array, position: int, dims: int, base: float) -> Array:
    """Turn the first dims of a head's row by its position; halves are paired."""
    angles = position * base ** (-np.arange(0, dims, 2) / dims)
    cos, sin = np.cos(angles), np.sin(angles)
    a, b = x[: dims // 2], x[dims // 2 : dims]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin, x[dims:]])


def attention(x: Array, weights: Weights, name: str, config: dict[str, Any]) -> Array:
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    width = config["head_dim"]
    dims, base = int(width * config["partial_rotary_factor"]), config["rope_theta"]
    wide = (x @ weights[f"{name}.q_proj.weight"].T).reshape(len(x), heads, 2 * width)
    query, gate = wide[..., :width], wide[..., width:]
    key = (x @ weights[f"{name}.k_proj.weight"].T).reshape(len(x), kv_heads, width)
    value = (x @ weights[f"{name}.v_proj.weight"].T).reshape(len(x), kv_heads, width)
    query = rms_norm(query, weights[f"{name}.q_norm.weight"])
    key = rms_norm(key, weights[f"{name}.k_norm.weight"])
    out = np.zeros((len(x), heads, width))
    for head in range(heads):
        shared = head // (heads // kv_heads)
        for t in range(len(x)):
            q = rotate(query[t, head], t, dims, base)
            scores = np.array(
                [q @ rotate(key[s, shared], s, dims, base) for s in range(t + 1)]
            ) / np.sqrt(width)
            mix = np.exp(scores - scores.max())
            out[t, head] = (mix / mix.sum()) @ value[: t + 1, shared] * sigmoid(gate[t, head])
    return out.reshape(len(x), -1) @ weights[f"{name}.o_proj.weight"].T


def delta_net(x: Array, weights: Weights, name: str, config: dict[str, Any]) -> Array:
    heads, key_heads = config["linear_num_value_heads"], config["linear_num_key_heads"]
    dk, dv = config["linear_key_head_dim"], config["linear_value_head_dim"]
    window = config["linear_conv_kernel_dim"]
    mixed = x @ weights[f"{name}.in_proj_qkv.weight"].T
    filters = weights[f"{name}.conv1d.weight"].reshape(mixed.shape[1], window)
    padded = np.concatenate([np.zeros((window - 1, mixed.shape[1])), mixed])
    conved = silu(
        np.stack([(padded[t : t + window].T * filters).sum(axis=1) for t in range(len(x))])
    )
    q, k, v = np.split(conved, [key_heads * dk, 2 * key_heads * dk], axis=1)
    q, k = q.reshape(len(x), key_heads, dk), k.reshape(len(x), key_heads, dk)
    v = v.reshape(len(x), heads, dv)
    q = q / np.sqrt((q * q).sum(axis=-1, keepdims=True) + 1e-6) / np.sqrt(dk)
    k = k / np.sqrt((k * k).sum(axis=-1, keepdims=True) + 1e-6)
    beta = sigmoid(x @ weights[f"{name}.in_proj_b.weight"].T)
    step = np.log1p(np.exp(x @ weights[f"{name}.in_proj_a.weight"].T + weights[f"{name}.dt_bias"]))
    decay = np.exp(-np.exp(weights[f"{name}.A_log"]) * step)
    z = (x @ weights[f"{name}.in_proj_z.weight"].T).reshape(len(x), heads, dv)
    out = np.zeros((len(x), heads, dv))
    for head in range(heads):
        state = np.zeros((dv, dk))
        shared = head // (heads // key_heads)
        for t in range(len(x)):
            state = decay[t, head] * state
            innovation = beta[t, head] * (v[t, head] - state @ k[t, shared])
            state = state + np.outer(innovation, k[t, shared])
            out[t, head] = state @ q[t, shared]
    normed = rms_norm(out, weights[f"{name}.norm.weight"]) * silu(z)
    return normed.reshape(len(x), -1) @ weights[f"{name}.out_proj.weight"].T


def block(x: Array, weights: Weights, name: str, config: dict[str, Any]) -> Array:
    normed = rms_norm(x, weights[f"{name}.input_layernorm.weight"])
    if f"{name}.linear_attn.A_log" in weights:
        h = x + delta_net(normed, weights, f"{name}.linear_attn", config)
    else:
        h = x + attention(normed, weights, f"{name}.self_attn", config)
    normed = rms_norm(h, weights[f"{name}.post_attention_layernorm.weight"])
    if f"{name}.mlp.gate.weight" in weights:
        return h + experts(normed, weights, f"{name}.mlp", config["num_experts_per_tok"])
    return h + swiglu(normed, weights, f"{name}.mlp")


def trunk(tokens: list[int], weights: Weights, config: dict[str, Any]) -> tuple[Array, Array]:
    """Return logits [n, vocabulary] and hidden rows after the final norm [n, width]."""
    x = weights["model.embed_tokens.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        x = block(x, weights, f"model.layers.{layer}", config)
    hidden = rms_norm(x, weights["model.norm.weight"])
    return hidden @ weights["lm_head.weight"].T, hidden


def head(
    hidden: Array, tokens: list[int], weights: Weights, config: dict[str, Any]
) -> tuple[Array, Array]:
    """Return draft logits and the rows to recycle, for n pairs of hidden row and next token."""
    embedded = rms_norm(
        weights["model.embed_tokens.weight"][tokens], weights["mtp.pre_fc_norm_embedding.weight"]
    )
    normed = rms_norm(hidden, weights["mtp.pre_fc_norm_hidden.weight"])
    u = np.concatenate([embedded, normed], axis=1) @ weights["mtp.fc.weight"].T
    recycled = rms_norm(block(u, weights, "mtp.layers.0", config), weights["mtp.norm.weight"])
    return recycled @ weights["lm_head.weight"].T, recycled
