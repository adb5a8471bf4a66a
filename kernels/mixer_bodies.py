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
constexpr int together = own <= 1 ? 1 : own <= 2 ? 2 : own <= 4 ? 4 : own <= 8 ? 8 : own <= 16 ? 16 : 32;
static_assert(own <= together, "a lane has the sum of one row");
constexpr int value_span = (Dv + 31) / 32;
constexpr int span = width > value_span ? width : value_span;
// The convolution reads so many channels of a lane at once; registers for more are not left.
constexpr int ahead = span < 4 ? span : 4, groups = (span + ahead - 1) / ahead;
// Queries, keys, and values in whose place their results come.
SHARED float held[MaxRows * (2 * Dk + Dv)];
SHARED float gates[2 * MaxRows];
constexpr int keys = MaxRows * Dk, values = 2 * MaxRows * Dk;
const int batch = slot / Hv;
const int head = slot % Hv;
const int key_head = head / repeats;
const int place = head % repeats;
// Both are true by constants alone where nothing is left over.
#define HAS_ROW(j) ((j) * Warps + Warps <= Dv || warp + (j) * Warps < Dv)
#define IS_WITHIN(size, i) (32 * (i) + 32 <= (size) || 32 * (i) + lane < (size))
// The last warps have least of the convolution; what only some can do falls to them.
const int from_last = Warps - 1 - warp;

// A compiler leaves a load behind the stores before it; so what can be read is read first.
// state, state_out: [B, Hv, Dv, Dk]; a warp has every so many-th row.
float held_state[own * width];
UNROLL for (int j = 0; j < own; ++j)
  UNROLL for (int i = 0; i < width; ++i)
    held_state[j * width + i] = HAS_ROW(j)
        ? state[(static_cast<long>(slot) * Dv + warp + j * Warps) * Dk + 32 * i + lane]
        : 0.0f;

// Of a row of the tape: its gate, its keys, the innovations of the warp's rows. The first is read
// whether it stays or not.
const DEVICE float* own_tape = tape + batch * MaxRows * Taped;
constexpr int wanted = 1 + width + own;
int places[wanted];
places[0] = taped_gates + head;
UNROLL for (int i = 0; i < width; ++i) places[1 + i] = taped_keys + key_head * Dk + 32 * i + lane;
UNROLL for (int j = 0; j < own; ++j) places[1 + width + j] = head * Dv + (HAS_ROW(j) ? warp + j * Warps : 0);
float taped[wanted];
UNROLL for (int i = 0; i < wanted; ++i) taped[i] = own_tape[places[i]];

// rows: [B, T, columns]; seen, seen_out: [B, Taps - 1 + MaxRows, channels]; conv: [channels, Taps, 1]
const DEVICE InT* own_rows = rows + static_cast<long>(batch) * steps * columns;
const DEVICE InT* own_seen = seen + (batch * kept_rows + keep) * channels;
for (int task = warp; task < 3 * steps; task += Warps) {
  const int t = task / 3, part = task % 3;
  const int size = part == 2 ? Dv : Dk;
  const int column = layout[2 * part] + key_head * layout[2 * part + 1] + (part == 2 ? place * Dv : 0);
  const int channel = part == 2 ? 2 * Hk * Dk + head * Dv : (part * Hk + key_head) * Dk;
  const int put = part * MaxRows * Dk + t * size;
  float mixed[groups * ahead];
  float squares = 0.0f;
  UNROLL for (int first = 0; first < groups * ahead; first += ahead) {
    InT x[ahead * Taps];
    float weight[ahead * Taps];
    UNROLL for (int tap = 0; tap < Taps; ++tap) {
      const int row = t + tap - before;
      const DEVICE InT* from = row >= 0 ? own_rows + static_cast<long>(row) * columns + column
                                        : own_seen + (t + tap) * channels + channel;
      UNROLL for (int i = 0; i < ahead; ++i) {
        const int at = 32 * (first + i) + lane;
        const bool is_within = IS_WITHIN(size, first + i);
        x[i * Taps + tap] = is_within ? from[at] : static_cast<InT>(0.0f);
        weight[i * Taps + tap] = is_within ? static_cast<float>(conv[(channel + at) * Taps + tap]) : 0.0f;
      }
    }
    // What the convolution sees is what the next pass has to.
    DEVICE InT* put_seen = seen_out + (batch * kept_rows + t) * channels + channel;
    if (part == 2 || place == 0)
      UNROLL for (int tap = 0; tap < Taps; ++tap)
        UNROLL for (int i = 0; i < ahead; ++i)
          if ((tap == before || t == 0) && IS_WITHIN(size, first + i))
            put_seen[tap * channels + 32 * (first + i) + lane] = x[i * Taps + tap];
    UNROLL for (int i = 0; i < ahead; ++i) {
      float sum = 0.0f;
      UNROLL for (int tap = 0; tap < Taps; ++tap)
        sum = fused(static_cast<float>(x[i * Taps + tap]), weight[i * Taps + tap], sum);
      sum = static_cast<float>(static_cast<InT>(sum / (1.0f + exp(-sum))));
      squares = fused(sum, sum, squares);
      mixed[first + i] = sum;
    }
  }
  if (part < 2) {
    squares = lane_sum(squares);
    const float scale = (part == 0 ? 1.0f / sqrt(static_cast<float>(Dk)) : 1.0f) / sqrt(squares + 1e-6f);
    UNROLL for (int i = 0; i < groups * ahead; ++i)
      mixed[i] = static_cast<float>(static_cast<InT>(mixed[i] * scale));
  }
  UNROLL for (int i = 0; i < groups * ahead; ++i) {
    const int at = 32 * i + lane;
    if (!IS_WITHIN(size, i)) continue;
    held[put + at] = mixed[i];
    if (part == 1 && place == 0)
      tape_out[(batch * MaxRows + t) * Taped + taped_keys + key_head * Dk + at] = mixed[i];
  }
}
// rest: [2 Hv + Dv], A_log, dt_bias and the norm. The gates of the last part are made while state is on its way.
constexpr int normed_rows = (MaxRows + Warps - 1) / Warps;
float z[normed_rows * value_span], norm[value_span];
UNROLL for (int i = 0; i < value_span; ++i) {
  const int column = layout[6] + key_head * layout[7] + place * Dv + 32 * i + lane;
  norm[i] = from_last < steps && IS_WITHIN(Dv, i) ? rest[2 * Hv + 32 * i + lane] : 0.0f;
  UNROLL for (int each = 0; each < normed_rows; ++each) {
    const int t = from_last + each * Warps;
    z[each * value_span + i] = t < steps && IS_WITHIN(Dv, i)
        ? static_cast<float>(own_rows[static_cast<long>(t) * columns + column])
        : 0.0f;
  }
}
for (int t = from_last * 32 + lane; t < steps; t += 32 * Warps) {
  const DEVICE InT* at = own_rows + static_cast<long>(t) * columns + place;
  const float b = static_cast<float>(at[layout[8] + key_head * layout[9]]);
  const float log_rate = rest[head];
  const float a = static_cast<float>(at[layout[10] + key_head * layout[11]]) + rest[Hv + head];
  const float opened = (a > 0.0f ? a : 0.0f) + log(1.0f + exp(a > 0.0f ? -a : a));
  const float gate = exp(-exp(log_rate) * opened);
  gates[2 * t] = gate;
  gates[2 * t + 1] = 1.0f / (1.0f + exp(-b));
  tape_out[(batch * MaxRows + t) * Taped + taped_gates + head] = gate;
}
if (from_last < steps)
  UNROLL for (int i = 0; i < normed_rows * value_span; ++i) z[i] = z[i] / (1.0f + exp(-z[i]));

