"""The loop of the small-batch quantised matmul, the same in all dialects; its inner tile is in `quant_tiles`.

A block's warps share the inputs of some outputs, each warp bringing its own share of the weights
into a ring of stages ahead of multiplying them; in the end the warps' sums meet.
"""

from __future__ import annotations

__all__ = ["BODY"]

BODY = """
constexpr int width = Group * Bits / 128;
constexpr int pieces = Depth * width;
constexpr int tall = 16 * Tall;
const int inputs = x_shape[x_ndim - 1];
const int outputs = weight_shape[Picked];
// What is stored of a row: gated, a column for each output of the first half and its fellow in the second.
const int columns = Gated ? outputs / 2 : outputs;
constexpr int wide = Gated ? tall / 2 : tall;
int rows = 1;
for (int i = 0; i < (Picked ? 0 : x_ndim - 1); ++i) rows *= x_shape[i];
const int groups = inputs / Group;
// The warps of all parts share the groups.
constexpr int stride = Parts * Warps * Depth;
const int own_group = ((Parts == 1 ? 0 : slot) * Warps + warp) * Depth;
const int steps = (groups + stride - 1) / stride;
const int packed_row = inputs / 32 * Bits;
const int quarter = lane % 4;

// This block's columns, `wide` at a time.
const int span = ((columns + blocks - 1) / blocks + wide - 1) / wide * wide;
const int begin = block * span;
const int end = begin + span < columns ? begin + span : columns;
if (begin >= end) return;

// x: [..., inputs], with picks [rows, inputs]; weight: [experts, outputs, packed_row]; scales, biases: [experts, outputs, groups]
const DEVICE InT* own_x = x;
long base = 0;
if (Picked) {
  own_x += static_cast<long>(slot / (slots / x_shape[0])) * inputs;
  base = static_cast<long>(picks[slot]) * outputs;
}
// y: [slots, rows, columns]
DEVICE OutT* own_y = y + static_cast<long>(slot) * rows * columns;
if (!is_at<16>(own_x) || !is_at<16>(weight)) {
#define ONE(output) one_by_one<Bits, Group>( \\
    own_x + row * inputs, weight + (base + (output)) * packed_row, \\
    scales + (base + (output)) * groups, biases + (base + (output)) * groups, groups)
  for (int column = begin + warp * 32 + lane; column < end; column += 32 * Warps) {
    for (int row = 0; row < rows; ++row) {
      float sum = Parts == 1 || slot == 0 ? ONE(column) : 0.0f;
      if (Gated) sum = gated<InT>(sum, ONE(columns + column));
      own_y[row * columns + column] = static_cast<OutT>(sum);
    }
  }
  return;
}

// Each warp has a ring of stages, which are filled ahead of being multiplied. A stage holds, of
// `tall` outputs and Depth groups, the words in pieces of 16 bytes, turned so that lanes that read
// at once read different banks; and scales and biases. What lies behind the last output or group
// is not brought; what is in its place there is whole numbers, which zeros are multiplied by.
constexpr int turned = pieces < 8 ? pieces : 8;
SHARED Words<4> ring[Warps * Stages * tall * pieces];
SHARED Factors<Depth> factor_ring[Warps * Stages * tall];
NEARBY Words<4>* own_ring = ring + warp * Stages * tall * pieces;
NEARBY Factors<Depth>* own_factors = factor_ring + warp * Stages * tall;
const bool is_even = Whole && is_at<2 * Depth>(scales) && is_at<2 * Depth>(biases);
#define TURN(row) ((row) * turned / 8 * 2 & (turned - 1))
constexpr int apart = 32 / pieces;
const int put_row = lane / pieces, put_piece = lane % pieces;
int put_from = begin, put_group = own_group, put_stage = 0;
const DEVICE unsigned int* word_source =
    weight + (base + begin + put_row) * packed_row + (put_group * width + put_piece) * 4;
const DEVICE InT* factor_source =
    (lane % 2 ? biases : scales) + (base + begin + lane / 2) * groups + put_group;
#define WORD_PLACE(row) place_of(own_ring) + ((row) * pieces + (put_piece ^ TURN(row))) * 16
const Place words_at = once(WORD_PLACE(put_row));
const Place factors_at = once(place_of(own_factors) + (lane / 2 * 2 + lane % 2) * 2 * Depth);
const int word_step = once(apart * packed_row), factor_step = once(16 * groups);
// From a gate's last row of a stage to its fellow's first; rows behind `wide` are of the same columns.
const int word_jump = Gated ? (columns - wide) * packed_row : 0;
const int factor_jump = Gated ? (columns - wide) * groups : 0;
#define COLUMN(row) (put_from + ((row) < wide ? (row) : (row) - wide))
// Rows of a lane that are turned alike lie evenly apart.
constexpr bool is_alike = turned < 4 || apart % 4 == 0;
#define PUT_WORDS(k) copy_ahead<16>( \\
    (is_alike ? words_at + (k) * apart * pieces * 16 : WORD_PLACE(put_row + (k) * apart)) + \\
        put_stage * tall * pieces * 16, words_from)
#define PUT_FACTORS(h) copy_ahead<2 * Depth>( \\
    factors_at + (put_stage * tall + 16 * (h)) * 4 * Depth, factors_from)
// Most stages are whole, and of those nothing more is asked.
#define PUT { \\
  const DEVICE unsigned int* words_from = word_source; \\
  const DEVICE InT* factors_from = factor_source; \\
  if (is_even && put_from + wide <= end && put_group < groups) { \\
    UNROLL for (int k = 0; k < tall / apart; ++k, words_from += word_step) { \\
      if (Gated && k * apart == wide) words_from += word_jump; \\
      PUT_WORDS(k); \\
    } \\
    UNROLL for (int h = 0; h < Tall; ++h, factors_from += factor_step) { \\
      if (Gated && 16 * h == wide) factors_from += factor_jump; \\
      PUT_FACTORS(h); \\
    } \\
  } else if (put_from < end) { \\
    const bool has_words = put_group + put_piece / width < groups; \\
    UNROLL for (int k = 0; k < tall / apart; ++k, words_from += word_step) { \\
      if (Gated && k * apart == wide) words_from += word_jump; \\
      if (has_words && COLUMN(put_row + k * apart) < end) PUT_WORDS(k); \\
    } \\
    UNROLL for (int h = 0; h < Tall; ++h, factors_from += factor_step) { \\
      const int row = lane / 2 + 16 * h; \\
      if (Gated && 16 * h == wide) factors_from += factor_jump; \\
      if (COLUMN(row) < end && put_group < groups) { \\
        if (is_even) { \\
          PUT_FACTORS(h); \\
        } else { \\
          NEARBY InT* to = reinterpret_cast<NEARBY InT*>( \\
              lane % 2 ? own_factors[put_stage * tall + row].bias \\
                       : own_factors[put_stage * tall + row].scale); \\
          for (int d = 0; d < Depth && put_group + d < groups; ++d) to[d] = factors_from[d]; \\
        } \\
      } \\
    } \\
  } \\
  if (put_from < end) { \\
    word_source += stride * width * 4; \\
    factor_source += stride; \\
    put_group += stride; \\
    if (put_group - own_group == steps * stride) { \\
      put_group = own_group; \\
      put_from += wide; \\
      word_source += static_cast<long>(wide) * packed_row - steps * stride * width * 4; \\
      factor_source += static_cast<long>(wide) * groups - steps * stride; \\
    } \\
    if (++put_stage == Stages) put_stage = 0; \\
  } \\
  close_copies(); }
for (int stage = 0; stage < Stages - 1; ++stage) PUT

Rows<InT, Bits, Group, Blocks> all_x;
all_x.aim(own_x, inputs, rows, lane);
Tile<InT, Bits, Group, Blocks> tiles[Tall];
// Activations are read a step ahead too.
Raw<InT, Bits, Group, Blocks> coming[Depth];
#define NEAREST(group, last) ((group) < (last) ? (group) : (last))
#define FETCH(from, d) coming[d] = all_x.fetch( \\
    Whole ? NEAREST(from, groups - Depth) + d : NEAREST((from) + d, groups - 1))
UNROLL for (int d = 0; d < Depth; ++d) FETCH(own_group, d);
// Where a lane's words lie in a stage; they are read by fours at most.
constexpr int some = width < 4 ? width : 4;
int own_words[Depth * width / some];
UNROLL for (int k = 0; k < Depth * width / some; ++k) {
  const int word = (4 * (k * some / width) + quarter) * width + k * some % width;
  own_words[k] = once((lane / 4 * pieces + (word / 4 ^ TURN(lane / 4))) * 4 + word % 4);
}
// The warps' sums meet, a block of rows at a time, a gate's beside its fellow's: [1 or 2, warps, 4, lanes]
SHARED float met[(Gated ? 2 : 1) * Warps * 128];
int stage = 0;
for (int from = begin; from < end; from += wide) {
  UNROLL for (int h = 0; h < Tall; ++h) tiles[h].clear();
  for (int first = own_group; first < steps * stride; first += stride) {
    await_copies<Stages - 2>();
    PUT
    const int after = first + stride < steps * stride ? first + stride : own_group;
    // A warp whose share is at its end only goes on to the next columns.
    if ((Whole || Parts > 1) && first >= groups) {
      UNROLL for (int d = 0; d < Depth; ++d) FETCH(after, d);
    } else UNROLL for (int d = 0; d < Depth; ++d) {
      const bool is_there = Whole || first + d < groups;
      const Slice<InT, Bits, Group, Blocks> slice = all_x.ready(coming[d]);
      FETCH(after, d);
      UNROLL for (int h = 0; h < Tall; ++h) {
        const int one = stage * tall + 16 * h;
        const Factors<Depth> factors[2] = {own_factors[one + lane / 4], own_factors[one + lane / 4 + 8]};
        Words<width> low, high;
        UNROLL for (int part = 0; part < width; part += some) {
          NEARBY unsigned int* words = own_ring[one * pieces].at + own_words[(d * width + part) / some];
          const Words<some> a = *reinterpret_cast<NEARBY Words<some>*>(words);
          const Words<some> b = *reinterpret_cast<NEARBY Words<some>*>(words + 8 * pieces * 4);
          UNROLL for (int i = 0; i < some; ++i) {
            low.at[part + i] = a.at[i];
            high.at[part + i] = b.at[i];
          }
        }
        const Words<4> four = {{
            as_bits(is_there ? half_of<InT>(factors[0].scale[d / 2], d % 2) : 0.0f),
            as_bits(is_there ? half_of<InT>(factors[0].bias[d / 2], d % 2) : 0.0f),
            as_bits(is_there ? half_of<InT>(factors[1].scale[d / 2], d % 2) : 0.0f),
            as_bits(is_there ? half_of<InT>(factors[1].bias[d / 2], d % 2) : 0.0f)}};
        tiles[h].add(low, high, slice, four);
      }
    }
    if (++stage == Stages) stage = 0;
  }
  UNROLL for (int h = 0; h < Tall; ++h) tiles[h].finish(lane);
  UNROLL for (int h = 0; h < wide / 16; ++h) {
    UNROLL for (int n = 0; n < Blocks; ++n) {
      UNROLL for (int i = 0; i < 4; ++i) {
        met[warp * 128 + i * 32 + lane] = tiles[h].owned[n][i];
        if (Gated) met[(Warps + warp) * 128 + i * 32 + lane] = tiles[h + wide / 16 % Tall].owned[n][i];
      }
      group_barrier();
      for (int place = warp * 32 + lane; place < 128; place += 32 * Warps) {
        float sum = 0.0f, fellow = 0.0f;
        UNROLL for (int p = 0; p < Warps; ++p) {
          sum += met[p * 128 + place];
          if (Gated) fellow += met[(Warps + p) * 128 + place];
        }
        if (Gated) sum = gated<InT>(sum, fellow);
        const int i = place / 32;
        const int column = from + 16 * h + i / 2 * 8 + lane / 4;
        const int row = 8 * n + quarter * 2 + i % 2;
        if (column < end && row < rows) own_y[row * columns + column] = static_cast<OutT>(sum);
      }
      group_barrier();
    }
  }
}
"""
