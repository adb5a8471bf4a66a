"""Logits to the distribution that is drawn from, and a draw: a row a block, and nothing is sorted.

A row's last kept token is found by a search over the digits of an order: a token's scaled logit
with its bits turned so that they order as the numbers do, then its id, the lower one first. At
each digit the weights of what is still in question are counted into 256 counters. For top_k a token
weighs 1; for top_p it weighs its mass in 2**-40 of the likeliest one's, a whole number, so that
sums are the same in whatever order they are made. The definition is the engine's own
`target_distribution` and `draw`, which the caller compares this with.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx

from kernels import dialect
from kernels.dispatch import Backend
from kernels.drawing import DRAW, DRAWING, MOST_INSIDE, WARPS, chunk_size

__all__ = [
    "BODY",
    "HEADER",
    "Distribution",
    "Law",
    "constants",
    "distribution",
    "words",
]

_LISTED = 2048
"""Tokens that are listed when few of a row come into question."""


@dataclass(frozen=True, slots=True)
class Law:
    """How logits become probabilities; the fields are the engine's `Sampling`."""

    temperature: float
    """Above 0."""
    top_k: int
    top_p: float
    min_p: float


@dataclass(frozen=True, slots=True)
class Distribution:
    """Rows of probabilities."""

    probs: mx.array
    """float32 [rows, vocabulary]."""
    sums: mx.array
    """float32 [rows, chunks]: of each `chunk_size` probabilities."""
    tokens: mx.array
    """uint32 [rows]: drawn from them; means nothing where no uniform number was given."""


