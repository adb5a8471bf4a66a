"""The middle of a gated DeltaNet layer: its definition against mlx-lm's layer, its body against it."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.models import qwen3_5, qwen3_next
from mlx_lm.models.cache import ArraysCache

from kernels import delta_mixer as kernel
from kernels.delta_mixer import MixerShape, MixerState, MixerWeights
from kernels.dialect import LANE_SUMS
from kernels.dispatch import Backend
from kernels.mixer_bodies import FOLD_BODY, MIXER_BODY
from tests.fakes.emulation import emulate, emulate_blocks, needs_compiler

EPS = 1e-5
SLOTS = [field.name for field in fields(MixerState)]


def in_a_row(key_heads: int, heads: int, key_width: int, width: int, taps: int = 4) -> MixerShape:
    """Return a layer whose parts lie one after the other, as in Qwen3.5."""
    keys, values = key_heads * key_width, heads * width
    begins = np.cumsum([0, keys, keys, values, values, heads])
    steps = [key_width, key_width, values // key_heads, values // key_heads]
    steps += [heads // key_heads] * 2
    columns = tuple((int(b), s) for b, s in zip(begins, steps, strict=True))
    return MixerShape(key_heads, heads, key_width, width, taps, columns, EPS)


def by_heads(key_heads: int, heads: int, key_width: int, width: int) -> MixerShape:
    """Return a layer whose parts lie side by side for each key head, as in Qwen3-Next."""
    share = heads // key_heads
    ends = np.cumsum([0, key_width, key_width, share * width, share * width])
    gates = key_heads * int(ends[-1])
    columns = tuple((int(end), int(ends[-1])) for end in ends[:-1])
    columns += ((gates, 2 * share), (gates + share, 2 * share))
    return MixerShape(key_heads, heads, key_width, width, 4, columns, EPS)


SHAPES = {
    "one head": in_a_row(1, 1, 32, 8),
    "three value heads a key head": in_a_row(1, 3, 64, 8),
    "odd heads": in_a_row(3, 9, 32, 5),
    "values wider than keys": in_a_row(2, 2, 32, 40, taps=2),
    "by heads": by_heads(2, 4, 32, 24),
    "wide keys and fewer values than warps": in_a_row(1, 2, 160, 3),
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("emulation")


def constants(shape: MixerShape) -> dict[str, int]:
    return {name: int(str(value)) for name, value in kernel._constants(shape)}


Trial = tuple[mx.array, MixerWeights, MixerState]


def emulated(folder: Path, shape: MixerShape, trial: Trial) -> tuple[mx.array, MixerState]:
    rows, weights, before = trial
    batch, steps, _ = rows.shape
    held = dict(zip(SLOTS, before.arrays(), strict=True))
    kept = held.pop("kept")
    shapes = {f"{name}_out": (value.shape, value.dtype) for name, value in held.items()}
    own = {"conv": weights.conv, "rest": weights.rest}
    y, *left = emulate_blocks(
        folder,
        (LANE_SUMS, MIXER_BODY),
        {"rows": rows, **own, **held, "kept": kept},
        {"y": ((batch, steps, shape.heads * shape.width), rows.dtype), **shapes},
        {**constants(shape), "Warps": 4},
        (1, 4, batch * shape.heads),
    )
    return y, MixerState(*left, kernel.count_of(steps))


def folded(folder: Path, shape: MixerShape, before: MixerState) -> tuple[np.ndarray, np.ndarray]:
    held = dict(zip(SLOTS, before.arrays(), strict=True))
    batch = before.state.shape[0]
    window, state = emulate(
        folder,
        FOLD_BODY,
        held,
        {
            "window_out": (batch, shape.taps - 1, shape.channels),
            "state_out": before.state.shape,
        },
        constants(shape),
        (shape.width, batch * shape.heads),
    )
    return window, state


def apart(one: mx.array, other: mx.array) -> float:
    """Return the largest difference against the largest entry."""
    a, b = (np.array(each.astype(mx.float32), np.float64) for each in (one, other))
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30))


def window_of(shape: MixerShape, before: MixerState) -> mx.array:
    return before.seen[:, : shape.taps - 1]


def trial_of(shape: MixerShape, dtype: mx.Dtype, steps: int, batch: int = 1) -> Trial:
    """Return a trial of several sequences, of whose newest pass some rows are to be added."""
    rows, weights, before = kernel.trial(shape, dtype, steps)

    def times(part: mx.array) -> mx.array:
        return mx.concatenate([part * (0.5 + i) for i in range(batch)]).astype(part.dtype)

    first = kernel.settled(shape, times(window_of(shape, before)), times(before.state))
    _, left = kernel.delta_mixer_plain(times(rows)[:, ::-1], weights, shape, first)
    return times(rows), weights, replace(left, kept=kernel.count_of((steps + 1) // 2))


def first(trial: Trial, rows: int) -> Trial:
    return (trial[0][:, :rows], *trial[1:])


def right_of(shape: MixerShape, trial: Trial) -> tuple[mx.array, MixerState]:
    rows, weights, before = trial
    return kernel.delta_mixer_plain(rows, weights, shape, before)


TOLERANCE = {mx.float32: 1e-5, mx.bfloat16: 2**-6, mx.float16: 2**-9}


def assert_alike(
    mine: tuple[mx.array, MixerState], right: tuple[mx.array, MixerState], tolerance: float
) -> None:
    rows = mine[0].shape[1]
    assert apart(mine[0], right[0]) < tolerance
    assert apart(mine[1].state, right[1].state) < tolerance
    assert apart(mine[1].tape[:, :rows], right[1].tape[:, :rows]) < tolerance
    seen = mine[1].seen.shape[1] - kernel.MAX_ROWS + rows
    assert mx.array_equal(mine[1].seen[:, :seen], right[1].seen[:, :seen])
    assert mx.array_equal(mine[1].kept, right[1].kept)


@needs_compiler
@pytest.mark.parametrize(
    ("name", "steps"), [*((name, kernel.MAX_ROWS) for name in SHAPES), ("odd heads", 1)]
)
def test_the_body_equals_the_definition(built: Path, name: str, steps: int) -> None:
    trial = trial_of(SHAPES[name], mx.float32, steps, batch=1 + steps % 2)
    assert_alike(emulated(built, SHAPES[name], trial), right_of(SHAPES[name], trial), 1e-5)


@needs_compiler
@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16])
def test_the_body_in_16_bits_is_the_definition_but_for_rounding(
    built: Path, dtype: mx.Dtype
) -> None:
    shape = SHAPES["three value heads a key head"]
    trial = trial_of(shape, dtype, 4)
    assert_alike(emulated(built, shape, trial), right_of(shape, trial), TOLERANCE[dtype])


@needs_compiler
@pytest.mark.parametrize("factor", [0.0, 1e-20, 80.0])
def test_zeros_and_extremes_stay_numbers(built: Path, factor: float) -> None:
    shape = SHAPES["odd heads"]
    rows, weights, before = trial_of(shape, mx.float32, 3)
    window = window_of(shape, before) * factor
    before = kernel.settled(shape, window, before.state * min(factor, 1.0))
    trial = (rows * factor, weights, before)
    mine, right = emulated(built, shape, trial), right_of(shape, trial)
    for one, other in ((mine[0], right[0]), (mine[1].tape[:, :3], right[1].tape[:, :3])):
        assert mx.isfinite(one).all().item()
        assert mx.allclose(one, other, 1e-4, 1e-4).item()


@needs_compiler
@pytest.mark.parametrize("name", ["odd heads", "by heads"])
def test_trap_12_13_whatever_stays_of_a_pass_equals_a_shorter_one_bit_for_bit(
    built: Path, name: str
) -> None:
    shape = SHAPES[name]
    trial = trial_of(shape, mx.float32, 4, batch=2)
    y, whole = emulated(built, shape, trial)
    short_y, short = emulated(built, shape, first(trial, 3))
    assert mx.array_equal(short_y, y[:, :3])
    stays = replace(whole, kept=kernel.count_of(3))
    ends = [folded(built, shape, each) for each in (short, stays)]
    after = [emulated(built, shape, (*trial[:2], each)) for each in (short, stays)]
    assert all(np.array_equal(a, b) for a, b in zip(*ends, strict=True))
    assert mx.array_equal(after[0][0], after[1][0])
    assert np.array_equal(np.array(window_of(shape, after[1][1])), ends[0][0])
    assert np.array_equal(np.array(after[1][1].state), ends[0][1])


@needs_compiler
@pytest.mark.parametrize("kept", [0, 1, 2])
def test_what_does_not_stay_may_be_anything(built: Path, kept: int) -> None:
    shape = SHAPES["odd heads"]
    rows, weights, before = trial_of(shape, mx.float32, 4, batch=2)
    stays = replace(before, kept=kernel.count_of(kept))
    tape, seen = mx.array(before.tape), mx.array(before.seen)
    tape[:, kept:] = mx.nan
    seen[:, shape.taps - 1 + kept :] = mx.nan
    spoilt = replace(stays, tape=tape, seen=seen)
    right, mine = (emulated(built, shape, (rows, weights, each)) for each in (stays, spoilt))
    assert mx.array_equal(mine[0], right[0])
    assert mx.array_equal(mine[1].state, right[1].state)
    assert mx.array_equal(mine[1].tape[:, :4], right[1].tape[:, :4])


@needs_compiler
def test_folding_is_what_is_defined_and_what_was_settled_stays(built: Path) -> None:
    shape = SHAPES["odd heads"]
    _, _, before = trial_of(shape, mx.float32, 4, batch=2)
    for one, other in zip(
        folded(built, shape, before), kernel.folded_plain(shape, before), strict=True
    ):
        assert np.abs(one - np.array(other)).max() < 1e-6
    still = kernel.settled(shape, window_of(shape, before), before.state)
    window, state = folded(built, shape, still)
    assert np.array_equal(window, np.array(window_of(shape, before)))
    assert np.array_equal(state, np.array(before.state))


@pytest.mark.parametrize("name", SHAPES)
def test_the_definition_goes_on_from_what_stays(name: str) -> None:
    shape = SHAPES[name]
    trial = trial_of(shape, mx.float32, 4, batch=2)
    _, whole = right_of(shape, trial)
    for kept in range(1, 5):
        _, short = right_of(shape, first(trial, kept))
        stays = replace(whole, kept=kernel.count_of(kept))
        for one, other in zip(
            *(kernel.folded_plain(shape, each) for each in (short, stays)), strict=True
        ):
            assert mx.array_equal(one, other)


def config(taps: int) -> Any:
    """Return what mlx-lm's layers ask of a config."""
    return SimpleNamespace(
        linear_num_value_heads=6,
        linear_num_key_heads=3,
        linear_key_head_dim=32,
        linear_value_head_dim=16,
        linear_conv_kernel_dim=taps,
        hidden_size=48,
        rms_norm_eps=EPS,
    )


