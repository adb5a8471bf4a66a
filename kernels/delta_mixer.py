"""All that a gated DeltaNet layer does between its two projections, over the few rows of a window.

In one kernel: causal convolution of the q, k and v channels, SiLU, the norms of q and k, the gates,
the gated delta rule (`kernels.gated_delta` has its equations), and the gated norm of what it gives.
A row's result has the same bits whatever rows come after it.

What a pass leaves is the state it began with and a tape of its rows. How many of them stay is
said later, by a number; the next pass replays them in registers, stores that state, and goes on. So
state is read once and written once in every pass, and rolling back costs nothing.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx

from kernels import dialect
from kernels.dispatch import Backend, backend_for
from kernels.gated_delta import DeltaTape, gated_delta_plain, replay_plain

__all__ = [
    "BODY",
    "FOLD_BODY",
    "MAX_ROWS",
    "MixerShape",
    "MixerState",
    "MixerWeights",
    "count_of",
    "delta_mixer",
    "delta_mixer_plain",
    "empty",
    "folded",
    "folded_plain",
    "kernel_note",
    "runs_on",
    "settled",
    "trial",
]

MAX_ROWS = 9
"""The longest window: the last token and the deepest draft."""
_WARPS = 16
_QK_EPS = 1e-6


@dataclass(frozen=True, slots=True)
class MixerShape:
    """Of one layer; where in a row of the joined projections each part of it lies."""

    key_heads: int
    heads: int
    """Of values; a multiple of the key heads."""
    key_width: int
    width: int
    """Of a value head."""
    taps: int
    """Of the convolution."""
    columns: tuple[tuple[int, int], ...]
    """First column of q, k, v, z, b and a, and how far the next key head's are."""
    eps: float
    """Of the gated norm."""

    @property
    def channels(self) -> int:
        """Of the convolution: all q, all k, all v."""
        return 2 * self.key_heads * self.key_width + self.heads * self.width


@dataclass(frozen=True, slots=True)
class MixerWeights:
    """Of one layer, beside its projections."""

    conv: mx.array
    """[channels, taps, 1]."""
    a_log: mx.array
    """[Hv]."""
    dt_bias: mx.array
    """[Hv]."""
    norm: mx.array
    """[Dv]."""


@dataclass(frozen=True, slots=True)
class MixerState:
    """What a layer remembers: what it was, and the rows of its newest pass that are to be added."""

    window: mx.array
    """[B, taps - 1, channels]: what the convolution needs of the rows before the pass."""
    state: mx.array
    """float32 [B, Hv, Dv, Dk], before the pass."""
    past: mx.array
    """[B, MAX_ROWS, channels]: what the convolution saw of the pass; what lies behind its rows
    means nothing, here and below."""
    k: mx.array
    """[B, MAX_ROWS, Hk, Dk], normed, in the type of the rows."""
    delta: mx.array
    """float32 [B, MAX_ROWS, Hv, Dv], the innovations."""
    g: mx.array
    """float32 [B, MAX_ROWS, Hv], the gates."""
    kept: mx.array
    """int32 [1], rows of the pass that stay."""

    def arrays(self) -> list[mx.array]:
        """Return the fields in their order."""
        return [self.window, self.state, self.past, self.k, self.delta, self.g, self.kept]


@functools.cache
def count_of(rows: int) -> mx.array:
    """Return a number of rows as `kept` has it; all layers share it."""
    return mx.array([rows], mx.int32)


def settled(shape: MixerShape, window: mx.array, state: mx.array) -> MixerState:
    """Return what a layer remembers where no rows are to be added."""
    past, k, delta, g = _no_rows(shape, window.shape[0], window.dtype)
    return MixerState(window, state, past, k, delta, g, count_of(0))