// What is stored has the newest pass's rows that stay; the next is on its way while one is added.
for (int t = 0; t < keep; ++t) {
  float present[wanted];
  UNROLL for (int i = 0; i < wanted; ++i) present[i] = taped[i];
  if (t + 1 < keep)
    UNROLL for (int i = 0; i < wanted; ++i) taped[i] = own_tape[(t + 1) * Taped + places[i]];
  UNROLL for (int j = 0; j < own; ++j)
    UNROLL for (int i = 0; i < width; ++i)
      held_state[j * width + i] =
          fused(present[1 + i], present[1 + width + j], held_state[j * width + i] * present[0]);
}
UNROLL for (int j = 0; j < own; ++j)
  UNROLL for (int i = 0; i < width; ++i)
    if (HAS_ROW(j))
      state_out[(static_cast<long>(slot) * Dv + warp + j * Warps) * Dk + 32 * i + lane] = held_state[j * width + i];
group_barrier();

constexpr int lanes_each = 32 / together;
const int own_row = warp + lane / lanes_each * Warps;
const bool has_own = lane / lanes_each < own && own_row < Dv;
for (int t = 0; t < steps; ++t) {
  const float gate = gates[2 * t], beta = gates[2 * t + 1];
  const float value = has_own ? held[values + t * Dv + own_row] : 0.0f;
  float key[width], query[width];
  UNROLL for (int i = 0; i < width; ++i) {
    key[i] = held[keys + t * Dk + 32 * i + lane];
    query[i] = held[t * Dk + 32 * i + lane];
  }
  Several<together> sums;
  UNROLL for (int j = 0; j < together; ++j) {
    sums.of[j] = 0.0f;
    if (j >= own) continue;
    UNROLL for (int i = 0; i < width; ++i) {
      held_state[j * width + i] = held_state[j * width + i] * gate;
      sums.of[j] = fused(held_state[j * width + i], key[i], sums.of[j]);
    }
  }
  const float own_change = (value - lane_sums(sums, lane)) * beta;
  UNROLL for (int j = 0; j < own; ++j) {
    const float change = from_lane(own_change, j * lanes_each);
    sums.of[j] = 0.0f;
    UNROLL for (int i = 0; i < width; ++i) {
      held_state[j * width + i] = fused(key[i], change, held_state[j * width + i]);
      sums.of[j] = fused(held_state[j * width + i], query[i], sums.of[j]);
    }
  }
  const float out = lane_sums(sums, lane);
  if (has_own && lane % lanes_each == 0) {
    held[values + t * Dv + own_row] = out;
    tape_out[(batch * MaxRows + t) * Taped + head * Dv + own_row] = own_change;
  }
}
group_barrier();

// y: [B, T, Hv, Dv]
UNROLL for (int each = 0; each < normed_rows; ++each) {
  const int t = from_last + each * Warps;
  if (t >= steps) continue;
  float x[value_span];
  float squares = 0.0f;
  UNROLL for (int i = 0; i < value_span; ++i) {
    x[i] = IS_WITHIN(Dv, i) ? held[values + t * Dv + 32 * i + lane] : 0.0f;
    squares = fused(x[i], x[i], squares);
  }
  const float scale = 1.0f / sqrt(lane_sum(squares) / static_cast<float>(Dv) + as_number(EpsBits));
  UNROLL for (int i = 0; i < value_span; ++i) {
    if (!IS_WITHIN(Dv, i)) continue;
    const float normed = x[i] * scale * norm[i];
    y[((batch * steps + t) * Hv + head) * Dv + 32 * i + lane] = static_cast<InT>(normed * z[each * value_span + i]);
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
