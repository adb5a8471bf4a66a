"""The demo model's GGUF file, brought to mlx-lm's llama class.

MLX reads the file, but only after its header was checked (`engine.verdict.gguf_headers`): a
malformed one crashes MLX. Weights stay packed where that is multiplied fast: on a GPU, and on a CPU with a kernel
for it (`engine.model.packed_rows`). On another CPU they are unpacked once and kept in a cache folder.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models import llama

from engine.errors import ModelFileError
from engine.made_files import made_whole
from engine.model import packed_rows
from engine.model.arrays import read_arrays, read_with_metadata
from engine.model.gguf_tokenizer import build_tokenizer
from engine.model.tokenizer import Tokenizer
from engine.verdict.gguf_headers import check_gguf

__all__ = ["GgufModel", "load_gguf"]

_log = logging.getLogger(__name__)
_GROUP = 32
_AT_ONCE = 16
"""Tensors read between two looks at whether the load was cancelled."""
_MODULES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class GgufModel:
    """What a GGUF file holds."""

    model: llama.Model
    args: llama.ModelArgs
    tokenizer: Tokenizer
    is_unpacked: bool
    """Whether the weights are plain numbers."""


def load_gguf(path: Path, cache_folder: Path, progress: Progress) -> GgufModel:
    """Return the model in a GGUF file.

    Args:
        path: the file; its architecture must be llama.
        cache_folder: where weights that are unpacked are kept.
        progress: told the stage, and how many of how many tensors are done; may raise to
            end the load.

    Raises:
        ModelFileError: malformed, or of a kind this loader does not know.
    """
    check_gguf(path)
    weights, metadata = read_with_metadata(path)
    architecture = metadata.get("general.architecture")
    if architecture != "llama":
        raise ModelFileError(
            f"{path.name} holds a {architecture} model; only the demo model is read from GGUF",
            "use the model's MLX or safetensors release",
        )
    args = _arguments(metadata)
    model = llama.Model(args)
    is_cpu = mx.default_device() == mx.cpu
    is_unpacked = is_cpu and not packed_rows.is_there()
    if is_unpacked:
        cached = cache_folder / f"{path.stem}-{_fingerprint(path)}.safetensors"
        unpacked = _unpacked(weights, args, cached, progress)
        model.load_weights(unpacked)
    else:
        _load_packed(model, weights, args, mx.float32 if is_cpu else mx.float16)
    return GgufModel(model, args, _tokenizer(metadata), is_unpacked)


def _tokenizer(metadata: dict[str, Any]) -> Tokenizer:
    tokens = metadata["tokenizer.ggml.tokens"]
    template = metadata.get("tokenizer.chat_template")
    ids = {name: int(metadata[f"tokenizer.ggml.{name}_token_id"].item()) for name in ("bos", "eos")}
    special = {f"{name}_token": tokens[index] for name, index in ids.items()}
    stop_ids = {ids["eos"]} | {i for i, t in enumerate(tokens[:64]) if t in _END_OF_TEXT}
    return Tokenizer(build_tokenizer(metadata), template, special, frozenset(stop_ids))


_END_OF_TEXT = ("<|endoftext|>", "<|im_end|>")


def _arguments(metadata: dict[str, Any]) -> llama.ModelArgs:
    def number(name: str) -> float:
        value = metadata.get(f"llama.{name}")
        if not isinstance(value, mx.array) or value.size != 1:
            raise ModelFileError(f"the file does not say its llama.{name}")
        return float(cast("float", value.item()))

    heads = int(number("attention.head_count"))
    hidden = int(number("embedding_length"))
    return llama.ModelArgs(
        model_type="llama",
        hidden_size=hidden,
        num_hidden_layers=int(number("block_count")),
        intermediate_size=int(number("feed_forward_length")),
        num_attention_heads=heads,
        num_key_value_heads=int(number("attention.head_count_kv")),
        head_dim=hidden // heads,
        rms_norm_eps=float(number("attention.layer_norm_rms_epsilon")),
        vocab_size=int(number("vocab_size")),
        max_position_embeddings=int(number("context_length")),
        rope_theta=float(number("rope.freq_base")),
        tie_word_embeddings=True,
    )


def _module_name(name: str) -> str:
    """Return mlx-lm's name of a GGUF module."""
    if name == "token_embd":
        return "model.embed_tokens"
    if name == "output_norm":
        return "model.norm"
    match name.split("."):
        case ["blk", layer, part] if part in _MODULES:
            return f"model.layers.{layer}.{_MODULES[part]}"
    raise ModelFileError(f"unknown tensor {name} in the file")