def empty(shape: MixerShape, batch: int, dtype: mx.Dtype) -> MixerState:
    """Return what a layer remembers before its first row."""
    window = mx.zeros((batch, shape.taps - 1, shape.channels), dtype)
    state = mx.zeros((batch, shape.heads, shape.width, shape.key_width), mx.float32)
    return settled(shape, window, state)


@functools.lru_cache(maxsize=8)
def _no_rows(shape: MixerShape, batch: int, dtype: mx.Dtype) -> tuple[mx.array, ...]:
    sizes = _tape_shapes(shape, batch, dtype)
    return tuple(mx.zeros(size, kind) for size, kind in sizes)


def _tape_shapes(
    shape: MixerShape, batch: int, dtype: mx.Dtype
) -> list[tuple[tuple[int, ...], mx.Dtype]]:
    return [
        ((batch, MAX_ROWS, shape.channels), dtype),
        ((batch, MAX_ROWS, shape.key_heads, shape.key_width), dtype),
        ((batch, MAX_ROWS, shape.heads, shape.width), mx.float32),
        ((batch, MAX_ROWS, shape.heads), mx.float32),
    ]


def delta_mixer_plain(
    rows: mx.array, weights: MixerWeights, shape: MixerShape, before: MixerState
) -> tuple[mx.array, MixerState]:
    """Run the layer's middle in plain MLX: the definition of right.

    Sums are in float32; q, k and v are rounded to the type of the rows, and so is the result.

    Args:
        rows: [B, T, columns], the joined projections; T is at most MAX_ROWS.
        weights: of the layer.
        shape: of the layer.
        before: what the layer remembers; not changed.

    Returns:
        [B, T, Hv Dv] in the type of the rows, and what the layer remembers then; all rows stay.

    Source:
        `GatedDeltaNet` of Qwen3.5, and section 3 of Yang, Kautz, Hatamizadeh 2024, arXiv:2412.06464.
    """
    dtype = rows.dtype
    batch, steps, _ = rows.shape
    window, state = folded_plain(before)
    joined = mx.concatenate([window, _channels(rows, shape)], axis=1)
    wide, taps = joined.astype(mx.float32), weights.conv[..., 0].astype(mx.float32)
    mixed = sum(wide[:, i : i + steps] * taps[:, i] for i in range(shape.taps))
    mixed = (mixed * mx.sigmoid(mixed)).astype(dtype)
    ends = [shape.key_heads * shape.key_width, 2 * shape.key_heads * shape.key_width]
    q, k, v = mx.split(mixed, ends, axis=-1)
    q, k = (_unit(each.reshape(batch, steps, shape.key_heads, -1)) for each in (q, k))
    q = q * shape.key_width**-0.5
    v = v.reshape(batch, steps, shape.heads, shape.width)
    z, b, a = (_part(rows, shape, index).astype(mx.float32) for index in (3, 4, 5))
    opened = mx.logaddexp(a[..., 0] + weights.dt_bias.astype(mx.float32), 0)
    g = mx.exp(-mx.exp(weights.a_log.astype(mx.float32)) * opened)
    beta = mx.sigmoid(b[..., 0])
    q, k, v = (each.astype(dtype).astype(mx.float32) for each in (q, k, v))
    ran = gated_delta_plain(q, k, v, g, beta, state)
    y = mx.fast.rms_norm(ran.y, weights.norm.astype(mx.float32), shape.eps)
    y = (y * z * mx.sigmoid(z)).astype(dtype).reshape(batch, steps, -1)
    tape = (joined[:, shape.taps - 1 :], k.astype(dtype), ran.tape.delta, g)
    return y, MixerState(window, state, *(_filled_up(part) for part in tape), count_of(steps))


def folded_plain(before: MixerState) -> tuple[mx.array, mx.array]:
    """Return the convolution's window and the state once the rows that stay were added.

    Args:
        before: what a layer remembers; not changed.
    """
    joined = mx.concatenate([before.window, before.past], axis=1)
    window = mx.take(joined, before.kept + mx.arange(before.window.shape[1]), axis=1)
    state = before.state
    for t in range(MAX_ROWS):
        row = DeltaTape(before.k[:, t : t + 1], before.delta[:, t : t + 1], before.g[:, t : t + 1])
        state = mx.where(t < before.kept, replay_plain(row, 1, state), state)
    return window, state