HEADER = (
    DRAWING
    + """
FUNCTION unsigned int ordered(float x) {
  const unsigned int bits = x == 0.0f ? 0u : as_bits(x);
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}
FUNCTION float number_of(unsigned int key) {
  return as_number(key >> 31 ? key & 0x7fffffffu : ~key);
}
// Greater for what comes first: the greater number, then the lower id.
FUNCTION Wide place_of(float x, int id) {
  return static_cast<Wide>(ordered(x)) << 24 | (0xffffffu - static_cast<unsigned int>(id));
}
FUNCTION Wide weight_of(float mass) { return static_cast<Wide>(mass * 1099511627776.0f); }
FUNCTION void add_wide(NEARBY Counter* place, Wide amount) {
  const unsigned int low = static_cast<unsigned int>(amount);
  const unsigned int before = count_up(place, low);
  const unsigned int high = static_cast<unsigned int>(amount >> 32) + (before + low < before);
  if (high != 0u) count_up(place + 1, high);
}
FUNCTION Wide wide_at(NEARBY Counter* place) {
  return static_cast<Wide>(count_at(place + 1)) << 32 | count_at(place);
}
// What share * 2**-30 of a sum is, rounded up.
FUNCTION Wide part_of(Wide sum, unsigned int share) {
  const Wide low = (sum & 0xffffffffu) * share + 0x3fffffffu;
  return (sum >> 32) * share * 4 + (low >> 30);
}
"""
)
BODY = (
    """
constexpr int threads = 32 * Warps;
const int thread = warp * 32 + lane;
// logits: [rows, width]; columns: [vocabulary], -1 for a token without one; uniform: [rows]
const int width = logits_shape[1];
const int vocabulary = Mapped ? columns_shape[0] : width;
const long row = static_cast<long>(block) * width;
// law: temperature, min_p, top_k (0: all), top_p in 2**-30 (0: all), whether to draw
const float temperature = as_number(law[0]);
const float least = as_number(law[1]);
const int top_k = static_cast<int>(law[2]);
const unsigned int top_p = law[3];

SHARED Counter counters[2 * 256];
SHARED Counter total[2];
SHARED Wide parts[32];
SHARED int list[Listed];
SHARED float sums[32 * 32];
SHARED float groups[32];

// All of the row, a thread eight neighbours at a time, some of them read ahead.
#define EACH_OF_ROW(Ahead, ...) \\
  for (int from = 8 * thread; from < width; from += 8 * threads * Ahead) { \\
    Eight<InT> many[Ahead]; \\
    UNROLL for (int k = 0; k < Ahead; ++k) { \\
      const int first = from + 8 * threads * k; \\
      many[k] = eight_of(logits + row + first, width - first, is_aligned, least_number); \\
    } \\
    UNROLL for (int k = 0; k < Ahead; ++k) UNROLL for (int j = 0; j < 8; ++j) { \\
      const int id = from + 8 * threads * k + j; \\
      const float x = static_cast<float>(many[k].at[j]); \\
      if (id < width) { __VA_ARGS__ } \\
    } \\
  }

// The likeliest token of each thread's, and of all.
const float least_number = as_number(0xff800000u);
const bool is_aligned = is_at<16>(logits + row);
float best = least_number;
int best_id = thread;
best_id = 8 * thread;
EACH_OF_ROW(4, if (x > best) { best = x; best_id = id; })
list[thread] = best_id;
const float warp_best = lane_max(best);
if (lane == 0) groups[warp] = warp_best;
group_barrier();
for (int i = 0; i < Warps; ++i) best = groups[i] > best ? groups[i] : best;
const float top = best / temperature;

// Kept is what has its place at the border or before it; what is below `low` is not.
Wide border = 0;
float low = least_number;
Wide mass = 0;
const bool is_cut = top_k > 0 && top_k < width;
const int bests = (width + 7) / 8 < threads ? (width + 7) / 8 : threads;
const bool is_bounded = is_cut && top_k <= bests;
bool is_listed = is_bounded;
int candidates = is_listed ? bests : width;
#define IF_KEPT(...) \\
  if (!(x < low)) { \\
    const float scaled = x / temperature; \\
    const Wide place = place_of(scaled, id); \\
    if (place >= border) { __VA_ARGS__ } \\
  }
#define EACH_KEPT(...) \\
  if (is_listed) { \\
    for (int i = thread; i < candidates; i += threads) { \\
      const int id = list[i]; \\
      const float x = static_cast<float>(logits[row + id]); \\
      IF_KEPT(__VA_ARGS__) \\
    } \\
  } else { \\
    EACH_OF_ROW(2, IF_KEPT(__VA_ARGS__)) \\
  }
// 0: the top_k-th of the threads' likeliest, which bounds what can be among the top_k; 1: top_k;
// 2: top_p; 3: min_p, and the mass of what is left.
for (int stage = is_bounded ? 0 : is_cut ? 1 : 2; stage < 4; ++stage) {
  if (stage == 2 && top_p == 0u) continue;
  Wide goal = static_cast<Wide>(top_k);
  if (stage >= 2) {
    if (thread < 2) set_count(&total[thread], 0u);
    group_barrier();
    Wide own = 0;
    EACH_KEPT(
      const float each = exponential(scaled - top);
      if (stage == 2 || each >= least) own += weight_of(each);
    )
    if (own != 0) add_wide(total, own);
    group_barrier();
    mass = wide_at(total);
    goal = part_of(mass, top_p);
    if (stage == 3) break;
  }
  // The place at which the weights from the first on reach the goal, digit by digit.
  Wide found = 0, before = 0, here = 0;
  for (int shift = 48; shift >= 0; shift -= 8) {
    if (shift == 16) {
      const float number = number_of(static_cast<unsigned int>(found >> 24));
      const Wide each = stage == 2 ? weight_of(exponential(number - top)) : 1;
      if (before + here < goal + each) break;
    }
    for (int i = thread; i < 512; i += threads) set_count(&counters[i], 0u);
    group_barrier();
    EACH_KEPT(
      if (place >> (shift + 8) == found >> (shift + 8)) {
        const int digit = static_cast<int>(place >> shift & 255u);
        add_wide(&counters[2 * digit], stage == 2 ? weight_of(exponential(scaled - top)) : 1);
      }
    )
    group_barrier();
    if (thread < 32) {
      Wide sum = 0;
      for (int i = 0; i < 8; ++i) sum += wide_at(&counters[2 * (8 * thread + i)]);
      parts[thread] = sum;
    }
    group_barrier();
    int part = 31;
    while (part > 0 && before + parts[part] < goal) before += parts[part--];
    int digit = 8 * part + 7;
    for (here = wide_at(&counters[2 * digit]); digit > 8 * part && before + here < goal;
         here = wide_at(&counters[2 * digit])) {
      before += here;
      --digit;
    }
    found |= static_cast<Wide>(digit) << shift;
    group_barrier();
  }
  border = found > border ? found : border;
  // Before it is divided; a little lower, for division may round two numbers to one.
  const float raw = number_of(static_cast<unsigned int>(border >> 24)) * temperature;
  low = raw - (raw < 0.0f ? -raw : raw) * 1e-6f - 1e-30f;
  if (stage == 0) {
    is_listed = false;
    if (thread == 0) set_count(total, 0u);
    group_barrier();
    EACH_KEPT(
      const unsigned int at = count_up(total, 1u);
      if (at < Listed) list[at] = id;
    )
    group_barrier();
    is_listed = count_at(total) <= Listed;
    candidates = is_listed ? static_cast<int>(count_at(total)) : width;
    group_barrier();
  }
}

// probs: [rows, vocabulary]; chunk_sums: [rows, chunks]
const float all = static_cast<float>(mass) / 1099511627776.0f;
const int size = (vocabulary + 262143) / 262144 * 256;
const int chunks = (vocabulary + size - 1) / size;
const long out = static_cast<long>(block) * vocabulary;
const bool is_out_aligned = is_at<16>(probs + out);
for (int i = thread; i < 32 * 32; i += threads) sums[i] = 0.0f;
group_barrier();
// A warp takes four parts of 256 tokens at once, so that it waits for memory once for all of them.
const int parts_of_chunk = size / 256;
for (int from = warp; from < chunks; from += 4 * Warps) {
  float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  for (int part = 0; part < parts_of_chunk; ++part) {
    Eight<InT> many[4];
    UNROLL for (int k = 0; k < 4; ++k) {
      const int first = (from + k * Warps) * size + 256 * part + 8 * lane;
      if (Mapped) {
        UNROLL for (int j = 0; j < 8; ++j) {
          const int id = first + j < vocabulary ? columns[first + j] : -1;
          many[k].at[j] = id < 0 ? static_cast<InT>(least_number) : logits[row + id];
        }
      } else {
        many[k] = eight_of(logits + row + first, width - first, is_aligned, least_number);
      }
    }
    UNROLL for (int k = 0; k < 4; ++k) {
      const int first = (from + k * Warps) * size + 256 * part + 8 * lane;
      Eight<float> own;
      UNROLL for (int j = 0; j < 8; ++j) {
        const int token = first + j;
        const float x = static_cast<float>(many[k].at[j]);
        own.at[j] = 0.0f;
        if (x > least_number && token < vocabulary) {
          const int id = Mapped ? columns[token] : token;
          IF_KEPT(
            const float each = exponential(scaled - top);
            if (each >= least) own.at[j] = each / all;
          )
        }
        sum[k] += own.at[j];
      }
      if (is_out_aligned && first + 8 <= vocabulary) {
        *reinterpret_cast<DEVICE Eight<float>*>(probs + out + first) = own;
      } else {
        UNROLL for (int j = 0; j < 8; ++j)
          if (first + j < vocabulary) probs[out + first + j] = own.at[j];
      }
    }
  }
  UNROLL for (int k = 0; k < 4; ++k) {
    const int chunk = from + k * Warps;
    const float all_of_chunk = lane_sum(sum[k]);
    if (lane == 0 && chunk < chunks)
      sums[chunk] = chunk_sums[block * chunks + chunk] = all_of_chunk;
  }
}
if (law[4] == 0u) return;
meet(sums, groups, thread);
#define GOAL static_cast<float>(uniform[block]) * total_of(groups, 32)
#define WEIGHT(token) probs[out + (token)]
"""
    + DRAW
    + """
if (thread == 0) tokens[block] = static_cast<unsigned int>(drawn);
"""
)


