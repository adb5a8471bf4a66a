"""Whatever a trunk keeps, a window that is partly undone leaves what sequential decoding would."""

from __future__ import annotations

from typing import cast

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.models.cache import ArraysCache, KVCache, make_prompt_cache

from engine.model import recurrences
from engine.model.cache import Cache
from engine.model.recurrent import RecurrentCache, RecurrentTap
from engine.model.sliding import SlidingCache
from engine.model.trunk import Trunk
from tests.fakes import families

TOKENS = mx.random.randint(0, families.VOCABULARY, (64,), key=mx.random.key(5))
PROMPT = 20
DEPTH = 8
RECURRENT = {
    "qwen3_5": 3,
    "qwen3_5_moe": 3,
    "qwen3_next": 3,
    "nemotron_h": 2,
    "bailing_hybrid": 3,
    "bailing_moe_v3": 3,
    "kimi_linear": 2,
    "kimi_k3": 2,
}
"""Recurrent layers of the tiny trunks."""
SLIDING = ("mimo_v2_flash", "step3p5", "exaone_moe")
LATENT = ("deepseek_v3", "deepseek_v32", "glm4_moe_lite", "glm_moe_dsa", "longcat_flash")
"""Here mlx-lm takes another path for one row than for several, so bits differ."""
PLAIN = ("glm4_moe", "mimo", "ernie4_5_moe")


def trunk_of(name: str) -> Trunk:
    return Trunk(families.build(families.config(name)))


@pytest.fixture(scope="module")
def trunks() -> dict[str, Trunk]:
    return {name: trunk_of(name) for name in families.CONFIGS}


def started(trunk: Trunk) -> Cache:
    cache = trunk.make_cache()
    trunk.forward(TOKENS[:PROMPT], cache)
    cache.commit(PROMPT)
    return cache


def leaves(cache: Cache) -> list[np.ndarray]:
    """Return what the caches hold of their committed positions."""
    found: list[np.ndarray] = []
    for layer in cache.layers:
        if isinstance(layer, RecurrentCache):
            found += [np.array(part) for part in layer.cache if part is not None]
        elif isinstance(layer, SlidingCache):
            found += [np.array(part) for part in layer.keys_and_values()]
        else:
            for part in cast("tuple[KVCache, ...]", getattr(layer, "caches", (layer,))):
                assert part.offset == cache.length
                found += [np.array(rows[..., : part.offset, :]) for rows in part.state[:2]]
    return found


def after_window(trunk: Trunk, rows: int, kept: int) -> tuple[list[np.ndarray], np.ndarray]:
    cache = started(trunk)
    trunk.forward(TOKENS[PROMPT : PROMPT + rows], cache)
    cache.commit(kept)
    return leaves(cache), np.array(trunk.forward(TOKENS[-1:], cache).logits)


def after_steps(trunk: Trunk, kept: int) -> tuple[list[np.ndarray], np.ndarray]:
    cache = started(trunk)
    for index in range(kept):
        trunk.forward(TOKENS[PROMPT + index : PROMPT + index + 1], cache)
        cache.commit(1)
    return leaves(cache), np.array(trunk.forward(TOKENS[-1:], cache).logits)


def test_the_lists_name_every_trunk() -> None:
    assert {*RECURRENT, *SLIDING, *LATENT, *PLAIN} == set(families.CONFIGS)


@pytest.mark.parametrize("name", [*RECURRENT, *SLIDING, *PLAIN])
def test_trap_12_13_14_any_accepted_prefix_equals_sequential_decoding_bit_for_bit(
    trunks: dict[str, Trunk], name: str
) -> None:
    for kept in range(1, DEPTH + 2):
        states, logits = after_steps(trunks[name], kept)
        for rows in range(kept, DEPTH + 2):
            windowed, following = after_window(trunks[name], rows, kept)
            for mine, right in zip(windowed, states, strict=True):
                assert np.array_equal(mine, right), (rows, kept)
            assert np.array_equal(following, logits), (rows, kept)


