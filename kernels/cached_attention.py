"""Attention of a window's few rows over a long cache, which is read once, as far as it is written.

A pass in parts: each warp takes a stretch of the cache's places and a few rows, and leaves their weighted
sum and what it was scaled by; then the parts of each row are joined (Dao et al. 2023, arXiv:2311.01282,
section 3). What a row comes to has the same bits whatever rows are beside it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import mlx.core as mx

from kernels import dialect
from kernels.comparing import note_of, off_by
from kernels.dispatch import Backend, backend_for

__all__ = [
    "JOIN_BODY",
    "PART_BODY",
    "WIDTHS",
    "cached_attention",
    "cached_attention_plain",
    "kernel_note",
    "parts_of",
    "runs_on",
]

WIDTHS = (32, 64, 128, 256)
"""Of heads: each of 32 lanes has a power of two of their numbers."""
_ROWS = 8
"""That a warp takes at once; with four places they are one number a lane."""
_JOINING_WARPS = 8
_LEAST = 64
"""Places of a part, at least."""
_PARTS = 256
"""Of a long cache, about: so many warps for each head of keys keep a GPU's memory busy."""


def cached_attention_plain(
    queries: mx.array, keys: mx.array, values: mx.array, position: mx.array, scale: float
) -> mx.array:
    """Return what rows attend to in plain MLX: the definition of right.

    Args:
        queries: [B, heads, T, width].
        keys: [B, key heads, length, width]; heads is a multiple of key heads.
        values: as keys.
        position: int32 [1], the place of the first row; row t looks at places up to position + t.
        scale: of the products.

    Returns:
        [B, heads, T, width], computed in float32 and rounded once to the type of the queries.
    """
    own = position + mx.arange(queries.shape[2])[:, None]
    mask = mx.arange(keys.shape[2]) <= own
    wide = (each.astype(mx.float32) for each in (queries, keys, values))
    attended = mx.fast.scaled_dot_product_attention(*wide, scale=scale, mask=mask)
    return attended.astype(queries.dtype)