@pytest.mark.parametrize("taps", [2, 4])
def test_the_definition_is_qwen3_5s_layer(taps: int) -> None:
    layer = qwen3_5.GatedDeltaNet(config(taps))
    names = ("in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a")
    assert_is_layer(layer, names, in_a_row(3, 6, 32, 16, taps))


def test_the_definition_is_qwen3_nexts_layer() -> None:
    layer = qwen3_next.Qwen3NextGatedDeltaNet(config(4))
    assert_is_layer(layer, ("in_proj_qkvz", "in_proj_ba"), by_heads(3, 6, 32, 16))


def assert_is_layer(layer: nn.Module, names: tuple[str, ...], shape: MixerShape) -> None:
    layer.norm.weight = mx.random.normal((shape.width,), key=mx.random.key(1))
    weights = MixerWeights.of(layer.conv1d.weight, layer.A_log, layer.dt_bias, layer.norm.weight)
    x = mx.random.normal((2, 5, 48), key=mx.random.key(2))
    cache = ArraysCache(size=2)
    right = layer(x, cache=cache)
    rows = mx.concatenate([layer[name](x) for name in names], axis=-1)
    before = kernel.empty(shape, 2, mx.float32)
    y, after = kernel.delta_mixer_plain(rows, weights, shape, before)
    window, state = kernel.folded_plain(shape, after)
    assert apart(layer.out_proj(y), right) < 1e-5
    assert apart(window, cache[0]) < 1e-6
    assert apart(state, cache[1]) < 1e-5


