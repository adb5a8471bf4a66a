"""Weights on a disk to a trunk, a head where there is one, and a tokenizer."""

from __future__ import annotations

import functools
import gc
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.utils import _get_classes, get_total_parameters, load_model

from engine.errors import HeadError, ModelError, ModelFileError
from engine.model import tokenizer as tokenizers
from engine.model.arrays import weights_bytes, weights_of
from engine.model.attention import use_window_attention
from engine.model.contracts import settled_contract
from engine.model.early import use_early_starts
from engine.model.few_operations import use_fewer_operations
from engine.model.gated_attention import use_gated_heads
from engine.model.gguf import load_gguf
from engine.model.head import Head
from engine.model.heads.chain import ChainHead
from engine.model.heads.demo import load_demo_head
from engine.model.heads.load import load_head
from engine.model.heads.pair import PairHead
from engine.model.mixers import mixer_note
from engine.model.packed_rows import pack, use_packed_rows
from engine.model.projections import use_few_row_matmuls
from engine.model.recurrent import has_recurrence
from engine.model.residuals import use_fused_mlps, use_fused_sums
from engine.model.tokenizer import Tokenizer
from engine.model.trunk import Trunk
from engine.protocol import HeadInfo, ModelInfo, Sampling
from engine.verdict.checkpoint import CheckpointFacts, check_folder
from engine.verdict.contract import Contract
from engine.verdict.family_table import DEMO
from kernels import gated_delta
from kernels.dispatch import Backend, backend_for, keep_compiled