def _filled_up(part: mx.array) -> mx.array:
    """Return rows [B, T, ...] with zeros behind them."""
    spare = mx.zeros((part.shape[0], MAX_ROWS - part.shape[1], *part.shape[2:]), part.dtype)
    return mx.concatenate([part, spare], axis=1)


def _unit(x: mx.array) -> mx.array:
    x = x.astype(mx.float32)
    return x * mx.rsqrt((x * x).sum(axis=-1, keepdims=True) + _QK_EPS)


def _channels(rows: mx.array, shape: MixerShape) -> mx.array:
    """Return what the convolution sees of the projections; [B, T, channels]."""
    parts = [_part(rows, shape, index) for index in range(3)]
    return mx.concatenate([part.reshape(*rows.shape[:2], -1) for part in parts], axis=-1)


def _part(rows: mx.array, shape: MixerShape, index: int) -> mx.array:
    """Return one part of the projections' rows; [B, T, heads, width]."""
    is_key = index < 2
    width = (shape.key_width, shape.key_width, shape.width, shape.width, 1, 1)[index]
    begin, step = shape.columns[index]
    length = width if is_key else width * shape.heads // shape.key_heads
    columns = begin + mx.arange(shape.key_heads)[:, None] * step + mx.arange(length)
    return rows[..., columns.reshape(-1)].reshape(*rows.shape[:2], -1, width)