def words(law: Law, *, is_drawn: bool) -> mx.array:
    """Return a law as the kernel reads it; uint32 [5]."""
    numbers = mx.array([law.temperature, law.min_p], mx.float32).view(mx.uint32)
    share = 0 if law.top_p >= 1 else max(1, round(law.top_p * 2**30))
    return mx.concatenate([numbers, mx.array([law.top_k, share, int(is_drawn)], mx.uint32)])


@functools.lru_cache(64)
def _kept_words(law: Law, *, is_drawn: bool) -> tuple[mx.array, mx.array]:
    """Return a law's words, and a number in the place of those it is not drawn with."""
    found = words(law, is_drawn=is_drawn), mx.zeros((1,))
    mx.eval(*found)
    return found


@functools.cache
def _kernel(where: Backend) -> dialect.Kernel:
    source = dialect.Source(
        "distribution",
        ("logits", "law", "uniform", "columns"),
        ("probs", "chunk_sums", "tokens"),
        BODY,
        HEADER,
        is_of_blocks=True,
    )
    return dialect.build(where, source)


@functools.cache
def _kept(where: Backend, *, is_mapped: bool) -> Callable[..., list[mx.array]]:
    """Return the kernel's call as a graph: MLX else writes the source anew for each call."""

    def call(*inputs: mx.array) -> list[mx.array]:
        logits, _, _, columns = inputs
        rows, width = logits.shape
        vocabulary = columns.shape[0] if is_mapped else width
        chunks = -(-vocabulary // chunk_size(vocabulary))
        return dialect.run_blocks(
            _kernel(where),
            list(inputs),
            [("InT", logits.dtype), *constants(WARPS, is_mapped=is_mapped).items()],
            (rows, WARPS, 1),
            [
                ((rows, vocabulary), mx.float32),
                ((rows, chunks), mx.float32),
                ((rows,), mx.uint32),
            ],
        )

    return mx.compile(call)


def constants(warps: int, *, is_mapped: bool) -> dict[str, int]:
    """Return the constants of the body's template."""
    return {
        "Warps": warps,
        "Mapped": int(is_mapped),
        "Listed": _LISTED,
        "Inside": MOST_INSIDE,
    }


def distribution(
    where: Backend,
    logits: mx.array,
    law: Law,
    uniform: mx.array | None = None,
    columns: mx.array | None = None,
) -> Distribution:
    """Return what a law draws from, by the kernel.

    Args:
        where: METAL or CUDA.
        logits: [rows, width], any float type.
        law: see there.
        uniform: float32 [rows] in [0, 1): draws a token a row.
        columns: int32 [vocabulary]: the column of each token, -1 where it has none; None where
            columns are tokens. Those that are there ascend.
    """
    law_words, nothing = _kept_words(law, is_drawn=uniform is not None)
    numbers = nothing if uniform is None else uniform
    kept = _kept(where, is_mapped=columns is not None)
    return Distribution(
        *kept(logits, law_words, numbers, law_words if columns is None else columns)
    )