@pytest.mark.parametrize("name", LATENT)
def test_trap_21_every_part_of_a_latent_cache_is_undone(
    trunks: dict[str, Trunk], name: str
) -> None:
    for kept in (1, 3, DEPTH + 1):
        states, logits = after_steps(trunks[name], kept)
        windowed, following = after_window(trunks[name], DEPTH + 1, kept)
        for mine, right in zip(windowed, states, strict=True):
            assert mine.shape == right.shape
            assert np.abs(mine - right).max() < 1e-5
        assert np.abs(following - logits).max() < 1e-5


@pytest.mark.parametrize("name", RECURRENT)
def test_every_recurrent_layer_is_tapped(trunks: dict[str, Trunk], name: str) -> None:
    cache = trunks[name].make_cache()
    assert cache.can_roll_back
    assert sum(isinstance(layer, RecurrentCache) for layer in cache.layers) == RECURRENT[name]


@pytest.mark.parametrize("name", families.CONFIGS)
def test_a_tapped_trunk_gives_mlx_lms_own_logits(name: str) -> None:
    model = families.build(families.config(name))
    cache = make_prompt_cache(model)
    whole = np.array(model(TOKENS[None], cache=make_prompt_cache(model))[0])
    steps = [np.array(model(TOKENS[None, :PROMPT], cache=cache)[0])]
    for index in range(PROMPT, TOKENS.shape[0]):
        steps.append(np.array(model(TOKENS[None, index : index + 1], cache=cache)[0]))
    trunk = Trunk(model)
    trunk.tap("post")
    output = trunk.forward(TOKENS, trunk.make_cache())
    assert np.array_equal(np.array(output.logits), whole)
    assert output.hidden is not None
    assert np.array_equal(np.array(trunk.unembed(output.hidden)[0]), whole)

    mine = trunk.make_cache()
    rows = [np.array(trunk.forward(TOKENS[:PROMPT], mine).logits)]
    mine.commit(PROMPT)
    for index in range(PROMPT, TOKENS.shape[0]):
        rows.append(np.array(trunk.forward(TOKENS[index : index + 1], mine).logits))
        mine.commit(1)
    assert np.abs(np.concatenate(rows) - np.concatenate(steps)).max() < 2e-5


def test_a_whole_window_can_be_undone(trunks: dict[str, Trunk]) -> None:
    cache = started(trunks["qwen3_5"])
    before = leaves(cache)
    trunks["qwen3_5"].forward(TOKENS[:5], cache)
    cache.commit(0)
    for mine, right in zip(leaves(cache), before, strict=True):
        assert np.array_equal(mine, right)


def test_a_long_pass_keeps_no_tape_and_says_so_when_part_of_it_is_undone(
    trunks: dict[str, Trunk],
) -> None:
    cache = started(trunks["qwen3_5"])
    trunks["qwen3_5"].forward(TOKENS[: recurrences.WINDOW_ROWS + 1], cache)
    with pytest.raises(ValueError, match="can't undo 1 of 17 rows"):
        cache.commit(recurrences.WINDOW_ROWS)


def test_trap_15_no_tape_outlives_its_window(trunks: dict[str, Trunk]) -> None:
    """A request that ends amid a cycle leaves nothing for the next one to inherit."""
    trunk = trunks["qwen3_5"]
    trunk.forward(TOKENS[:5], started(trunk))
    states, logits = after_steps(trunk, 2)
    windowed, following = after_window(trunk, 5, 2)
    assert all(np.array_equal(a, b) for a, b in zip(windowed, states, strict=True))
    assert np.array_equal(following, logits)


def test_a_window_that_keeps_one_row_too_many_is_seen(trunks: dict[str, Trunk]) -> None:
    _, logits = after_steps(trunks["qwen3_5"], 2)
    _, following = after_window(trunks["qwen3_5"], 5, 3)
    assert not np.array_equal(following, logits)