_PARTS = """
constexpr int width = Dk / 32;
constexpr int repeats = Hv / Hk;
constexpr int channels = 2 * Hk * Dk + Hv * Dv;
constexpr int before = Taps - 1;
const int keep = kept[0];
"""
BODY = (
    _PARTS
    + """
constexpr int layout[] = {AtQ, StepQ, AtK, StepK, AtV, StepV, AtZ, StepZ, AtB, StepB, AtA, StepA};
const int steps = rows_shape[1];
const int columns = rows_shape[2];
constexpr int own = (Dv + Warps - 1) / Warps;
// Queries, keys, and values in whose place their results come.
SHARED float held[MaxRows * (2 * Dk + Dv)];
SHARED float gates[2 * MaxRows];
constexpr int keys = MaxRows * Dk, values = 2 * MaxRows * Dk;
const int batch = slot / Hv;
const int head = slot % Hv;
const int key_head = head / repeats;
const int place = head % repeats;

// state, state_out: [B, Hv, Dv, Dk]; a warp has every so many-th row. Read first, wanted last.
float held_state[own * width];
UNROLL for (int j = 0; j < own; ++j) {
  const int row = warp + j * Warps;
  UNROLL for (int i = 0; i < width; ++i)
    held_state[j * width + i] = row < Dv ? state[(static_cast<long>(slot) * Dv + row) * Dk + 32 * i + lane] : 0.0f;
}

// rows: [B, T, columns]; window: [B, Taps - 1, channels]; past: [B, MaxRows, channels]
// conv: [channels, Taps, 1]
const DEVICE InT* own_rows = rows + static_cast<long>(batch) * steps * columns;
const DEVICE InT* own_window = window + batch * before * channels;
const DEVICE InT* own_past = past + batch * MaxRows * channels - before * channels;
for (int task = warp; task < 3 * steps; task += Warps) {
  const int t = task / 3, part = task % 3;
  const int size = part == 2 ? Dv : Dk;
  const int column = layout[2 * part] + key_head * layout[2 * part + 1] + (part == 2 ? place * Dv : 0);
  const int channel = part == 2 ? 2 * Hk * Dk + head * Dv : (part * Hk + key_head) * Dk;
  const int put = part * MaxRows * Dk + t * size;
  float squares = 0.0f;
  for (int i = lane; i < size; i += 32) {
    float sum = 0.0f;
    UNROLL for (int tap = 0; tap < Taps; ++tap) {
      const int row = t + tap - before, at = keep + t + tap;
      const float x = row >= 0
          ? static_cast<float>(own_rows[static_cast<long>(row) * columns + column + i])
          : static_cast<float>((at < before ? own_window : own_past)[at * channels + channel + i]);
      sum = fused(x, static_cast<float>(conv[(channel + i) * Taps + tap]), sum);
    }
    sum = static_cast<float>(static_cast<InT>(sum / (1.0f + exp(-sum))));
    squares = fused(sum, sum, squares);
    held[put + i] = sum;
  }
  if (part == 2) continue;
  squares = lane_sum(squares);
  const float scale = (part == 0 ? 1.0f / sqrt(static_cast<float>(Dk)) : 1.0f) / sqrt(squares + 1e-6f);
  for (int i = lane; i < size; i += 32) {
    const InT x = static_cast<InT>(held[put + i] * scale);
    held[put + i] = static_cast<float>(x);
    // k, k_out: [B, MaxRows, Hk, Dk]
    if (part == 1 && place == 0) k_out[((batch * MaxRows + t) * Hk + key_head) * Dk + i] = x;
  }
}
// a_log, dt_bias: [Hv]; g, g_out: [B, MaxRows, Hv]
for (int t = warp * 32 + lane; t < steps; t += 32 * Warps) {
  const DEVICE InT* at = own_rows + static_cast<long>(t) * columns + place;
  const float b = static_cast<float>(at[layout[8] + key_head * layout[9]]);
  const float a = static_cast<float>(at[layout[10] + key_head * layout[11]])
      + static_cast<float>(dt_bias[head]);
  const float opened = (a > 0.0f ? a : 0.0f) + log(1.0f + exp(a > 0.0f ? -a : a));
  const float gate = exp(-exp(static_cast<float>(a_log[head])) * opened);
  gates[2 * t] = gate;
  gates[2 * t + 1] = 1.0f / (1.0f + exp(-b));
  g_out[(batch * MaxRows + t) * Hv + head] = gate;
}
// window_out: as window; past_out: as past
for (int part = place == 0 ? 0 : 2; part < 3; ++part) {
  const int size = part == 2 ? Dv : Dk;
  const int column = layout[2 * part] + key_head * layout[2 * part + 1] + (part == 2 ? place * Dv : 0);
  const int channel = part == 2 ? 2 * Hk * Dk + head * Dv : (part * Hk + key_head) * Dk;
  for (int id = warp * 32 + lane; id < (before + steps) * size; id += 32 * Warps) {
    const int row = id / size, i = id % size, at = keep + row;
    if (row < before)
      window_out[(batch * before + row) * channels + channel + i] =
          (at < before ? own_window : own_past)[at * channels + channel + i];
    else
      past_out[(batch * MaxRows + row - before) * channels + channel + i] =
          own_rows[static_cast<long>(row - before) * columns + column + i];
  }
}
group_barrier();

// delta, delta_out: [B, MaxRows, Hv, Dv]. What is stored has the newest pass's rows that stay.
for (int t = 0; t < keep; ++t) {
  const float gate = g[(batch * MaxRows + t) * Hv + head];
  float key[width];
  UNROLL for (int i = 0; i < width; ++i)
    key[i] = static_cast<float>(k[((batch * MaxRows + t) * Hk + key_head) * Dk + 32 * i + lane]);
  UNROLL for (int j = 0; j < own; ++j) {
    const int row = warp + j * Warps;
    const float change = row < Dv ? delta[((batch * MaxRows + t) * Hv + head) * Dv + row] : 0.0f;
    UNROLL for (int i = 0; i < width; ++i)
      held_state[j * width + i] = fused(key[i], change, held_state[j * width + i] * gate);
  }
}
UNROLL for (int j = 0; j < own; ++j) {
  const int row = warp + j * Warps;
  UNROLL for (int i = 0; i < width; ++i)
    if (row < Dv) state_out[(static_cast<long>(slot) * Dv + row) * Dk + 32 * i + lane] = held_state[j * width + i];
}
for (int t = 0; t < steps; ++t) {
  const float gate = gates[2 * t], beta = gates[2 * t + 1];
  float key[width], query[width];
  UNROLL for (int i = 0; i < width; ++i) {
    key[i] = held[keys + t * Dk + 32 * i + lane];
    query[i] = held[t * Dk + 32 * i + lane];
  }
  UNROLL for (int j = 0; j < own; ++j) {
    const int row = warp + j * Warps;
    float seen = 0.0f;
    UNROLL for (int i = 0; i < width; ++i) {
      held_state[j * width + i] = held_state[j * width + i] * gate;
      seen = fused(held_state[j * width + i], key[i], seen);
    }
    seen = lane_sum(seen);
    const float change = ((row < Dv ? held[values + t * Dv + row] : 0.0f) - seen) * beta;
    float out = 0.0f;
    UNROLL for (int i = 0; i < width; ++i) {
      held_state[j * width + i] = fused(key[i], change, held_state[j * width + i]);
      out = fused(held_state[j * width + i], query[i], out);
    }
    out = lane_sum(out);
    if (lane == 0 && row < Dv) {
      held[values + t * Dv + row] = out;
      delta_out[((batch * MaxRows + t) * Hv + head) * Dv + row] = change;
    }
  }
}
group_barrier();

// y: [B, T, Hv, Dv]; norm: [Dv]
for (int t = warp; t < steps; t += Warps) {
  float squares = 0.0f;
  for (int i = lane; i < Dv; i += 32) squares = fused(held[values + t * Dv + i], held[values + t * Dv + i], squares);
  const float scale = 1.0f / sqrt(lane_sum(squares) / static_cast<float>(Dv) + as_number(EpsBits));
  const int column = layout[6] + key_head * layout[7] + place * Dv;
  for (int i = lane; i < Dv; i += 32) {
    const float z = static_cast<float>(own_rows[static_cast<long>(t) * columns + column + i]);
    const float normed = held[values + t * Dv + i] * scale * static_cast<float>(norm[i]);
    y[((batch * steps + t) * Hv + head) * Dv + i] = static_cast<InT>(normed * (z / (1.0f + exp(-z))));
  }
}
"""
)
FOLD_BODY = (
    _PARTS
    + """
const int batch = head / Hv;
const int value_head = head % Hv;
const int key_head = value_head / repeats;
if (row >= Dv) return;
const long place = (static_cast<long>(head) * Dv + row) * Dk;
for (int i = 0; i < width; ++i) {
  const int at = 32 * i + lane;
  float held = state[place + at];
  for (int t = 0; t < keep; ++t) {
    const int step = batch * MaxRows + t;
    const float key = static_cast<float>(k[(step * Hk + key_head) * Dk + at]);
    held = fused(key, delta[(step * Hv + value_head) * Dv + row], held * g[step * Hv + value_head]);
  }
  state_out[place + at] = held;
}
// window, window_out: [B, Taps - 1, channels]; past: [B, MaxRows, channels]
for (int id = (value_head * Dv + row) * 32 + lane; id < before * channels; id += Hv * Dv * 32) {
  const int at = keep + id / channels, channel = id % channels;
  window_out[batch * before * channels + id] = at < before
      ? window[(batch * before + at) * channels + channel]
      : past[(batch * MaxRows + at - before) * channels + channel];
}
"""
)


