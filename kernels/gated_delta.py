"""The gated delta rule over the rows of a window, with the tape that rolls it back.

Per value head, with state S [Dv, Dk] in float32, one row after the other:

    S' = g S        δ = β (v - S' k)        S = S' + δ kᵀ        o = S q

(Yang, Kautz, Hatamizadeh 2024, arXiv:2412.06464; a gate for each key channel makes it Kimi's
delta attention.) δ, the innovation, needs the state to be computed, but once it is known the
state after any number of rows follows from the first state by "scale by g, add δ kᵀ": that is
the tape, and replaying it gives the very bits of the pass that wrote it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx

from kernels import dialect
from kernels.comparing import note_of
from kernels.dispatch import Backend, backend_for

__all__ = [
    "BODY",
    "REPLAY_BODY",
    "DeltaOutput",
    "DeltaTape",
    "gated_delta",
    "gated_delta_plain",
    "kernel_note",
    "replay",
    "replay_plain",
]


@dataclass(frozen=True, slots=True)
class DeltaTape:
    """What a pass over T rows leaves behind to rebuild any state in between."""

    k: mx.array
    """[B, T, Hk, Dk], in the type in which it was consumed."""
    delta: mx.array
    """float32 [B, T, Hv, Dv]."""
    g: mx.array
    """float32 [B, T, Hv], or [B, T, Hv, Dk] with a gate for each key channel."""


@dataclass(frozen=True, slots=True)
class DeltaOutput:
    """What a pass over T rows gives."""

    y: mx.array
    """[B, T, Hv, Dv], in the type of q."""
    state: mx.array
    """float32 [B, Hv, Dv, Dk], after all rows."""
    tape: DeltaTape


def gated_delta_plain(
    q: mx.array, k: mx.array, v: mx.array, g: mx.array, beta: mx.array, state: mx.array
) -> DeltaOutput:
    """Run the rule row by row in plain MLX: the definition of right.

    Args:
        q: [B, T, Hk, Dk], normalised and scaled.
        k: [B, T, Hk, Dk], normalised.
        v: [B, T, Hv, Dv]; Hv is a multiple of Hk, and Hv / Hk value heads share a key head.
        g: decay, [B, T, Hv] or [B, T, Hv, Dk].
        beta: write strength, [B, T, Hv].
        state: float32 [B, Hv, Dv, Dk]; not changed.
    """
    repeats = v.shape[2] // k.shape[2]
    outputs, deltas = [], []
    for t in range(k.shape[1]):
        query, key = _per_value_head(q[:, t], repeats), _per_value_head(k[:, t], repeats)
        state = state * _decay(g[:, t])
        seen = (state * key).sum(axis=-1)
        delta = ((v[:, t] - seen) * beta[:, t, :, None]).astype(mx.float32)
        state = state + key * delta[..., None]
        outputs.append((state * query).sum(axis=-1).astype(q.dtype))
        deltas.append(delta)
    tape = DeltaTape(k, mx.stack(deltas, axis=1), g)
    return DeltaOutput(mx.stack(outputs, axis=1), state, tape)


def replay_plain(tape: DeltaTape, rows: int, state: mx.array) -> mx.array:
    """Return the state after the first `rows` rows, as `gated_delta_plain` had it there.

    Args:
        tape: of that pass.
        rows: 0 to T.
        state: the one the pass began with.
    """
    repeats = tape.delta.shape[2] // tape.k.shape[2]
    for t in range(rows):
        key = _per_value_head(tape.k[:, t], repeats)
        state = state * _decay(tape.g[:, t])
        state = state + key * tape.delta[:, t, ..., None]
    return state


def _per_value_head(rows: mx.array, repeats: int) -> mx.array:
    """Return key-head rows as the value heads see them; [B, Hk, Dk] to [B, Hv, 1, Dk]."""
    repeated = mx.repeat(rows, repeats, axis=1) if repeats > 1 else rows
    return repeated[:, :, None]


def _decay(g: mx.array) -> mx.array:
    return g[..., None, None] if g.ndim == 2 else g[..., None, :]


_PROLOGUE = """
constexpr int width = Dk / 32;
if (row >= Dv) return;
const int steps = count[0];
const int batch = head / Hv;
const int value_head = head % Hv;
const int key_head = value_head / (Hv / Hk);
const int first = lane * width;

