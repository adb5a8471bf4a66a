"""Qwen3.5's checkpoints as they are found: published with vision, converted, packed, mixed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.utils import quantize_model

from engine.errors import ModelError
from engine.model.heads.pair import PairHead
from engine.model.load import LoadedModel, load
from engine.protocol import Mode, Sampling
from engine.speculation.cycle import read_prompt, run_cycle
from engine.speculation.stream import Stream
from tests.fakes import checkpoints, families, tiny
from tests.fakes.checkpoints import Weights
from tests.fakes.driver import EngineProcess, question, token_ids

WIDTH = 64
NORMS = (".input_layernorm.", ".post_attention_layernorm.", "model.norm.", ".q_norm.", ".k_norm.")
MEANS = {"layernorm": 1.35, "q_norm": 1.74, "k_norm": 1.75, "pre_fc_norm": 1.36, "norm": 2.4}
"""Gains as they multiply, with the means that real checkpoints have."""


def settings() -> dict[str, Any]:
    """Return a config whose norms are long enough to tell how they are stored."""
    config = families.config("qwen3_5")
    config["text_config"] |= {"hidden_size": WIDTH, "head_dim": 64, "intermediate_size": 64}
    return config


def mean_of(name: str) -> float:
    return next(mean for part, mean in MEANS.items() if part in name)


def gain(name: str, size: int, seed: int) -> mx.array:
    noise = 0.05 * mx.random.normal((size,), key=mx.random.key(seed))
    return mean_of(name) + noise - noise.mean()


def parts() -> tuple[Weights, Weights]:
    """Return trunk and head with gains as they multiply, by mlx-lm's and the published names."""
    model = families.build(settings())
    trunk = checkpoints.trunk_weights(model)
    head: Weights = {}
    keys = iter(mx.random.split(mx.random.key(9), 64))
    for name, value in trunk.items():
        if any(part in name for part in NORMS):
            trunk[name] = gain(name, value.size, 1)
        stem = "language_model.model.layers.3."
        if name.startswith(stem):
            inner = f"mtp.layers.0.{name.removeprefix(stem)}"
            is_gain = value.ndim == 1
            noise = 0.2 * mx.random.normal(value.shape, key=next(keys))
            head[inner] = gain(inner, value.size, 2) if is_gain else noise
    head["mtp.fc.weight"] = 0.2 * mx.random.normal((WIDTH, 2 * WIDTH), key=next(keys))
    for name in ("pre_fc_norm_embedding", "pre_fc_norm_hidden", "norm"):
        head[f"mtp.{name}.weight"] = gain(name, WIDTH, 3)
    return trunk, head


def raw(weights: Weights) -> Weights:
    """Bring weights to the way they are published: names, offsets, layout of convolutions."""
    out: Weights = {}
    for name, value in weights.items():
        published = name.replace("language_model.model.", "model.language_model.")
        published = published.replace("language_model.lm_head", "lm_head")
        is_shifted = any(part in name for part in (*NORMS, "mtp.norm.", "pre_fc_norm"))
        moved = value.moveaxis(1, 2) if "conv1d" in name else value
        out[published] = moved - 1 if is_shifted else moved
    return out


def save(folder: Path, files: dict[str, Weights], **config: Any) -> LoadedModel:
    folder.mkdir()
    for name, weights in files.items():
        mx.save_safetensors(str(folder / name), weights)
    (folder / "config.json").write_text(json.dumps({**settings(), **config}), "utf-8")
    tiny.write_tokenizer(folder)
    return load(folder.name, folder, folder, lambda *_: None)


def taught(model: LoadedModel) -> np.ndarray:
    """Return trunk and draft logits over a text."""
    tokens = mx.array([5, 60, 70, 80, 90, 100, 110])
    output = model.trunk.forward(tokens, model.trunk.make_cache())
    assert output.hidden is not None
    assert model.head is not None, model.info.head_note
    rows = model.head.forward(output.hidden, tokens, model.head.make_cache())
    return np.concatenate([np.array(output.logits), np.array(model.head.logits(rows))])


def mixed(trunk: Weights, head: Weights) -> dict[str, Weights]:
    """Convert trunk and final norm of the head, and leave the head's other norms as published."""
    left = {k: v for k, v in raw(head).items() if k != "mtp.norm.weight"}
    return {"model.safetensors": {**trunk, **head, **left}}


PACKS: dict[str, Callable[[Weights, Weights], dict[str, Weights]]] = {
    "converted": lambda trunk, head: {"model.safetensors": {**trunk, **head}},
    "converted, its own prefix": lambda trunk, head: {
        "model.safetensors": {**trunk, **{f"language_model.{k}": v for k, v in head.items()}}
    },
    "published, with vision": lambda trunk, head: {
        "model.safetensors": {
            **raw(trunk),
            **raw(head),
            "model.visual.blocks.0.attn.qkv.weight": mx.ones((4, 4)),
        }
    },
    "published head beside a converted trunk": lambda trunk, head: {
        "model.safetensors": trunk,
        "mtp.safetensors": raw(head),
    },
    "converted head beside a converted trunk": lambda trunk, head: {
        "model.safetensors": trunk,
        "model-mtp.safetensors": {k.removeprefix("mtp."): v for k, v in head.items()},
    },
    "mixed": mixed,
}


