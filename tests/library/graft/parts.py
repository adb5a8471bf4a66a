"""Checkpoints for grafts, whole and cut up, and what their heads draft."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import numpy as np

from engine.model.load import LoadedModel, load
from engine.verdict.checkpoint import check_folder
from tests.fakes import checkpoints
from tests.fakes.checkpoints import Weights


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def sharded(folder: Path) -> Path:
    """Bring a checkpoint to three shards with an index; the head lies in the last two."""
    weights = checkpoints.read(folder / "model.safetensors")
    head = check_folder(folder).head
    assert head is not None
    own = sorted(tensor.name for tensor in head.tensors.values())
    trunk = sorted(weights.keys() - set(own))
    shares = [trunk[:-4], [*own[::2], *trunk[-2:]], [*own[1::2], *trunk[-4:-2]]]
    names = [f"model-0000{index}-of-00003.safetensors" for index in (1, 2, 3)]
    for name, share in zip(names, shares, strict=True):
        mx.save_safetensors(str(folder / name), {key: weights[key] for key in share})
    (folder / "model.safetensors").unlink()
    index = {key: name for name, share in zip(names, shares, strict=True) for key in share}
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": index}), "utf-8")
    return folder


def head_bytes(folder: Path) -> int:
    head = check_folder(folder).head
    assert head is not None
    return sum(tensor.header.end - tensor.header.begin for tensor in head.tensors.values())


def opened(folder: Path) -> LoadedModel:
    return load(folder.name, folder, folder, lambda *_: None)


def lowered(weights: Weights) -> Weights:
    return {k: v - 1 if v.ndim == 1 else v for k, v in weights.items()}


def drafts(model: LoadedModel) -> np.ndarray:
    assert model.head is not None, model.info.head_note
    hidden = mx.random.normal((1, 6, checkpoints.WIDTH), key=mx.random.key(2))
    rows = model.head.forward(hidden, mx.array([1, 2, 3, 4, 5, 6]), model.head.make_cache())
    return np.array(model.head.logits(rows))