class Plain(nn.Module):
    """A trunk with a recurrent layer whose recurrence is not known here."""

    def __init__(self) -> None:
        super().__init__()
        self.layers: list[nn.Module] = []
        self.embed_tokens = nn.Embedding(8, 8)

    def __call__(self, tokens: mx.array, cache: list[ArraysCache]) -> mx.array:
        (layer,) = cache
        before = mx.zeros((8,)) if layer[0] is None else layer[0]
        rows = mx.cumsum(self.embed_tokens(tokens), axis=1) + before
        layer[0] = rows[0, -1]
        return rows

    def make_cache(self) -> list[ArraysCache]:
        return [ArraysCache(size=1)]


def test_a_trunk_that_cant_roll_back_still_decodes_plainly() -> None:
    trunk = Trunk(Plain())
    assert not trunk.can_roll_back
    cache = trunk.make_cache()
    for token in (1, 2, 3):
        trunk.forward(mx.array([token]), cache)
        cache.commit(1)
    trunk.forward(mx.array([4, 5]), cache)
    with pytest.raises(ValueError, match="can't roll back: ArraysCache"):
        cache.commit(1)


def test_only_the_layer_that_is_tapped_changes() -> None:
    model = families.build(families.config("qwen3_5"))
    module = families.module_of("qwen3_5")
    before = module.gated_delta_update
    layer = model.language_model.model.layers[0].linear_attn
    RecurrentTap(layer)
    assert type(layer) is not module.GatedDeltaNet
    assert isinstance(layer, module.GatedDeltaNet)
    assert module.gated_delta_update is before
    assert type(model.language_model.model.layers[1].linear_attn) is module.GatedDeltaNet


def test_trap_20_a_sliding_cache_undoes_after_it_wrapped_and_refuses_beyond() -> None:
    cache = SlidingCache(8)
    rows = mx.arange(1200, dtype=mx.float32).reshape(1, 1, 1200, 1)
    for index in range(600):
        cache.update_and_fetch(rows[:, :, index : index + 1], rows[:, :, index : index + 1])
    cache.update_and_fetch(rows[:, :, 900:905], rows[:, :, 900:905])
    cache.trim(5)
    keys, values = cache.update_and_fetch(rows[:, :, 600:602], rows[:, :, 600:602])
    assert keys.flatten().tolist() == values.flatten().tolist() == [*range(593, 602)]
    long = SlidingCache(8)
    long.update_and_fetch(rows, rows)
    long.update_and_fetch(rows[:, :, :600], rows[:, :, :600])
    long.update_and_fetch(rows[:, :, :1], rows[:, :, :1])
    with pytest.raises(ValueError, match="rows before them were dropped"):
        long.trim(1790)


def test_the_27b_shapes_tape_takes_what_the_page_says() -> None:
    """48 recurrent layers, 16 key and 48 value heads of width 128, activations in 16 bits."""
    rows, key_heads, heads, width = 3, 16, 48, 128
    keys = mx.random.normal((1, rows, key_heads, width)).astype(mx.bfloat16)
    values = mx.random.normal((1, rows, heads, width)).astype(mx.bfloat16)
    gates = mx.random.normal((1, rows, heads)).astype(mx.bfloat16)
    recurrence = recurrences.GatedDelta(lambda *_: (keys, values))
    recurrence(keys, keys, values, gates, gates, mx.zeros(heads), mx.zeros(heads))
    assert isinstance(recurrence.tape, recurrences.GatedDeltaTape)
    tape = recurrence.tape.tape
    convolution = 2 * (2 * key_heads + heads) * width
    row = sum(array.nbytes for array in (tape.k, tape.delta, tape.g)) // rows + convolution
    assert row == 49_344
    assert 48 * row <= 2.4 * 2**20