__all__ = [
    "Assembled",
    "LoadedModel",
    "Progress",
    "assemble",
    "build_trunk",
    "load",
    "memory_bytes",
    "speed_up",
]

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready to run."""

    trunk: Trunk
    head: Head | None
    tokenizer: Tokenizer
    info: ModelInfo


def load(name: str, path: Path, cache_folder: Path, progress: Progress) -> LoadedModel:
    """Load a model.

    Args:
        name: as the person named it.
        path: a folder with config.json, or the demo's GGUF file.
        cache_folder: for weights that were unpacked for a CPU, and what was measured of kernels.
        progress: told the stage and how much of how much is done; may raise to end the load.

    Raises:
        ModelError: it can't be loaded; the message says why.
    """
    begin = time.perf_counter()
    keep_compiled(cache_folder / "kernels")
    is_file = path.suffix == ".gguf"
    loaded = (
        _load_demo(path, cache_folder, progress)
        if is_file
        else _load_folder(path, cache_folder, progress)
    )
    gc.freeze()
    return _finished(loaded, name, path, time.perf_counter() - begin)


@dataclass(frozen=True, slots=True)
class Assembled:
    """A model in memory that runs by the fast ways there are."""

    trunk: Trunk
    head: Head | None
    head_note: str
    """Why there is no head; empty where there is one."""
    kernel_note: str
    """Why a fast way is left out; empty where none is."""


def assemble(
    model: nn.Module,
    head_of: Callable[[Trunk], tuple[Head | None, str]],
    cache_folder: Path,
    progress: Progress,
) -> Assembled:
    """Make a trunk of a model, give it its head, and let both run by the fast ways there are.

    Args:
        model: mlx-lm's; its weights are in memory. Changed in place.
        head_of: returns the trunk's head, its weights in memory, or why there is none; taps the
            trunk where it needs to.
        cache_folder: for what was measured of kernels.
        progress: told the stage; may raise to end it.
    """
    kernels = speed_up(model, cache_folder, progress)
    trunk = Trunk(model)
    head, head_note = head_of(trunk)
    if isinstance(head, nn.Module):
        speed_up(head, cache_folder, progress)
        pack(head)
        use_packed_rows(head)
    # Last, since a head may be given rows of its trunk's weights.
    use_packed_rows(model)
    graphs = _build_graphs(trunk, head, progress)
    return Assembled(trunk, head, head_note, kernels or graphs)


@dataclass(frozen=True, slots=True)
class _Parts:
    model: nn.Module
    assembled: Assembled
    family: str
    """Of the head; empty where there is none."""
    tokenizer: Tokenizer
    config: dict[str, object]
    sampling: Sampling


def _finished(parts: _Parts, name: str, path: Path, seconds: float) -> LoadedModel:
    config, made = parts.config, parts.assembled
    info = ModelInfo(
        name=name,
        path=str(path),
        model_type=str(config.get("model_type", "")),
        parameters=get_total_parameters(parts.model),
        weights_bytes=weights_bytes(parts.model),
        quantization=_quantization(config),
        vocabulary=_number(config, "vocab_size", 0),
        context=_number(config, "max_position_embeddings", 4096),
        head=_head_info(made.head, parts.family),
        head_note=made.head_note,
        sampling=parts.sampling,
        has_chat_template=bool(parts.tokenizer.chat_template),
        load_s=seconds,
        chat_template=parts.tokenizer.chat_template,
        kernel_note=made.kernel_note,
    )
    return LoadedModel(made.trunk, made.head, parts.tokenizer, info)


def _load_demo(path: Path, cache_folder: Path, progress: Progress) -> _Parts:
    gguf = load_gguf(path, cache_folder, progress)

    def head_of(trunk: Trunk) -> tuple[Head | None, str]:
        progress("reading the head", 0, 0)
        try:
            with as_file(files("engine") / "data" / "demo") as data:
                words = (data / "frequent_tokens.txt").read_text("utf-8").split()
                tokens = [int(word) for word in words]
                head = load_demo_head(data / "mtp.safetensors", gguf.args, trunk, tokens)
            trunk.tap(DEMO.hidden)
        except HeadError as error:
            return None, error.message
        return head, ""

    made = assemble(gguf.model, head_of, cache_folder, progress)
    config: dict[str, object] = {
        "model_type": "llama",
        "vocab_size": gguf.args.vocab_size,
        "max_position_embeddings": gguf.args.max_position_embeddings,
        "quantization": None if gguf.is_unpacked else {"bits": 4, "group_size": 32},
    }
    return _Parts(gguf.model, made, DEMO.name, gguf.tokenizer, config, Sampling())


def _load_folder(path: Path, cache_folder: Path, progress: Progress) -> _Parts:
    progress("checking files", 0, 0)
    facts = check_folder(path)
    tokenizer = tokenizers.from_folder(path, facts.config)
    progress("building the model", 0, 0)
    model = build_trunk(path, facts)
    _read_weights(model, facts.weights_bytes, progress)

    def head_of(trunk: Trunk) -> tuple[Head | None, str]:
        settle = functools.partial(settled_contract, facts, trunk, tokenizer, cache_folder)
        return _head(facts, trunk, settle, progress)

    made = assemble(model, head_of, cache_folder, progress)
    sampling = _sampling(tokenizers.read_json(path / "generation_config.json"))
    config = {**facts.config, **_text_config(facts.config)}
    family = facts.head.family.name if facts.head else ""
    return _Parts(model, made, family, tokenizer, config, sampling)


def _build_graphs(trunk: Trunk, head: Head | None, progress: Progress) -> str:
    """Let passes of few rows be repeated as graphs on a GPU, each compared and built by now.

    Returns:
        Why some are not; empty where all are or there is no GPU.
    """
    if backend_for("compiled_steps") is Backend.PLAIN:
        return ""
    trunk.compile_steps(progress)
    note = head.replay_passes(progress) if isinstance(head, (PairHead, ChainHead)) else ""
    return trunk.steps_note or note


def speed_up(model: nn.Module, cache_folder: Path, progress: Progress) -> str:
    """Let a model or head in memory run few rows by the fast ways there are.

    Returns:
        Why a kernel is left out; empty where none is.
    """
    use_window_attention(model)
    fused = [use_gated_heads(model), use_fused_mlps(model), use_fused_sums(model)]
    notes = [use_few_row_matmuls(model, cache_folder, progress), *fused, mixer_note(model)]
    if has_recurrence(model):
        notes.append(gated_delta.kernel_note())
    use_fewer_operations(model)
    use_early_starts(model)
    return next((each for each in notes if each), "")


def _head(
    facts: CheckpointFacts, trunk: Trunk, settle: Callable[[], Contract], progress: Progress
) -> tuple[Head | None, str]:
    """Return the checkpoint's own head, or why there is none that can draft."""
    if facts.head is None:
        return None, facts.head_note
    progress("reading the head", 0, 0)
    try:
        if not trunk.can_roll_back:
            raise HeadError("its trunk keeps a state that can't be rolled back here")
        contract = settle()
        head = load_head(facts.head, facts.config, contract, trunk)
        _read_weights(
            head, sum(t.header.end - t.header.begin for t in facts.head.tensors.values()), progress
        )
        trunk.tap(contract.hidden or facts.head.family.hidden)
    except HeadError as error:
        return None, error.message
    return head, ""


