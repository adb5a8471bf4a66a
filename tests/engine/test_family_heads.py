"""Every family's head, read from real files by the production loader, drafts without a trace."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from engine.model.head import Head
from engine.model.heads.chain import ChainCache, ChainHead
from engine.model.heads.pair import PairHead
from engine.model.load import LoadedModel, load
from engine.protocol import Mode, Sampling
from engine.speculation.cycle import read_prompt, run_cycle
from engine.speculation.stream import Stream
from tests.fakes import checkpoints, families, reference
from tests.fakes.checkpoints import Weights

PROMPT = list(range(5, 45))
LAST = 50


def opened(folder: Path) -> LoadedModel:
    return load(folder.name, folder, folder, lambda *_: None)


def head_of(model: LoadedModel) -> PairHead:
    assert isinstance(model.head, PairHead), model.info.head_note
    return model.head


def any_head_of(model: LoadedModel) -> Head:
    assert model.head is not None, model.info.head_note
    return model.head


def decoded(model: LoadedModel, tokens: int, depth: int, mode: Mode = Mode.SEEDED) -> list[int]:
    stream = Stream(model.trunk.make_cache(), any_head_of(model), 3)
    read_prompt(model.trunk, stream, PROMPT, LAST)
    out: list[int] = []
    while len(out) < tokens:
        out += run_cycle(model.trunk, stream, depth, Sampling(1, 1, 0), mode).emitted
        check_lengths(stream)
    return out[:tokens]


def check_lengths(stream: Stream) -> None:
    """Trap 21: every leaf of the caches of trunk and head has the length that is committed."""
    caches = stream.caches()
    if isinstance(stream.head_cache, ChainCache):
        lengths = [cache.length for cache in stream.head_cache.heads]
        assert lengths == [max(0, stream.head_cache.length - late) for late in range(3)]
        caches = [stream.trunk_cache, *stream.head_cache.heads]
    for cache in caches:
        for layer in cache.layers:
            for leaf in getattr(layer, "caches", (layer,)):
                assert getattr(leaf, "offset", cache.length) == cache.length
    assert stream.head_cache is not None
    assert stream.head_cache.length + stream.pending_rows == stream.trunk_cache.length


@pytest.mark.parametrize("name", checkpoints.DONORS)
def test_seeded_text_is_the_same_at_every_depth(
    models: Mapping[str, LoadedModel], name: str
) -> None:
    plain = decoded(models[name], 24, 0)
    for depth in range(1, 7):
        assert decoded(models[name], 24, depth) == plain, depth


@pytest.mark.parametrize("name", checkpoints.DONORS)
def test_a_head_without_noise_in_its_family_names_is_whole(
    models: Mapping[str, LoadedModel], name: str
) -> None:
    info = models[name].info
    assert info.head_note == ""
    assert info.head is not None
    assert "shell" not in str(models[name].head)


@pytest.mark.parametrize("name", checkpoints.DONORS)
def test_trap_7_8_a_primed_head_holds_what_one_pass_over_all_pairs_would(
    models: Mapping[str, LoadedModel], name: str
) -> None:
    """After chunks of prompt and cycles of every outcome, scripted by the depth."""
    model, head = models[name], any_head_of(models[name])
    stream = Stream(model.trunk.make_cache(), head, 3)
    read_prompt(model.trunk, stream, PROMPT[:7], PROMPT[7])
    read_prompt(model.trunk, stream, PROMPT[7:], LAST)
    text = [*PROMPT, LAST]
    for cycle in range(12):
        text += run_cycle(model.trunk, stream, cycle % 5, Sampling(1, 1, 0), Mode.SEEDED).emitted
    mine = stream.absorb()
    cache = model.trunk.make_cache()
    hidden = model.trunk.forward(mx.array(text[:-1]), cache).hidden
    assert hidden is not None
    once = head.make_cache()
    right = head.forward(hidden, mx.array(text[1:]), once)
    assert np.abs(np.array(mine) - np.array(right[:, -1:])).max() < 1e-4


def taught(model: LoadedModel) -> tuple[np.ndarray, np.ndarray]:
    """Return trunk logits and draft logits over a text, teacher-forced."""
    tokens = mx.array(PROMPT)
    output = model.trunk.forward(tokens, model.trunk.make_cache())
    assert output.hidden is not None
    head = head_of(model)
    rows = head.forward(output.hidden[:, :-1], tokens[1:], head.make_cache())
    return np.array(output.logits), np.array(head.logits(rows))


@pytest.mark.parametrize("name", ["qwen3_5", "qwen3_5_moe"])
def test_trunk_and_head_follow_the_equations(models: Mapping[str, LoadedModel], name: str) -> None:
    settings = families.config(name)
    config = settings["text_config"]
    built = families.build(settings)
    weights = {
        key.removeprefix("language_model."): np.array(value, np.float64)
        for key, value in checkpoints.trunk_weights(built).items()
    }
    for key, value in checkpoints.head_weights(name, built, settings).items():
        weights[key] = np.array(value, np.float64)
    logits, draft_logits = taught(models[name])
    right, hidden = reference.trunk(PROMPT, weights, config)
    assert np.abs(logits - right).max() < 1e-4
    right_draft, recycled = reference.head(hidden[:-1], PROMPT[1:], weights, config)
    assert np.abs(draft_logits - right_draft).max() < 1e-4

    again, _ = reference.head(recycled, PROMPT[1:], weights, config)
    head = head_of(models[name])
    rows = head.forward(
        mx.array(recycled.astype(np.float32))[None], mx.array(PROMPT[1:]), head.make_cache()
    )
    assert np.abs(np.array(head.logits(rows)) - again).max() < 1e-4


@pytest.mark.parametrize("name", checkpoints.NAMES.keys() - checkpoints.DISTINCT.keys())
def test_trap_10_drafts_depend_on_distance_not_on_place(
    models: Mapping[str, LoadedModel], name: str
) -> None:
    """The same pairs at offset 0 and far on: a rotated cache with nothing in it but zeros."""
    head = head_of(models[name])
    hidden = mx.random.normal((1, 6, checkpoints.WIDTH), key=mx.random.key(2))
    first = head.forward(hidden, mx.array(PROMPT[:6]), head.make_cache())
    step, rows = head.make_cache(), []
    for index in range(6):
        token = mx.array(PROMPT[index : index + 1])
        rows.append(head.forward(hidden[:, index : index + 1], token, step))
    assert np.abs(np.array(mx.concatenate(rows, axis=1)) - np.array(first)).max() < 1e-4


PACKED = ("weight", "scales", "biases")
SIDES = {"mimo": ("pre", False), "kimi_k3": ("pre", True), "qwen3_5": ("post", True)}


@pytest.mark.parametrize("name", SIDES)
def test_trap_4_5_6_order_hidden_and_recycled_rows_are_the_familys(
    models: Mapping[str, LoadedModel], name: str
) -> None:
    side, is_embedding_first = SIDES[name]
    model, head = models[name], head_of(models[name])
    tokens = mx.array(PROMPT)
    output = model.trunk.forward(tokens, model.trunk.make_cache())
    assert output.hidden is not None
    seen = model.trunk.unembed(output.hidden)[0]
    assert mx.array_equal(seen, output.logits).item() == (side == "post")
    rows = head.forward(output.hidden, tokens, head.make_cache())
    logits_of_rows = model.trunk.lm_head(rows)[0]
    own = checkpoints.NAMES[name].get("lm_head")
    if own is None:
        assert mx.array_equal(head.logits(rows), logits_of_rows).item() == (side == "post")
    pair = [
        head.embedding_norm(model.trunk.embed(tokens[None])) if own is None else None,
        head.hidden_norm(output.hidden),
    ]
    if pair[0] is not None:
        ordered = [p for p in (pair if is_embedding_first else pair[::-1]) if p is not None]
        u = head.projection(mx.concatenate(ordered, axis=-1))
        cache = head.make_cache()
        direct = head.body(u, [*cache.layers, *head._spare])
        again = head.final_norm.norm(rows) if side == "pre" else rows
        assert np.abs(np.array(direct) - np.array(again)).max() < 1e-5


@pytest.mark.parametrize("name", ["deepseek_v3", "glm4_moe", "kimi_k3"])
def test_trap_19_copies_of_embedding_and_lm_head_are_shared(tmp_path: Path, name: str) -> None:
    trunk = checkpoints.trunk_weights(families.build(families.config(name)))
    ends = {
        "embed_tokens.weight": "embed_tokens.weight",
        "shared_head.head.weight": "lm_head.weight",
    }

    def copied(weights: Weights) -> Weights:
        for end, theirs in ends.items():
            (mine,) = [key for key in weights if key.endswith(end)]
            (value,) = [v for k, v in trunk.items() if k.endswith(theirs)]
            weights[mine] = value
        return weights

    own = opened(checkpoints.write(tmp_path / "own", name))
    shared = opened(checkpoints.write(tmp_path / "shared", name, edit=copied))
    assert own.info.head is not None
    assert shared.info.head is not None
    matrix = families.VOCABULARY * checkpoints.WIDTH
    assert own.info.head.parameters - shared.info.head.parameters == 2 * matrix
    assert not np.array_equal(taught(own)[1], taught(shared)[1])


def quantised(weights: Weights) -> Weights:
    """Pack the projection and the layer with sizes of their own."""
    packed: Weights = {}
    for name, value in weights.items():
        if value.ndim != 2 or value.shape[1] % 32:
            packed[name] = value
            continue
        bits = 8 if name.endswith("fc.weight") else 4
        stem = name.removesuffix(".weight")
        parts = mx.quantize(value, group_size=32, bits=bits)
        packed |= {f"{stem}.{k}": part for k, part in zip(PACKED, parts, strict=True)}
    return packed


def test_trap_18_a_packed_head_brings_its_own_group_size_and_bits(tmp_path: Path) -> None:
    plain = opened(checkpoints.write(tmp_path / "plain", "qwen3_5"))
    packed = opened(checkpoints.write(tmp_path / "packed", "qwen3_5", edit=quantised))
    projection = head_of(packed).projection
    assert isinstance(projection, nn.QuantizedLinear)
    assert (projection.bits, projection.group_size) == (8, 32)
    attention: Any = head_of(packed).body.layers[0]
    assert attention.self_attn.q_proj.bits == 4
    assert np.corrcoef(taught(packed)[1].ravel(), taught(plain)[1].ravel())[0, 1] > 0.9
    assert decoded(packed, 16, 3) == decoded(packed, 16, 0)


@pytest.mark.parametrize(
    "file", ["mtp.safetensors", "model-mtp.safetensors", "mtp/weights.safetensors"]
)
def test_a_head_beside_the_model_drafts_as_one_inside(
    models: Mapping[str, LoadedModel], tmp_path: Path, file: str
) -> None:
    def bare(weights: Weights) -> Weights:
        return {name.removeprefix("mtp."): value for name, value in weights.items()}

    apart = opened(checkpoints.write(tmp_path / "m", "qwen3_5", head=file, edit=bare))
    assert np.array_equal(taught(apart)[1], taught(models["qwen3_5"])[1])


def chained(
    head: ChainHead, hidden: mx.array, tokens: mx.array
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return rows and draft logits of each head over a whole text, each fed the one before."""
    found = []
    for late, one in enumerate(head.heads):
        before, after = one.run(hidden, tokens[late:], one.make_cache())
        found.append((np.array(before), np.array(one.draft_head.logits(after)[0])))
        hidden = before[:, :-1]
    return found