@pytest.mark.parametrize("name", PACKS)
def test_trap_1_2_3_every_way_it_is_packed_gives_the_same_model(tmp_path: Path, name: str) -> None:
    trunk, head = parts()
    right = save(tmp_path / "right", PACKS["converted"](trunk, head))
    assert right.info.head_note == ""
    other = save(tmp_path / "other", PACKS[name](trunk, head))
    assert np.abs(taught(other) - taught(right)).max() < 1e-4


@pytest.mark.parametrize("bits", [4, 8])
def test_a_packed_trunk_drafts_the_same_text_with_a_kernel_and_without(
    tmp_path: Path, bits: int
) -> None:
    packed, config = quantize_model(families.build(settings()), settings(), 32, bits)
    files = {"model.safetensors": {**checkpoints.trunk_weights(packed), **parts()[1]}}
    save(tmp_path / "m", files, quantization=config["quantization"])
    texts = []
    for blas in ("auto", "stock"):
        engine = EngineProcess(tmp_path, blas=blas)
        try:
            info = engine.load("m", tmp_path / "m")
            assert (info.quantization, info.head_note) == (f"affine {bits}-bit, group 32", "")
            for depth in (0, 1, 4):
                asked = question(
                    "hello there",
                    seed=5,
                    depth=depth,
                    mode=Mode.SEEDED,
                    sampling=Sampling(1, 1, 0),
                    max_tokens=24,
                )
                texts.append(token_ids(engine.complete(asked)[0]))
        finally:
            engine.kill()
    assert texts == [texts[0]] * 6
    assert len(texts[0]) == 24


def test_a_packed_trunk_with_a_head_left_unpacked(tmp_path: Path) -> None:
    model = families.build(settings())
    packed, config = quantize_model(model, settings(), 32, 4)
    trunk = checkpoints.trunk_weights(packed)
    _, head = parts()
    opened = save(
        tmp_path / "m",
        {"model.safetensors": {**trunk, **head}},
        quantization=config["quantization"],
    )
    assert isinstance(opened.head, PairHead), opened.info.head_note
    assert isinstance(opened.head.projection, nn.Linear)
    assert opened.info.quantization == "affine 4-bit, group 32"
    texts = []
    for depth in (0, 1, 4):
        stream = Stream(opened.trunk.make_cache(), opened.head, 3)
        read_prompt(opened.trunk, stream, [1, 2, 3], 4)
        out: list[int] = []
        while len(out) < 24:
            sampling = Sampling(1, 1, 0)
            out += run_cycle(opened.trunk, stream, depth, sampling, Mode.SEEDED).emitted
        texts.append(out[:24])
    assert texts[0] == texts[1] == texts[2]


@pytest.mark.parametrize(
    "lie", [{"mode": "cubes", "bits": 4, "group_size": 32}, {"bits": 11, "group_size": 64}]
)
def test_how_a_trunk_is_packed_is_taken_from_its_tensors(
    tmp_path: Path, lie: dict[str, Any]
) -> None:
    packed, config = quantize_model(families.build(settings()), settings(), 32, 4)
    trunk, head = checkpoints.trunk_weights(packed), parts()[1]
    files = {"model.safetensors": {**trunk, **head}}
    right = save(tmp_path / "right", files, quantization=config["quantization"])
    assert np.array_equal(taught(save(tmp_path / "m", files, quantization=lie)), taught(right))


@pytest.mark.parametrize(
    ("bits", "group_size", "told"),
    [(8, 64, {"bits": 8, "group_size": 64}), (4, 32, {"bits": 4}), (4, 32, "yes")],
)
def test_a_trunk_packed_in_a_way_not_known_is_one_clear_error(
    tmp_path: Path, bits: int, group_size: int, told: object
) -> None:
    """Scales of a format of their own, which there is not in 8 bits; no group size; no facts."""
    packed, _ = quantize_model(families.build(settings()), settings(), group_size, bits)
    trunk = checkpoints.trunk_weights(packed)
    if bits == 8:
        trunk = {k: v.astype(mx.uint8) if k.endswith(".scales") else v for k, v in trunk.items()}
    with pytest.raises(ModelError) as caught:
        save(tmp_path / "m", {"model.safetensors": trunk}, quantization=told)
    assert str(caught.value).isprintable()


def test_a_text_only_checkpoint_needs_no_text_config(tmp_path: Path) -> None:
    trunk, head = parts()
    inner = settings()["text_config"]
    folder = tmp_path / "m"
    folder.mkdir()
    bare = {k.removeprefix("language_model."): v for k, v in trunk.items()}
    mx.save_safetensors(str(folder / "model.safetensors"), {**bare, **head})
    (folder / "config.json").write_text(json.dumps({**inner, "model_type": "qwen3_5"}), "utf-8")
    tiny.write_tokenizer(folder)
    model = load("m", folder, folder, lambda *_: None)
    right = save(tmp_path / "right", PACKS["converted"](trunk, head))
    assert np.array_equal(taught(model), taught(right))
