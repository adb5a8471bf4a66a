"""The gated delta rule: its definition against NumPy, its kernel body against its definition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from kernels import dispatch, gated_delta
from kernels.gated_delta import DeltaTape, gated_delta_plain, replay_plain
from tests.fakes.emulation import emulate, needs_compiler

SHAPES = {
    "one head": (1, 1, 32, 8, False),
    "three value heads a key head": (1, 3, 64, 8, False),
    "odd heads": (3, 9, 32, 5, False),
    "gate for each channel": (2, 2, 64, 6, True),
}
"""Key heads, value heads, key width, value width, whether the gate is a vector."""


def rows(shape: tuple[int, int, int, int, bool], steps: int, seed: int = 0) -> list[mx.array]:
    """Return q, k, v, g, beta and a first state."""
    key_heads, heads, width, values, is_vector = shape
    keys = mx.random.split(mx.random.key(seed), 6)
    q, k = (
        mx.random.normal((1, steps, key_heads, width), key=key) / width**0.5 for key in keys[:2]
    )
    v = mx.random.normal((1, steps, heads, values), key=keys[2])
    gate = (1, steps, heads, width) if is_vector else (1, steps, heads)
    g = mx.random.uniform(0.2, 1.0, gate, key=keys[3])
    beta = mx.random.uniform(shape=(1, steps, heads), key=keys[4])
    return [q, k, v, g, beta, mx.random.normal((1, heads, values, width), key=keys[5])]


def in_numpy(inputs: list[mx.array]) -> tuple[np.ndarray, np.ndarray]:
    """Return outputs and last state by the equations, in float64, head by head."""
    q, k, v, g, beta, state = (np.array(array, np.float64)[0] for array in inputs)
    out = np.zeros(v.shape)
    repeats = v.shape[1] // k.shape[1]
    for head in range(v.shape[1]):
        s = state[head].copy()
        for t in range(v.shape[0]):
            key, query = k[t, head // repeats], q[t, head // repeats]
            s = s @ np.diag(np.broadcast_to(g[t, head], key.shape))
            delta = beta[t, head] * (v[t, head] - s @ key)
            s = s + np.outer(delta, key)
            out[t, head] = s @ query
        state[head] = s
    return out, state


@pytest.mark.parametrize("name", SHAPES)
def test_the_definition_follows_the_equations(name: str) -> None:
    inputs = rows(SHAPES[name], 9)
    mine = gated_delta_plain(*inputs)
    out, state = in_numpy(inputs)
    assert np.abs(np.array(mine.y)[0] - out).max() < 1e-5
    assert np.abs(np.array(mine.state)[0] - state).max() < 1e-5


@pytest.mark.parametrize("name", SHAPES)
def test_trap_13_replaying_the_tape_gives_every_state_bit_for_bit(name: str) -> None:
    q, k, v, g, beta, state = rows(SHAPES[name], 9)
    whole = gated_delta_plain(q, k, v, g, beta, state)
    for kept in range(1, 10):
        part = [array[:, :kept] for array in (q, k, v, g, beta)]
        assert mx.array_equal(
            replay_plain(whole.tape, kept, state), gated_delta_plain(*part, state).state
        )
    assert mx.array_equal(replay_plain(whole.tape, 0, state), state)


def test_trap_13_a_tape_in_bfloat16_would_be_seen() -> None:
    q, k, v, g, beta, state = rows(SHAPES["one head"], 5)
    whole = gated_delta_plain(q, k, v, g, beta, state)
    assert whole.tape.delta.dtype == whole.tape.g.dtype == mx.float32
    rounded = DeltaTape(whole.tape.k, whole.tape.delta.astype(mx.bfloat16), whole.tape.g)
    assert not mx.array_equal(replay_plain(rounded, 5, state), whole.state)


def constants(shape: tuple[int, int, int, int, bool]) -> dict[str, int]:
    key_heads, heads, width, values, is_vector = shape
    return {
        "Dk": width,
        "Dv": values,
        "Hk": key_heads,
        "Hv": heads,
        "Gates": width if is_vector else 1,
    }


def run_body(
    folder: Path, shape: tuple[int, int, int, int, bool], inputs: list[mx.array]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    names = ("q", "k", "v", "g", "beta", "state_in")
    v, state = inputs[2], inputs[5]
    y, after, delta = emulate(
        folder,
        gated_delta.BODY,
        {
            **dict(zip(names, inputs, strict=True)),
            "count": mx.array([v.shape[1]], mx.int32),
        },
        {"y": v.shape, "state_out": state.shape, "delta": v.shape},
        constants(shape),
        (shape[3], shape[1]),
    )
    return y, after, delta


def run_replay_body(
    folder: Path,
    shape: tuple[int, int, int, int, bool],
    tape: DeltaTape,
    kept: int,
    state: mx.array,
) -> np.ndarray:
    (after,) = emulate(
        folder,
        gated_delta.REPLAY_BODY,
        {
            "k": tape.k,
            "g": tape.g,
            "delta": tape.delta,
            "state_in": state,
            "count": mx.array([tape.k.shape[1]], mx.int32),
            "kept": mx.array([kept], mx.int32),
        },
        {"state_out": state.shape},
        constants(shape),
        (shape[3], shape[1]),
    )
    return after


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("emulation")


@needs_compiler
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("depth", range(9))
def test_the_kernel_body_equals_the_definition(built: Path, name: str, depth: int) -> None:
    inputs = rows(SHAPES[name], depth + 1, seed=depth)
    y, after, delta = run_body(built, SHAPES[name], inputs)
    right = gated_delta_plain(*inputs)
    assert np.abs(y - np.array(right.y)).max() < 1e-5
    assert np.abs(after - np.array(right.state)).max() < 1e-5
    assert np.abs(delta - np.array(right.tape.delta)).max() < 1e-5


@needs_compiler
@pytest.mark.parametrize("name", SHAPES)
def test_the_replay_body_gives_the_kernels_states_bit_for_bit(built: Path, name: str) -> None:
    shape = SHAPES[name]
    q, k, v, g, beta, state = rows(shape, 9)
    _, _, delta = run_body(built, shape, [q, k, v, g, beta, state])
    tape = DeltaTape(k, mx.array(delta), g)
    for kept in (1, 4, 9):
        part = [array[:, :kept] for array in (q, k, v, g, beta)]
        _, after, _ = run_body(built, shape, [*part, state])
        assert np.array_equal(run_replay_body(built, shape, tape, kept, state), after)


def test_on_a_cpu_the_definition_runs() -> None:
    if mx.default_device() != mx.cpu:
        pytest.skip("there is a GPU")
    assert dispatch.backend() is dispatch.Backend.PLAIN
    assert gated_delta.kernel_note() == ""
    inputs = rows(SHAPES["one head"], 3)
    assert mx.array_equal(gated_delta.gated_delta(*inputs).y, gated_delta_plain(*inputs).y)


def test_inputs_of_another_type_are_another_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLX tells compiled kernels apart by name and template alone."""
    templates = []

    def kernel(**call: Any) -> list[mx.array]:
        templates.append(tuple(call["template"]))
        return [mx.zeros(shape) for shape in call["output_shapes"]]

    gated_delta._kept_forward.cache_clear()
    gated_delta._kept_replay.cache_clear()
    monkeypatch.setattr(gated_delta, "_kernels", lambda _: (kernel, kernel))
    monkeypatch.setattr(gated_delta, "_where", lambda _: dispatch.Backend.CUDA)
    for dtype in (mx.float32, mx.bfloat16):
        q, k, v, g, beta, state = rows(SHAPES["one head"], 3)
        output = gated_delta.gated_delta(q, k.astype(dtype), v, g, beta, state)
        gated_delta.replay(output.tape, 2, state)
    assert len(set(templates)) == 4
    gated_delta._kept_forward.cache_clear()
    gated_delta._kept_replay.cache_clear()


@pytest.mark.gpu
@pytest.mark.parametrize("name", SHAPES)
def test_the_kernel_runs_on_this_gpu(name: str) -> None:
    if mx.default_device() != mx.gpu:
        pytest.skip("MLX has no GPU here")
    assert gated_delta.kernel_note() == ""
    q, k, v, g, beta, state = rows(SHAPES[name], 9)
    mine = gated_delta.gated_delta(q, k, v, g, beta, state)
    right = gated_delta_plain(q, k, v, g, beta, state)
    assert mx.abs(mine.y - right.y).max() < 1e-4
    for kept in range(1, 10):
        part = [array[:, :kept] for array in (q, k, v, g, beta)]
        sequential = gated_delta.gated_delta(*part, state).state
        assert mx.array_equal(gated_delta.replay(mine.tape, kept, state), sequential)
