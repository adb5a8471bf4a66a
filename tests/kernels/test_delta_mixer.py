"""The middle of a gated DeltaNet layer: its definition against mlx-lm's layer, its body against it."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.models import qwen3_5, qwen3_next
from mlx_lm.models.cache import ArraysCache

from kernels import delta_mixer as kernel
from kernels.delta_mixer import MixerOutput, MixerShape, MixerTape, MixerWeights
from kernels.dispatch import Backend
from kernels.gated_delta import DeltaTape
from tests.fakes.emulation import emulate, emulate_blocks, needs_compiler

EPS = 1e-5


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
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("emulation")


def constants(shape: MixerShape) -> dict[str, int]:
    return {name: int(str(value)) for name, value in kernel._constants(shape)}


Trial = tuple[mx.array, MixerWeights, mx.array, mx.array]


def emulated(folder: Path, shape: MixerShape, trial: Trial) -> MixerOutput:
    rows, weights, window, state = trial
    batch, steps, _ = rows.shape
    heads = (batch, steps, shape.heads)
    y, after, left, k, delta, g = emulate_blocks(
        folder,
        ("", kernel.BODY),
        {
            "rows": rows,
            "window": window,
            "conv": weights.conv,
            "a_log": weights.a_log,
            "dt_bias": weights.dt_bias,
            "norm": weights.norm,
            "state_in": state,
        },
        {
            "y": ((batch, steps, shape.heads * shape.width), rows.dtype),
            "window_out": (window.shape, rows.dtype),
            "state_out": (state.shape, mx.float32),
            "k_out": ((batch, steps, shape.key_heads, shape.key_width), rows.dtype),
            "delta": ((*heads, shape.width), mx.float32),
            "g_out": (heads, mx.float32),
        },
        {**constants(shape), "Warps": 4, "MaxRows": kernel.MAX_ROWS},
        (1, 4, batch * shape.heads),
    )
    return MixerOutput(y, after, left, MixerTape(rows, DeltaTape(k, delta, g)))


def replayed(
    folder: Path, shape: MixerShape, tape: MixerTape, kept: int, window: mx.array, state: mx.array
) -> tuple[np.ndarray, np.ndarray]:
    after, left = emulate(
        folder,
        kernel.REPLAY_BODY,
        {
            "rows": tape.rows,
            "window": window,
            "k": tape.delta.k,
            "g": tape.delta.g,
            "delta": tape.delta.delta,
            "state_in": state,
            "kept": mx.array([kept], mx.int32),
        },
        {"window_out": window.shape, "state_out": state.shape},
        constants(shape),
        (shape.width, window.shape[0] * shape.heads),
    )
    return after, left


def apart(one: mx.array, other: mx.array) -> float:
    """Return the largest difference against the largest entry."""
    a, b = (np.array(each.astype(mx.float32), np.float64) for each in (one, other))
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30))


def trial_of(shape: MixerShape, dtype: mx.Dtype, steps: int, batch: int = 1) -> Trial:
    """Return a trial whose rows, window and state are those of several sequences."""
    rows, weights, window, state = kernel.trial(shape, dtype, steps)
    sides = [mx.concatenate([each * (0.5 + i) for i in range(batch)]) for each in (rows, window)]
    whole = mx.concatenate([state - i for i in range(batch)])
    return sides[0], weights, sides[1], whole


def first(trial: Trial, rows: int) -> Trial:
    return (trial[0][:, :rows], *trial[1:])


def right_of(shape: MixerShape, trial: Trial) -> MixerOutput:
    rows, weights, window, state = trial
    return kernel.delta_mixer_plain(rows, weights, shape, window, state)


TOLERANCE = {mx.float32: 1e-5, mx.bfloat16: 2**-6, mx.float16: 2**-9}


def assert_alike(mine: MixerOutput, right: MixerOutput, tolerance: float) -> None:
    assert mx.array_equal(mine.window, right.window)
    assert apart(mine.y, right.y) < tolerance
    assert apart(mine.state, right.state) < tolerance
    for part in ("k", "delta", "g"):
        one, other = getattr(mine.tape.delta, part), getattr(right.tape.delta, part)
        assert one.dtype == other.dtype
        assert apart(one, other) < tolerance


@needs_compiler
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("steps", [1, 2, kernel.MAX_ROWS])
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
    rows, weights, window, state = trial_of(shape, mx.float32, 3)
    trial = (rows * factor, weights, window * factor, state * min(factor, 1.0))
    mine, right = emulated(built, shape, trial), right_of(shape, trial)
    assert mx.isfinite(mine.y).all().item()
    assert mx.isfinite(mine.state).all().item()
    assert mx.allclose(mine.y, right.y, 1e-4, 1e-4).item()
    assert mx.allclose(mine.state, right.state, 1e-4, 1e-4).item()


@needs_compiler
@pytest.mark.parametrize("name", SHAPES)
def test_trap_12_13_the_tape_gives_every_shorter_pass_bit_for_bit(built: Path, name: str) -> None:
    shape = SHAPES[name]
    trial = trial_of(shape, mx.float32, 4, batch=2)
    whole = emulated(built, shape, trial)
    for kept in (1, 2, 4):
        part = emulated(built, shape, first(trial, kept))
        assert mx.array_equal(part.y, whole.y[:, :kept])
        window, state = replayed(built, shape, whole.tape, kept, trial[2], trial[3])
        assert np.array_equal(window, np.array(part.window))
        assert np.array_equal(state, np.array(part.state))


@pytest.mark.parametrize("name", SHAPES)
def test_the_definitions_tape_gives_its_shorter_passes(name: str) -> None:
    shape = SHAPES[name]
    trial = trial_of(shape, mx.float32, 4, batch=2)
    whole = right_of(shape, trial)
    for kept in range(1, 5):
        part = right_of(shape, first(trial, kept))
        window, state = kernel.mixer_replay_plain(whole.tape, kept, shape, *trial[2:])
        assert mx.array_equal(window, part.window)
        assert mx.array_equal(state, part.state)


def config(**changes: int) -> dict[str, int | float]:
    sizes = {
        "linear_num_value_heads": 6,
        "linear_num_key_heads": 3,
        "linear_key_head_dim": 32,
        "linear_value_head_dim": 16,
        "linear_conv_kernel_dim": 4,
        "hidden_size": 48,
        "rms_norm_eps": EPS,
    }
    return {**sizes, **changes}


@pytest.mark.parametrize("taps", [2, 4])
def test_the_definition_is_qwen3_5s_layer(taps: int) -> None:
    sizes = config(linear_conv_kernel_dim=taps)
    layer = qwen3_5.GatedDeltaNet(qwen3_5.TextModelArgs(**sizes))
    names = ("in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a")
    assert_is_layer(layer, names, in_a_row(3, 6, 32, 16, taps))


def test_the_definition_is_qwen3_nexts_layer() -> None:
    class Sizes:
        def __getattr__(self, name: str) -> int | float:
            return config()[name]

    layer = qwen3_next.Qwen3NextGatedDeltaNet(Sizes())
    assert_is_layer(layer, ("in_proj_qkvz", "in_proj_ba"), by_heads(3, 6, 32, 16))


def assert_is_layer(layer: nn.Module, names: tuple[str, ...], shape: MixerShape) -> None:
    layer.norm.weight = mx.random.normal((shape.width,), key=mx.random.key(1))
    weights = MixerWeights(layer.conv1d.weight, layer.A_log, layer.dt_bias, layer.norm.weight)
    x = mx.random.normal((2, 5, 48), key=mx.random.key(2))
    cache = ArraysCache(size=2)
    right = layer(x, cache=cache)
    rows = mx.concatenate([layer[name](x) for name in names], axis=-1)
    window = mx.zeros((2, shape.taps - 1, shape.channels))
    state = mx.zeros((2, shape.heads, shape.width, shape.key_width))
    mine = kernel.delta_mixer_plain(rows, weights, shape, window, state)
    assert apart(layer.out_proj(mine.y), right) < 1e-5
    assert apart(mine.window, cache[0]) < 1e-6
    assert apart(mine.state, cache[1]) < 1e-5


def test_on_a_cpu_no_kernel_runs() -> None:
    if mx.default_device() != mx.cpu:
        pytest.skip("there is a GPU")
    assert kernel.runs_on(SHAPES["one head"], mx.float32) is Backend.PLAIN
    assert kernel.kernel_note(SHAPES["one head"], mx.float32) == ""


@pytest.mark.gpu
@pytest.mark.parametrize("name", SHAPES)
def test_the_kernel_runs_on_this_gpu(name: str) -> None:
    if mx.default_device() != mx.gpu:
        pytest.skip("MLX has no GPU here")
    assert kernel.kernel_note(SHAPES[name], mx.float32) == ""