@functools.cache
def _kernels(where: Backend) -> tuple[dialect.Kernel, dialect.Kernel]:
    past = ("past", "k", "delta", "g")
    inputs = ("rows", "conv", "a_log", "dt_bias", "norm", "window", "state", *past, "kept")
    outputs = ("y", "window_out", "state_out", *(f"{name}_out" for name in past))
    forward = dialect.Source("delta_mixer", inputs, outputs, BODY, is_of_blocks=True)
    held = ("window", "state", *past, "kept")
    fold = dialect.Source("delta_fold", held, ("window_out", "state_out"), FOLD_BODY)
    return dialect.build(where, forward), dialect.build(where, fold)


def _constants(shape: MixerShape) -> list[tuple[str, mx.Dtype | int]]:
    return [
        ("Dk", shape.key_width),
        ("Dv", shape.width),
        ("Hk", shape.key_heads),
        ("Hv", shape.heads),
        ("Taps", shape.taps),
        ("MaxRows", MAX_ROWS),
        ("EpsBits", dialect.bits_of(shape.eps)),
        *((f"At{part}", begin) for part, (begin, _) in zip("QKVZBA", shape.columns, strict=True)),
        *((f"Step{part}", step) for part, (_, step) in zip("QKVZBA", shape.columns, strict=True)),
    ]