def test_trap_29_each_depth_has_the_head_and_the_cache_of_its_own(
    models: Mapping[str, LoadedModel],
) -> None:
    """True tokens come in any portions; drafts that happen to be true give the true rows."""
    model = models["mimo_v2_flash"]
    head = any_head_of(model)
    assert isinstance(head, ChainHead)
    text = mx.array([*PROMPT, LAST])
    hidden = model.trunk.forward(text[:-1], model.trunk.make_cache()).hidden
    assert hidden is not None
    right = chained(head, hidden, text[1:])
    cache = head.make_cache()
    begin = 0
    for end in (1, 2, 7, 8, 20, 23, 24, 31):
        rows = head.forward(hidden[:, begin:end], text[begin + 1 : end + 1], cache)[:, -1:]
        cache.commit(end - begin)
        for depth in range(3):
            if depth:
                rows = head.forward(rows, text[end + depth : end + depth + 1], cache)
            before, logits = right[depth]
            mine = np.array(rows[..., : checkpoints.WIDTH])
            assert np.abs(mine - before[:, end - 1 : end]).max() < 1e-4, (end, depth)
            assert np.abs(np.array(head.logits(rows)) - logits[end - 1]).max() < 1e-4
        cache.commit(0)
        begin = end


def test_trap_29_deeper_than_there_are_heads_the_last_one_goes_on(
    models: Mapping[str, LoadedModel],
) -> None:
    head = any_head_of(models["mimo_v2_flash"])
    cache = head.make_cache()
    rows = head.forward(mx.ones((1, 5, checkpoints.WIDTH)), mx.array(PROMPT[:5]), cache)[:, -1:]
    cache.commit(5)
    for token in range(7):
        rows = head.forward(rows, mx.array([token]), cache)
        assert rows.shape == (1, 1, 2 * checkpoints.WIDTH)
    cache.commit(0)
    assert cache.length == 5
    head.forward(mx.ones((1, 2, checkpoints.WIDTH)), mx.array([1, 2]), cache)
    with pytest.raises(ValueError, match="can't commit 1 of 2"):
        cache.commit(1)


def test_heads_that_are_not_numbered_through_are_off(tmp_path: Path) -> None:
    def gap(weights: Weights) -> Weights:
        return {k: v for k, v in weights.items() if ".layers.1." not in k}

    model = opened(checkpoints.write(tmp_path / "m", "mimo_v2_flash", edit=gap))
    assert model.head is None
    assert "numbered 0, 2" in model.info.head_note