def parts_of(length: int) -> tuple[int, int]:
    """Return how many places a part has, and how many parts a cache of some length; see `PART_BODY`."""
    each = max(_LEAST, (length // _PARTS + 3) // 4 * 4)
    return each, -(-length // each)


PART_BODY = """
constexpr int Own = Width / 32, Places = 4;
struct alignas(Own * sizeof(InT)) Piece { InT at[Own]; };
const int steps = queries_shape[2], length = keys_shape[2];
const int rows = steps * Group;
const int groups = (rows + Rows - 1) / Rows;
const int part = row / groups, first = row % groups * Rows;
const int wanted = (length / Parts + 3) / 4 * 4;
const int each = wanted < Least ? Least : wanted;
const int parts = (length + each - 1) / each;
const int begin = part * each;
const int behind = position[0] + steps < length ? position[0] + steps : length;
const int end = begin + each < behind ? begin + each : behind;
// queries: [B, Heads, T, Width], so those of a head of keys lie together: [B KeyHeads, rows, Width].
const long own_row = static_cast<long>(head) * rows + first;
float query[Rows][Own], sum[Rows][Own];
UNROLL for (int r = 0; r < Rows; ++r)
  UNROLL for (int i = 0; i < Own; ++i) {
    query[r][i] = first + r < rows
        ? static_cast<float>(queries[(own_row + r) * Width + lane * Own + i]) * as_number(ScaleBits) : 0.0f;
    sum[r][i] = 0.0f;
  }
// A lane has the score of one row at one place: lane = 4 r + k.
const int last = position[0] + (first + lane / Places) % steps;
float most = -1e30f, total = 0.0f;
for (int place = begin; place < end; place += Places) {
  Piece key[Places], value[Places];
  UNROLL for (int k = 0; k < Places; ++k) {
    const int at = place + k < end ? place + k : end - 1;
    const long from = (static_cast<long>(head) * length + at) * Width + lane * Own;
    key[k] = *reinterpret_cast<const DEVICE Piece*>(keys + from);
    value[k] = *reinterpret_cast<const DEVICE Piece*>(values + from);
  }
  float product[32];
  UNROLL for (int r = 0; r < Rows; ++r)
    UNROLL for (int k = 0; k < Places; ++k) {
      float dot = 0.0f;
      UNROLL for (int i = 0; i < Own; ++i) dot = fused(query[r][i], static_cast<float>(key[k].at[i]), dot);
      product[r * Places + k] = dot;
    }
  // The lanes' 32 sums at once: each exchange leaves half of them to each half of the lanes.
  UNROLL for (int half = 16; half > 0; half /= 2)
    UNROLL for (int i = 0; i < half; ++i) {
      const bool is_upper = (lane & half) != 0;
      const float given = is_upper ? product[i] : product[i + half];
      product[i] = (is_upper ? product[i + half] : product[i]) + from_lane(given, lane ^ half);
    }
  const int at = place + lane % Places;
  const bool is_seen = at < end && at <= last;
  float highest = is_seen ? product[0] : -1e30f;
  highest = highest > most ? highest : most;
  UNROLL for (int near = 1; near < Places; near *= 2) {
    const float other = from_lane(highest, lane ^ near);
    highest = other > highest ? other : highest;
  }
  const float faded = exponential(most - highest);
  const float weight = is_seen ? exponential(product[0] - highest) : 0.0f;
  most = highest;
  total = total * faded + weight;
  UNROLL for (int r = 0; r < Rows; ++r) {
    const float before = from_lane(faded, r * Places);
    UNROLL for (int i = 0; i < Own; ++i) sum[r][i] *= before;
    UNROLL for (int k = 0; k < Places; ++k) {
      const float share = from_lane(weight, r * Places + k);
      UNROLL for (int i = 0; i < Own; ++i) sum[r][i] = fused(share, static_cast<float>(value[k].at[i]), sum[r][i]);
    }
  }
}
UNROLL for (int near = 1; near < Places; near *= 2) total += from_lane(total, lane ^ near);
// sums: float32 [B KeyHeads, rows, parts, Width]; tops: float32 [B KeyHeads, rows, parts, 2]
if (first + lane / Places < rows && lane % Places == 0) {
  const long to = ((own_row + lane / Places) * parts + part) * 2;
  tops[to] = most;
  tops[to + 1] = total;
}
if (begin < end)
  UNROLL for (int r = 0; r < Rows; ++r)
    if (first + r < rows)
      UNROLL for (int i = 0; i < Own; ++i)
        sums[((own_row + r) * parts + part) * Width + lane * Own + i] = sum[r][i];
"""
JOIN_BODY = """
constexpr int Own = Width / 32;
SHARED float held[Warps * Width];
SHARED float totals[Warps];
// sums: [rows of all heads, parts, Width]; tops: [rows of all heads, parts, 2]
const int parts = tops_shape[1];
const long own = static_cast<long>(slot) * parts;
float most = -1e30f;
for (int part = lane; part < parts; part += 32) {
  const float top = tops[(own + part) * 2];
  most = top > most ? top : most;
}
most = lane_max(most);
float total = 0.0f, sum[Own];
UNROLL for (int i = 0; i < Own; ++i) sum[i] = 0.0f;
for (int part = warp; part < parts; part += Warps) {
  const float scaled = tops[(own + part) * 2 + 1];
  if (scaled > 0.0f) {  // else nothing was seen, and no sum written
    const float share = exponential(tops[(own + part) * 2] - most);
    total = fused(share, scaled, total);
    UNROLL for (int i = 0; i < Own; ++i) sum[i] = fused(share, sums[(own + part) * Width + lane * Own + i], sum[i]);
  }
}
UNROLL for (int i = 0; i < Own; ++i) held[warp * Width + lane * Own + i] = sum[i];
if (lane == 0) totals[warp] = total;
group_barrier();
float whole = 0.0f;
for (int w = 0; w < Warps; ++w) whole += totals[w];
for (int i = warp * 32 + lane; i < Width; i += Warps * 32) {
  float x = 0.0f;
  for (int w = 0; w < Warps; ++w) x += held[w * Width + i];
  attended[static_cast<long>(slot) * Width + i] = static_cast<OutT>(x / whole);
}
"""


@functools.cache
def _kernels(where: Backend) -> tuple[dialect.Kernel, dialect.Kernel]:
    inputs = ("queries", "keys", "values", "position")
    part = dialect.Source("attention_parts", inputs, ("sums", "tops"), PART_BODY)
    join = dialect.Source(
        "attention_joined", ("sums", "tops"), ("attended",), JOIN_BODY, is_of_blocks=True
    )
    return dialect.build(where, part), dialect.build(where, join)


@functools.cache
def _kept(where: Backend, scale: float) -> Callable[..., list[mx.array]]:
    """Return the kernels' call as a graph: MLX else writes the sources anew for each call."""
    part, join = _kernels(where)

    def call(queries: mx.array, keys: mx.array, *others: mx.array) -> list[mx.array]:
        batch, heads, steps, width = queries.shape
        key_heads, length = keys.shape[1:3]
        group = heads // key_heads
        rows, slots = steps * group, batch * key_heads
        parts = parts_of(length)[1]
        sums, tops = dialect.run(
            part,
            [queries, keys, *others],
            [
                ("InT", queries.dtype),
                ("Width", width),
                ("Group", group),
                ("ScaleBits", dialect.bits_of(scale)),
                *_SIZES,
            ],
            (-(-rows // _ROWS) * parts, slots),
            [
                ((slots * rows, parts, width), mx.float32),
                ((slots * rows, parts, 2), mx.float32),
            ],
        )
        return dialect.run_blocks(
            join,
            [sums, tops],
            [("OutT", queries.dtype), ("Width", width), ("Warps", _JOINING_WARPS)],
            (1, _JOINING_WARPS, slots * rows),
            [(queries.shape, queries.dtype)],
        )

    return mx.compile(call)


_SIZES = [("Rows", _ROWS), ("Least", _LEAST), ("Parts", _PARTS)]
_TOLERANCE = {mx.float32: 1e-4, mx.bfloat16: 2.0**-7, mx.float16: 2.0**-10}
"""Against the largest entry; float32 matmuls of a GPU may be of numbers rounded to fewer bits."""


def cached_attention(
    where: Backend,
    queries: mx.array,
    keys: mx.array,
    values: mx.array,
    position: mx.array,
    scale: float,
) -> mx.array:
    """Return what rows attend to by the kernel; see `cached_attention_plain`.

    Args:
        where: of `runs_on`, and not PLAIN.
        queries: see there.
        keys: see there.
        values: see there.
        position: see there.
        scale: see there.
    """
    return _kept(where, scale)(queries, keys, values, position)[0]


@functools.cache
def _note(where: Backend, heads: tuple[int, int], width: int, dtype: mx.Dtype) -> str:
    """Compare the kernel with its definition once; return what is wrong, or nothing."""
    own, key_heads = heads
    random = mx.random.split(mx.random.key(width), 3)
    queries = mx.random.normal((1, own, 3, width), key=random[0]).astype(dtype)
    keys, values = (
        mx.random.normal((1, key_heads, 300, width), key=key).astype(dtype) for key in random[1:]
    )
    scale = width**-0.5

    def wrong() -> str:
        pairs = []
        for place in (0, 200, 297):
            inputs = queries, keys, values, mx.array([place], mx.int32), scale
            pairs.append((cached_attention(where, *inputs), cached_attention_plain(*inputs)))
        return off_by(pairs, _TOLERANCE[dtype])

    return note_of("the kernel of cached attention", wrong)


def kernel_note(heads: int, key_heads: int, width: int, dtype: mx.Dtype) -> str:
    """Return why the kernel is off for such layers; empty where it runs, is not wanted, or no GPU is there."""
    where = backend_for("cached_attention")
    if where is Backend.PLAIN or width not in WIDTHS or dtype not in _TOLERANCE:
        return ""
    return _note(where, (heads, key_heads), width, dtype)


def runs_on(heads: int, key_heads: int, width: int, dtype: mx.Dtype) -> Backend:
    """Return what runs such layers: PLAIN where the kernel is off or has not this shape or type."""
    is_had = width in WIDTHS and dtype in _TOLERANCE and heads % key_heads == 0
    is_off = not is_had or kernel_note(heads, key_heads, width, dtype)
    return Backend.PLAIN if is_off else backend_for("cached_attention")