@functools.cache
def _kept_forward(where: Backend, shape: MixerShape) -> Callable[..., list[mx.array]]:
    """Return the kernel's call as a graph: MLX else writes the source anew for each call."""

    def call(*inputs: mx.array) -> list[mx.array]:
        rows, window, state = inputs[0], inputs[5], inputs[6]
        batch, steps, _ = rows.shape
        return dialect.run_blocks(
            _kernels(where)[0],
            list(inputs),
            [("InT", rows.dtype), *_constants(shape), ("Warps", _WARPS)],
            (1, _WARPS, batch * shape.heads),
            [
                ((batch, steps, shape.heads * shape.width), rows.dtype),
                (window.shape, rows.dtype),
                (state.shape, mx.float32),
                *_tape_shapes(shape, batch, rows.dtype),
            ],
        )

    return mx.compile(call)


@functools.cache
def _kept_fold(where: Backend, shape: MixerShape) -> Callable[..., list[mx.array]]:
    def call(*held: mx.array) -> list[mx.array]:
        window, state = held[:2]
        return dialect.run(
            _kernels(where)[1],
            list(held),
            _constants(shape),
            (shape.width, window.shape[0] * shape.heads),
            [(window.shape, window.dtype), (state.shape, mx.float32)],
        )

    return mx.compile(call)


def delta_mixer(
    where: Backend, rows: mx.array, weights: MixerWeights, shape: MixerShape, before: MixerState
) -> tuple[mx.array, MixerState]:
    """Run the layer's middle by the kernel; see `delta_mixer_plain`.

    Args:
        where: of `runs_on`, and not PLAIN.
        rows: see there.
        weights: see there.
        shape: see there.
        before: see there.
    """
    own = weights.conv, weights.a_log, weights.dt_bias, weights.norm
    y, *left = _kept_forward(where, shape)(rows, *own, *before.arrays())
    return y, MixerState(*left, count_of(rows.shape[1]))


def folded(where: Backend, shape: MixerShape, before: MixerState) -> tuple[mx.array, mx.array]:
    """Return window and state by the kernel, in the bits of `delta_mixer`; see `folded_plain`.

    Args:
        where: of `runs_on`, and not PLAIN.
        shape: of the layer.
        before: see there.
    """
    window, state = _kept_fold(where, shape)(*before.arrays())
    return window, state


_TOLERANCE = {mx.float32: 1e-4, mx.bfloat16: 2.0**-6, mx.float16: 2.0**-9}
"""Against the largest entry; a number that was rounded the other way is passed on."""


def _fits(shape: MixerShape) -> bool:
    """Return whether 32 lanes share a key's width, and a block's memory holds the rows."""
    held = MAX_ROWS * (2 * shape.key_width + shape.width)
    return (
        shape.key_width % dialect.LANES == 0 and held <= 7168 and shape.width <= 8 * dialect.LANES
    )