// state_in, state_out: [B, Hv, Dv, Dk]
const int place = (head * Dv + row) * Dk + first;
float state[width];
for (int i = 0; i < width; ++i) state[i] = state_in[place + i];
"""
BODY = (
    _PROLOGUE
    + """
for (int t = 0; t < steps; ++t) {
  // q, k: [B, T, Hk, Dk]; g: [B, T, Hv, Gates]; beta: [B, T, Hv]; v, y, delta: [B, T, Hv, Dv]
  const int at_key = ((batch * steps + t) * Hk + key_head) * Dk + first;
  const int at_head = (batch * steps + t) * Hv + value_head;
  const int at_value = at_head * Dv + row;
  float seen = 0.0f;
  for (int i = 0; i < width; ++i) {
    state[i] = state[i] * static_cast<float>(g[at_head * Gates + (Gates == 1 ? 0 : first + i)]);
    seen = fused(state[i], static_cast<float>(k[at_key + i]), seen);
  }
  seen = lane_sum(seen);
  const float change = (static_cast<float>(v[at_value]) - seen) * static_cast<float>(beta[at_head]);
  float out = 0.0f;
  for (int i = 0; i < width; ++i) {
    state[i] = fused(static_cast<float>(k[at_key + i]), change, state[i]);
    out = fused(state[i], static_cast<float>(q[at_key + i]), out);
  }
  out = lane_sum(out);
  if (lane == 0) {
    y[at_value] = static_cast<InT>(out);
    delta[at_value] = change;
  }
}
for (int i = 0; i < width; ++i) state_out[place + i] = state[i];
"""
)
REPLAY_BODY = (
    _PROLOGUE
    + """
const int rows = kept[0];
for (int t = 0; t < rows; ++t) {
  const int at_key = ((batch * steps + t) * Hk + key_head) * Dk + first;
  const int at_head = (batch * steps + t) * Hv + value_head;
  const float change = delta[at_head * Dv + row];
  for (int i = 0; i < width; ++i) {
    state[i] = state[i] * static_cast<float>(g[at_head * Gates + (Gates == 1 ? 0 : first + i)]);
    state[i] = fused(static_cast<float>(k[at_key + i]), change, state[i]);
  }
}
for (int i = 0; i < width; ++i) state_out[place + i] = state[i];
"""
)


@functools.cache
def _kernels(where: Backend) -> tuple[dialect.Kernel, dialect.Kernel]:
    rows = ("q", "k", "v", "g", "beta", "state_in", "count")
    forward = dialect.Source("gated_delta", rows, ("y", "state_out", "delta"), BODY)
    tape = ("k", "g", "delta", "state_in", "count", "kept")
    again = dialect.Source("gated_delta_replay", tape, ("state_out",), REPLAY_BODY)
    return dialect.build(where, forward), dialect.build(where, again)


def _sizes(k: mx.array, heads: int, rows: int, g: mx.array) -> list[tuple[str, mx.Dtype | int]]:
    gates = k.shape[-1] if g.ndim == 4 else 1
    return [("Dk", k.shape[-1]), ("Dv", rows), ("Hk", k.shape[2]), ("Hv", heads), ("Gates", gates)]


def _run(
    where: Backend,
    rows: tuple[mx.array, mx.array, mx.array, mx.array, mx.array],
    state: mx.array,
) -> DeltaOutput:
    y, after, delta = _kept_forward(where)(*rows, state)
    return DeltaOutput(y, after, DeltaTape(rows[1], delta, rows[3]))


@functools.cache
def _kept_forward(where: Backend) -> Callable[..., list[mx.array]]:
    """Return the kernel's call as a graph: MLX else writes the source anew for each call."""

    def call(*inputs: mx.array) -> list[mx.array]:
        q, k, v, g, _, state = inputs
        batch, steps, heads, width = v.shape
        return dialect.run(
            _kernels(where)[0],
            [*inputs, dialect.scalar(steps)],
            [("InT", q.dtype), *_sizes(k, heads, width, g)],
            (width, batch * heads),
            [(v.shape, q.dtype), (state.shape, mx.float32), (v.shape, mx.float32)],
        )

    return mx.compile(call)