def _turned_back(name: str, rows: mx.array, args: llama.ModelArgs) -> mx.array:
    """Undo GGUF's reordering of q and k rows, made there for interleaved rope."""
    part = name.rsplit(".", 1)[-1]
    heads = {"attn_q": args.num_attention_heads, "attn_k": args.num_key_value_heads}.get(part)
    if heads is None:
        return rows
    shape = rows.shape
    return rows.reshape(heads, -1, 2, shape[-1]).swapaxes(1, 2).reshape(shape)


def _modules(weights: dict[str, mx.array]) -> list[str]:
    return [name.removesuffix(".weight") for name in weights if name.endswith(".weight")]


def _bits(packed: mx.array, scales: mx.array) -> int:
    return packed.shape[-1] * 32 // (scales.shape[-1] * _GROUP)


def _unpacked(
    weights: dict[str, mx.array], args: llama.ModelArgs, cached: Path, progress: Progress
) -> list[tuple[str, mx.array]]:
    """Return float32 weights by mlx-lm's names, from the cache if they are there."""
    if not cached.exists():
        unpacked = _unpack(weights, args, progress)
        _keep(unpacked, cached, progress)
        return list(unpacked.items())
    kept = list(read_arrays(cached).items())
    for start in range(0, len(kept), _AT_ONCE):
        progress("reading weights", start, len(kept))
        mx.eval([weight for _, weight in kept[start : start + _AT_ONCE]])
    return kept


def _unpack(
    weights: dict[str, mx.array], args: llama.ModelArgs, progress: Progress
) -> dict[str, mx.array]:
    names = _modules(weights)
    unpacked = {}
    for index, name in enumerate(names):
        progress("unpacking weights, once", index, len(names))
        weight = weights[f"{name}.weight"]
        if f"{name}.scales" in weights:
            scales, biases = weights[f"{name}.scales"], weights[f"{name}.biases"]
            bits = _bits(weight, scales)
            weight = mx.dequantize(weight, scales, biases, group_size=_GROUP, bits=bits)
        weight = _turned_back(name, weight, args).astype(mx.float32)
        mx.eval(weight)
        unpacked[f"{_module_name(name)}.weight"] = weight
    return unpacked


def _keep(weights: dict[str, mx.array], cached: Path, progress: Progress) -> None:
    """Write the unpacked weights so that a half-written file is never taken for whole."""
    progress("keeping unpacked weights", 0, 0)
    try:
        for stale in cached.parent.glob(f".*-{cached.name}"):
            stale.unlink(missing_ok=True)
        with made_whole(cached) as partial:
            mx.save_safetensors(str(partial), weights)
    except (OSError, RuntimeError) as error:
        _log.warning(
            "the unpacked weights could not be kept, so they are unpacked each time: %s", error
        )


def _load_packed(
    model: llama.Model, weights: dict[str, mx.array], args: llama.ModelArgs, dtype: mx.Dtype
) -> None:
    bits = {
        _module_name(name): _bits(weights[f"{name}.weight"], weights[f"{name}.scales"])
        for name in _modules(weights)
        if f"{name}.scales" in weights
    }
    nn.quantize(
        model,
        group_size=_GROUP,
        class_predicate=lambda path, _: (
            {"group_size": _GROUP, "bits": bits[path]} if path in bits else False
        ),
    )
    turned = []
    for full_name, array in weights.items():
        name, kind = full_name.rsplit(".", 1)
        rows = _turned_back(name, array, args)
        is_real = mx.issubdtype(rows.dtype, mx.floating)
        turned.append((f"{_module_name(name)}.{kind}", rows.astype(dtype) if is_real else rows))
    model.load_weights(turned)
    mx.eval(model.parameters())


def _fingerprint(path: Path) -> str:
    """Return what tells this file from another; a changed file is unpacked anew."""
    state = path.stat()
    return f"{state.st_size:x}-{state.st_mtime_ns:x}"