def build_trunk(path: Path, facts: CheckpointFacts) -> nn.Module:
    """Let mlx-lm build the model; its weights stay on the disk until they are read.

    Raises:
        ModelError: it can't.
    """
    try:
        model, _ = load_model(path, lazy=True, get_model_classes=_without(facts.head_names))
    except Exception as error:  # mlx-lm's model classes raise whatever their code runs into
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(
            f"mlx-lm can't build {facts.model_type} from {path}: {reason}",
            "see which model types mlx-lm supports",
        ) from error
    return model


def _without(
    dropped: frozenset[str],
) -> Callable[[dict[str, object]], tuple[type[nn.Module], type]]:
    """Return mlx-lm's choice of a model class, one that never sees the tensors of a head."""

    def classes(config: dict[str, object]) -> tuple[type[nn.Module], type]:
        model_class, args_class = _get_classes(config)

        def sanitize(self: nn.Module, weights: dict[str, mx.array]) -> dict[str, mx.array]:
            kept = {name: value for name, value in weights.items() if name not in dropped}
            own = getattr(super(headless, self), "sanitize", None)
            return kept if own is None else own(kept)

        headless = type(model_class)(model_class.__name__, (model_class,), {"sanitize": sanitize})
        return headless, args_class

    return classes


_HALVES = (mx.bfloat16, mx.float16)


def _read_weights(model: nn.Module, size: int, progress: Progress) -> None:
    """Bring all weights into memory; on a CPU as float32, which is multiplied fastest there, if there is room."""
    weights = weights_of(model)
    added = sum(weight.nbytes for _, weight in weights if weight.dtype in _HALVES)
    is_widened = mx.default_device() == mx.cpu and size + added < memory_bytes() * 0.6
    for index, (name, weight) in enumerate(weights):
        progress("reading weights", index, len(weights))
        if is_widened and mx.issubdtype(weight.dtype, mx.floating):
            weight = weight.astype(mx.float32)
        try:
            mx.eval(weight)
        except RuntimeError as error:
            raise ModelFileError(f"weight {name} can't be read: {error}") from error
        model.load_weights([(name, weight)], strict=False)


def memory_bytes() -> int:
    """Return how much memory the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _head_info(head: Head | None, family: str) -> HeadInfo | None:
    if not isinstance(head, nn.Module):
        return None
    return HeadInfo(family, get_total_parameters(head), weights_bytes(head))


def _text_config(config: dict[str, object]) -> dict[str, object]:
    inner = config.get("text_config")
    return inner if isinstance(inner, dict) else {}


def _number(config: dict[str, object], key: str, default: int) -> int:
    value = config.get(key)
    return value if isinstance(value, int) and value > 0 else default


def _quantization(config: dict[str, object]) -> str:
    facts = config.get("quantization")
    if not isinstance(facts, dict):
        return "none"
    mode, bits, group = facts.get("mode", "affine"), facts.get("bits"), facts.get("group_size")
    return f"{mode} {bits}-bit, group {group}"


def _sampling(generation: dict[str, object]) -> Sampling:
    """Return the model's own sampling; what it leaves out or gets wrong is the default."""
    default = Sampling()
    values: dict[str, float] = {}
    for key in ("temperature", "top_p", "top_k", "min_p"):
        value = generation.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            values[key] = value
    if generation.get("do_sample") is False:
        values["temperature"] = 0.0
    if not values:
        return default
    try:
        return Sampling(
            temperature=float(values.get("temperature", 1.0)),
            top_p=float(values.get("top_p", 1.0)),
            top_k=int(values.get("top_k", 0)),
            min_p=float(values.get("min_p", 0.0)),
        )
    except ValueError:
        return default