@functools.cache
def _note(where: Backend, shape: MixerShape, dtype: mx.Dtype) -> str:
    """Compare the kernels with their definitions once; return what is wrong, or nothing."""
    try:
        wrong = _wrong(where, shape, dtype)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        return f"the kernel of a gated DeltaNet layer can't run here: {reason}"
    return f"the kernel of a gated DeltaNet layer {wrong}; plain MLX runs" if wrong else ""


def _wrong(where: Backend, shape: MixerShape, dtype: mx.Dtype) -> str:
    """Compare two passes one after the other, of the first of which two rows stay."""
    rows, weights, before = trial(shape, dtype, 3)
    first = delta_mixer(where, rows, weights, shape, before)[1]
    first = dataclasses.replace(first, kept=count_of(2))
    y, mine = delta_mixer(where, rows, weights, shape, first)
    right_y, right = delta_mixer_plain(rows, weights, shape, first)
    pairs = [(y, right_y), (mine.state, right.state), (mine.window, right.window)]
    pairs.append((mine.delta[:, :3], right.delta[:, :3]))
    for one, other in pairs:
        other = other.astype(mx.float32)
        apart = mx.abs(one.astype(mx.float32) - other).max() / mx.abs(other).max()
        if not (apart < _TOLERANCE[dtype]).item():
            return f"is off by {apart.item():.2g}"
    for one, other in zip((mine.window, mine.state), folded(where, shape, first), strict=True):
        if not mx.array_equal(one, other).item():
            return "leaves a tape that does not give its own state"
    alone = delta_mixer(where, rows[:, :2], weights, shape, first)[0]
    return "" if mx.array_equal(alone, y[:, :2]).item() else "gives a row other bits beside others"


def trial(
    shape: MixerShape, dtype: mx.Dtype, steps: int
) -> tuple[mx.array, MixerWeights, MixerState]:
    """Return random rows, weights, and what a layer remembers, to compare with."""
    keys = mx.random.split(mx.random.key(steps), 7)
    step = shape.heads // shape.key_heads
    widths = (shape.key_width, shape.key_width, step * shape.width, step * shape.width, step, step)
    columns = max(
        begin + hop * (shape.key_heads - 1) + width
        for (begin, hop), width in zip(shape.columns, widths, strict=True)
    )
    rows = mx.random.normal((1, steps, columns), key=keys[0]).astype(dtype)
    weights = MixerWeights(
        mx.random.normal((shape.channels, shape.taps, 1), key=keys[1]).astype(dtype),
        mx.log(mx.random.uniform(0.5, 8, (shape.heads,), key=keys[2])),
        mx.random.normal((shape.heads,), key=keys[3]).astype(dtype),
        mx.random.normal((shape.width,), key=keys[4]).astype(dtype),
    )
    window = mx.random.normal((1, shape.taps - 1, shape.channels), key=keys[5]).astype(dtype)
    state = mx.random.normal((1, shape.heads, shape.width, shape.key_width), key=keys[6])
    return rows, weights, settled(shape, window, state)


def kernel_note(shape: MixerShape, dtype: mx.Dtype) -> str:
    """Return why the kernel is off for such layers; empty where it runs or there is no GPU."""
    where = backend_for("delta_mixer")
    if where is Backend.PLAIN or dtype not in _TOLERANCE or not _fits(shape):
        return ""
    return _note(where, shape, dtype)


def runs_on(shape: MixerShape, dtype: mx.Dtype) -> Backend:
    """Return what runs such layers: PLAIN where the kernel is off or has not this shape or type."""
    where = backend_for("delta_mixer")
    is_had = dtype in _TOLERANCE and _fits(shape)
    return where if is_had and not kernel_note(shape, dtype) else Backend.PLAIN