def _run_replay(where: Backend, tape: DeltaTape, rows: int, state: mx.array) -> mx.array:
    (after,) = _kept_replay(where, rows)(tape.k, tape.g, tape.delta, state)
    return after


@functools.cache
def _kept_replay(where: Backend, rows: int) -> Callable[..., list[mx.array]]:
    def call(*inputs: mx.array) -> list[mx.array]:
        k, g, delta, state = inputs
        batch, steps, heads, width = delta.shape
        return dialect.run(
            _kernels(where)[1],
            [*inputs, dialect.scalar(steps), dialect.scalar(rows)],
            _sizes(k, heads, width, g),
            (width, batch * heads),
            [(state.shape, mx.float32)],
        )

    return mx.compile(call)


_TOLERANCE = 1e-5


@functools.cache
def _note(where: Backend) -> str:
    """Compare the kernels with their definitions once; return what is wrong, or nothing."""
    keys = mx.random.split(mx.random.key(0), 5)
    q, k = (0.2 * mx.random.normal((1, 3, 1, 64), key=key) for key in keys[:2])
    v = mx.random.normal((1, 3, 3, 8), key=keys[2])
    g, beta = (mx.random.uniform(shape=(1, 3, 3), key=key) for key in keys[3:])
    state = mx.random.normal((1, 3, 8, 64), key=keys[0])

    def wrong() -> str:
        mine = _run(where, (q, k, v, g, beta), state)
        right = gated_delta_plain(q, k, v, g, beta, state)
        apart = mx.abs(mine.y - right.y).max() + mx.abs(mine.state - right.state).max()
        if not mx.array_equal(_run_replay(where, mine.tape, 3, state), mine.state).item():
            return "has a tape that does not give its own state"
        return "" if (apart < _TOLERANCE).item() else f"is off by {apart.item():.2g}"

    return note_of("the gated-delta kernel", wrong)


def kernel_note() -> str:
    """Return why the kernel is off though there is a GPU; empty where it runs or there is none."""
    where = backend_for("gated_delta")
    return "" if where is Backend.PLAIN else _note(where)


def _where(k: mx.array) -> Backend:
    """Return what runs these shapes: 32 lanes must divide the key's width."""
    where = backend_for("gated_delta")
    if where is Backend.PLAIN or k.shape[-1] % dialect.LANES or _note(where):
        return Backend.PLAIN
    return where


def gated_delta(
    q: mx.array, k: mx.array, v: mx.array, g: mx.array, beta: mx.array, state: mx.array
) -> DeltaOutput:
    """Run the rule by a kernel where there is one; see `gated_delta_plain`."""
    where = _where(k)
    if where is Backend.PLAIN:
        return gated_delta_plain(q, k, v, g, beta, state)
    return _run(where, (q, k, v, g, beta), state)


def replay(tape: DeltaTape, rows: int, state: mx.array) -> mx.array:
    """Return the state after the first rows, in the bits of `gated_delta`; see `replay_plain`."""
    where = _where(tape.k)
    if where is Backend.PLAIN:
        return replay_plain(tape, rows, state)
    return _run_replay(where, tape, rows, state)