def test_on_a_cpu_no_kernel_runs() -> None:
    if mx.default_device() != mx.cpu:
        pytest.skip("there is a GPU")
    assert kernel.runs_on(SHAPES["one head"], mx.float32) is Backend.PLAIN
    assert kernel.kernel_note(SHAPES["one head"], mx.float32) == ""


@needs_compiler
@pytest.mark.parametrize("name", SHAPES)
def test_a_load_compares_what_is_written_alone(
    name: str, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(_: Backend, rows: mx.array, *rest: Any) -> tuple[mx.array, MixerState]:
        weights, shape, before = rest
        return emulated(built, shape, (rows, weights, before))

    def fold(_: Backend, shape: MixerShape, before: MixerState) -> list[mx.array]:
        return [mx.array(each) for each in folded(built, shape, before)]

    monkeypatch.setattr(kernel, "delta_mixer", run)
    monkeypatch.setattr(kernel, "folded", fold)
    assert kernel._wrong(Backend.CUDA, SHAPES[name], mx.float32) == ""


@pytest.mark.gpu
@pytest.mark.parametrize("name", SHAPES)
def test_the_kernel_runs_on_this_gpu(name: str) -> None:
    if mx.default_device() != mx.gpu:
        pytest.skip("MLX has no GPU here")
    assert kernel.kernel_note(SHAPES[name], mx.float32) == ""
