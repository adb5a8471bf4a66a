"""The bodies of `kernels.delta_mixer`, which has their definitions and tells what arrays hold.

A block is a value head of a sequence. Its warps share the convolution, the norms and the gates of all
rows; then each keeps some rows of the state in registers, adds what stays of the pass before, and runs
the rule row by row; then they share the gated norm.
"""

from __future__ import annotations

__all__ = ["FOLD_BODY", "MIXER_BODY"]


_PARTS = """
constexpr int width = Dk / 32;
constexpr int repeats = Hv / Hk;
constexpr int channels = 2 * Hk * Dk + Hv * Dv;
constexpr int before = Taps - 1;
constexpr int kept_rows = before + MaxRows;
// tape, tape_out: [B, MaxRows, Taped]: innovations [Hv, Dv], keys [Hk, Dk], gates [Hv]
constexpr int Taped = Hv * (Dv + 1) + Hk * Dk, taped_keys = Hv * Dv, taped_gates = Hv * Dv + Hk * Dk;
const int keep = kept[0];
"""
MIXER_BODY = (
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

// rows: [B, T, columns]; seen, seen_out: [B, Taps - 1 + MaxRows, channels]; conv: [channels, Taps, 1]
const DEVICE InT* own_rows = rows + static_cast<long>(batch) * steps * columns;
const DEVICE InT* own_seen = seen + (batch * kept_rows + keep) * channels;
const DEVICE float* own_tape = tape + batch * MaxRows * Taped;
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
      const int row = t + tap - before;
      const float x = row >= 0
          ? static_cast<float>(own_rows[static_cast<long>(row) * columns + column + i])
          : static_cast<float>(own_seen[(t + tap) * channels + channel + i]);
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
    const float x = static_cast<float>(static_cast<InT>(held[put + i] * scale));
    held[put + i] = x;
    if (part == 1 && place == 0)
      tape_out[(batch * MaxRows + t) * Taped + taped_keys + key_head * Dk + i] = x;
  }
}
// rest: [2 Hv + Dv], A_log, dt_bias and the norm
for (int t = warp * 32 + lane; t < steps; t += 32 * Warps) {
  const DEVICE InT* at = own_rows + static_cast<long>(t) * columns + place;
  const float b = static_cast<float>(at[layout[8] + key_head * layout[9]]);
  const float a = static_cast<float>(at[layout[10] + key_head * layout[11]])
      + rest[Hv + head];
  const float opened = (a > 0.0f ? a : 0.0f) + log(1.0f + exp(a > 0.0f ? -a : a));
  const float gate = exp(-exp(rest[head]) * opened);
  gates[2 * t] = gate;
  gates[2 * t + 1] = 1.0f / (1.0f + exp(-b));
  tape_out[(batch * MaxRows + t) * Taped + taped_gates + head] = gate;
}
for (int part = place == 0 ? 0 : 2; part < 3; ++part) {
  const int size = part == 2 ? Dv : Dk;
  const int column = layout[2 * part] + key_head * layout[2 * part + 1] + (part == 2 ? place * Dv : 0);
  const int channel = part == 2 ? 2 * Hk * Dk + head * Dv : (part * Hk + key_head) * Dk;
  for (int id = warp * 32 + lane; id < (before + steps) * size; id += 32 * Warps) {
    const int row = id / size, i = id % size;
    seen_out[(batch * kept_rows + row) * channels + channel + i] = row < before
        ? own_seen[row * channels + channel + i]
        : own_rows[static_cast<long>(row - before) * columns + column + i];
  }
}
group_barrier();

// What is stored has the newest pass's rows that stay.
for (int t = 0; t < keep; ++t) {
  const float gate = own_tape[t * Taped + taped_gates + head];
  float key[width];
  UNROLL for (int i = 0; i < width; ++i)
    key[i] = own_tape[t * Taped + taped_keys + key_head * Dk + 32 * i + lane];
  UNROLL for (int j = 0; j < own; ++j) {
    const int row = warp + j * Warps;
    const float change = row < Dv ? own_tape[t * Taped + head * Dv + row] : 0.0f;
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
    float known = 0.0f;
    UNROLL for (int i = 0; i < width; ++i) {
      held_state[j * width + i] = held_state[j * width + i] * gate;
      known = fused(held_state[j * width + i], key[i], known);
    }
    known = lane_sum(known);
    const float change = ((row < Dv ? held[values + t * Dv + row] : 0.0f) - known) * beta;
    float out = 0.0f;
    UNROLL for (int i = 0; i < width; ++i) {
      held_state[j * width + i] = fused(key[i], change, held_state[j * width + i]);
      out = fused(held_state[j * width + i], query[i], out);
    }
    out = lane_sum(out);
    if (lane == 0 && row < Dv) {
      held[values + t * Dv + row] = out;
      tape_out[(batch * MaxRows + t) * Taped + head * Dv + row] = change;
    }
  }
}
group_barrier();

// y: [B, T, Hv, Dv]
for (int t = warp; t < steps; t += Warps) {
  float squares = 0.0f;
  for (int i = lane; i < Dv; i += 32) squares = fused(held[values + t * Dv + i], held[values + t * Dv + i], squares);
  const float scale = 1.0f / sqrt(lane_sum(squares) / static_cast<float>(Dv) + as_number(EpsBits));
  const int column = layout[6] + key_head * layout[7] + place * Dv;
  for (int i = lane; i < Dv; i += 32) {
    const float z = static_cast<float>(own_rows[static_cast<long>(t) * columns + column + i]);
    const float normed = held[values + t * Dv + i] * scale * rest[2 * Hv + i];
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
    const DEVICE float* own_tape = tape + (batch * MaxRows + t) * Taped;
    const float key = own_tape[taped_keys + key_head * Dk + at];
    held = fused(key, own_tape[value_head * Dv + row], held * own_tape[taped_gates + value_head]);
  }
  state_out[place + at] = held;
}
// seen: [B, Taps - 1 + MaxRows, channels]; window_out: [B, Taps - 1, channels]
for (int id = (value_head * Dv + row) * 32 + lane; id < before * channels; id += Hv * Dv * 32)
  window_out[batch * before * channels + id] = seen[(batch * kept_rows + keep) * channels + id];
"""
)
