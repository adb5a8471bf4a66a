"""Attention of a window's few rows over a long cache, which is read once, as far as it is written.

A pass in parts: each warp takes a stretch of the cache's places and a few rows, and leaves their weighted
sum and what it was scaled by; then the parts of each row are joined (Dao et al. 2023, arXiv:2311.01282,
section 3). Copies of the next keys and values are on their way while a warp multiplies. What a row comes
to has the same bits whatever rows are beside it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass

import mlx.core as mx

from kernels import dialect
from kernels.comparing import note_of, off_by
from kernels.dispatch import Backend, backend_for

__all__ = [
    "JOIN_BODY",
    "PART_BODY",
    "WIDTHS",
    "Cut",
    "cached_attention",
    "cached_attention_plain",
    "cut",
    "kernel_note",
    "runs_on",
]

WIDTHS = (32, 64, 128, 256)
"""Of heads: each of 32 lanes has a power of two of their numbers."""
_MOST_ROWS = 8
"""That a warp takes at once; with four places they are one number a lane."""
_PLACES = 4
_WARPS, _STAGES = 4, 4
"""Of a block, and of a warp's ring, at most; see `cut`."""
_JOINING_WARPS = 16
_LEAST, _ENOUGH = 16, 64
"""Places of a part, at least; and of one that no more warps would shorten, until a cache is long: several rows
at once write as much as they read where parts are shorter, and warps for a short cache are there."""
_SHORT, _IN_ALL = 512, 2048
"""Parts over all heads of keys: while they are short, and of a long cache. 15 warps for each of an H200's 132
processors, and half as many over a bucket that is hardly half written."""


def cached_attention_plain(
    queries: mx.array, keys: mx.array, values: mx.array, position: mx.array, scale: float
) -> mx.array:
    """Return what rows attend to in plain MLX: the definition of right.

    Args:
        queries: [B, heads, T, width].
        keys: [B, key heads, length, width]; heads is a multiple of key heads.
        values: as keys.
        position: int32, its first item the place of the first row; row t looks at places up to position + t.
        scale: of the products.

    Returns:
        [B, heads, T, width], computed in float32 and rounded once to the type of the queries.
    """
    own = position[:1] + mx.arange(queries.shape[2])[:, None]
    mask = mx.arange(keys.shape[2]) <= own
    wide = (each.astype(mx.float32) for each in (queries, keys, values))
    attended = mx.fast.scaled_dot_product_attention(*wide, scale=scale, mask=mask)
    return attended.astype(queries.dtype)


@dataclass(frozen=True, slots=True)
class Cut:
    """How the work is cut. Of these a row's bits depend on the parts alone."""

    rows: int
    """That a warp takes at once."""
    warps: int
    """Of a block."""
    stages: int
    """Of a warp's ring."""
    least: int
    """Places of a part, at least."""
    enough: int
    """Places of a part, of which there are no more than `few` while they are shorter."""
    few: int
    """Parts of a short cache for each head of keys, at most."""
    parts: int
    """Of any cache for each head of keys, at most."""

    def constants(self) -> list[tuple[str, int]]:
        """Return them as the body names them."""
        return [(name.capitalize(), value) for name, value in asdict(self).items()]

    def parts_of(self, length: int) -> int:
        """Return how many parts a cache of some length has; see `PART_BODY`."""
        short, wanted = (-(-length // (_PLACES * n)) * _PLACES for n in (self.few, self.parts))
        return -(-length // max(self.least, min(self.enough, short), wanted))

    def blocks_of(self, length: int, rows: int) -> int:
        """Return how many blocks a head of keys takes."""
        groups = -(-rows // self.rows)
        return -(-self.parts_of(length) * groups // self.warps)


def cut(where: Backend, key_heads: int, rows: int, width: int, dtype: mx.Dtype) -> Cut:
    """Return how to cut the work of so many rows on each head of keys."""
    groups = -(-rows // _MOST_ROWS)
    stage = 2 * _PLACES * width * dtype.size
    warps = _WARPS
    while dialect.ROOM[where] < 2 * warps * stage:
        warps //= 2
    return Cut(
        rows=2 * -(-rows // (2 * groups)),
        warps=warps,
        stages=min(_STAGES, dialect.ROOM[where] // (warps * stage)),
        least=_LEAST,
        enough=_ENOUGH,
        few=max(1, _SHORT // key_heads),
        parts=max(1, _IN_ALL // key_heads),
    )


PART_BODY = """
constexpr int Own = Width / 32, Places = 4;
constexpr float Far = 8.0f;
constexpr int Bytes = Own * sizeof(InT);
struct alignas(Bytes < 16 ? Bytes : 16) Piece { InT at[Own]; };
struct alignas(Own < 4 ? 4 * Own : 16) Sums { float at[Own]; };
struct alignas(16) Sixteen { unsigned int at[4]; };
const int steps = queries_shape[2], length = keys_shape[2];
const int rows = steps * Group;
const int groups = (rows + Rows - 1) / Rows;
const int wanted = (length + 4 * Parts - 1) / (4 * Parts) * 4;
const int fair = (length + 4 * Few - 1) / (4 * Few) * 4;
const int shortest = fair < Least ? Least : fair < Enough ? fair : Enough;
const int each = wanted < shortest ? shortest : wanted;
const int parts = (length + each - 1) / each;
const int unit = block * Warps + warp;
if (unit >= parts * groups) return;
const int part = unit / groups, first = unit % groups * Rows;
const int begin = part * each;
const int behind = position[0] + steps < length ? position[0] + steps : length;
const int end = begin + each < behind ? begin + each : behind;

// Each warp has a ring of stages, which are filled ahead of being multiplied. A stage holds the keys
// of four places and then their values; in place of what lies behind the end stands the last place.
constexpr int Across = Width * sizeof(InT) / 16, Half = Places * Across, Whole = 2 * Half;
SHARED Sixteen ring[Warps * Stages * Whole];
NEARBY Sixteen* own_ring = ring + warp * Stages * Whole;
const Place put_at = place_of(own_ring + lane);
const long place_of_head = static_cast<long>(slot) * length * Width;
const DEVICE Sixteen* own_keys = reinterpret_cast<const DEVICE Sixteen*>(keys + place_of_head);
const DEVICE Sixteen* own_values = reinterpret_cast<const DEVICE Sixteen*>(values + place_of_head);
int ahead = begin, put_stage = 0;
#define PUT { \\
  if (ahead < end) { \\
    UNROLL for (int k = 0; k < Whole / 32; ++k) { \\
      const int piece = k * 32 + lane; \\
      const bool is_value = Half < 32 ? lane >= Half : k * 32 >= Half; \\
      const int near = ahead + piece % Half / Across; \\
      const int at = (near < end ? near : end - 1) * Across + piece % Across; \\
      copy_ahead<16>(put_at + (put_stage * Whole + k * 32) * 16, (is_value ? own_values : own_keys) + at); \\
    } \\
    ahead += Places; \\
    if (++put_stage == Stages) put_stage = 0; \\
  } \\
  close_copies(); }
for (int s = 0; s < Stages - 1; ++s) PUT

// queries: [B, Heads, T, Width], so those of a head of keys lie together: [B KeyHeads, rows, Width].
const long own_row = static_cast<long>(slot) * rows + first;
float query[Rows][Own], sum[Rows][Own];
UNROLL for (int r = 0; r < Rows; ++r) {
  const long from = (own_row + (first + r < rows ? r : 0)) * Width;
  const Piece given = reinterpret_cast<const DEVICE Piece*>(queries + from)[lane];
  UNROLL for (int i = 0; i < Own; ++i) {
    query[r][i] = static_cast<float>(given.at[i]) * as_number(ScaleBits);
    sum[r][i] = 0.0f;
  }
}
// A lane has the score of one row at one place: lane = 4 r + k.
const int last = position[0] + (first + lane / Places) % steps;
float most = -1e30f, total = 0.0f;
int stage = 0;
for (int place = begin; place < end; place += Places) {
  await_copies<Stages - 2>();
  PUT
  const NEARBY Piece* here = reinterpret_cast<const NEARBY Piece*>(own_ring + stage * Whole) + lane;
  if (++stage == Stages) stage = 0;
  Several<32> product;
  UNROLL for (int k = 0; k < Places; ++k) {
    const Piece key = here[k * 32];
    UNROLL for (int r = 0; r < 32 / Places; ++r) {
      float dot = 0.0f;
      if (r < Rows)
        UNROLL for (int i = 0; i < Own; ++i) dot = fused(query[r][i], static_cast<float>(key.at[i]), dot);
      product.of[r * Places + k] = dot;
    }
  }
  const float score = lane_sums(product, lane);
  const int at = place + lane % Places;
  const bool is_seen = at < end && at <= last;
  // A row's sums are scaled anew only where a score is far above what they are scaled by.
  if (any_lane(is_seen && score > most + Far)) {
    float highest = is_seen ? score : -1e30f;
    UNROLL for (int near = 1; near < Places; near *= 2) {
      const float other = from_lane(highest, lane ^ near);
      highest = other > highest ? other : highest;
    }
    const float scaled = highest > most + Far ? highest : most;
    const float faded = exponential(most - scaled);
    most = scaled;
    total *= faded;
    UNROLL for (int r = 0; r < Rows; ++r) {
      const float before = from_lane(faded, r * Places);
      UNROLL for (int i = 0; i < Own; ++i) sum[r][i] *= before;
    }
  }
  const float weight = is_seen ? exponential(score - most) : 0.0f;
  total += weight;
  UNROLL for (int k = 0; k < Places; ++k) {
    const Piece value = here[(Places + k) * 32];
    UNROLL for (int r = 0; r < Rows; ++r) {
      const float share = from_lane(weight, r * Places + k);
      UNROLL for (int i = 0; i < Own; ++i) sum[r][i] = fused(share, static_cast<float>(value.at[i]), sum[r][i]);
    }
  }
}
UNROLL for (int near = 1; near < Places; near *= 2) total += from_lane(total, lane ^ near);
// sums: float32 [B KeyHeads, rows, parts, Width]; tops: float32 [B KeyHeads, rows, parts, 2]
const int own = lane / Places;
if (own < Rows && first + own < rows && lane % Places == 0) {
  const long to = ((own_row + own) * parts + part) * 2;
  tops[to] = most;
  tops[to + 1] = total;
}
if (begin < end)
  UNROLL for (int r = 0; r < Rows; ++r)
    if (first + r < rows) {
      Sums whole;
      UNROLL for (int i = 0; i < Own; ++i) whole.at[i] = sum[r][i];
      reinterpret_cast<DEVICE Sums*>(sums + ((own_row + r) * parts + part) * Width)[lane] = whole;
    }
"""
JOIN_BODY = """
constexpr int Own = Width / 32;
SHARED float held[Warps * Width];
SHARED float totals[Warps];
// sums: [rows of all heads, parts, Width]; tops: [rows of all heads, parts, 2]
const int parts = tops_shape[1];
const long own = static_cast<long>(slot) * parts;
float most = -1e30f, last = 0.0f;
for (int part = lane; part < parts; part += 32) {
  const float top = tops[(own + part) * 2];
  most = top > most ? top : most;
  if (!(tops[(own + part) * 2 + 1] == 0.0f)) last = static_cast<float>(part);  // what is no number too
}
most = lane_max(most);
// A row sees the first parts; of the others no sum is written.
const int seen = static_cast<int>(lane_max(last)) + 1;
float total = 0.0f, sum[Own];
UNROLL for (int i = 0; i < Own; ++i) sum[i] = 0.0f;
for (int part = warp; part < seen; part += Warps) {
  const float share = exponential(tops[(own + part) * 2] - most);
  total = fused(share, tops[(own + part) * 2 + 1], total);
  UNROLL for (int i = 0; i < Own; ++i) sum[i] = fused(share, sums[(own + part) * Width + i * 32 + lane], sum[i]);
}
UNROLL for (int i = 0; i < Own; ++i) held[warp * Width + i * 32 + lane] = sum[i];
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
    outputs = "sums", "tops"
    part = dialect.Source(
        "attention_parts", inputs, outputs, PART_BODY, dialect.LANE_SUMS, is_of_blocks=True
    )
    join = dialect.Source(
        "attention_joined",
        ("sums", "tops"),
        ("attended",),
        JOIN_BODY,
        is_of_blocks=True,
        bounds=(_JOINING_WARPS, 1),
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
        chosen = cut(where, key_heads, rows, width, queries.dtype)
        parts = chosen.parts_of(length)
        sums, tops = dialect.run_blocks(
            part,
            [queries, keys, *others],
            [
                ("InT", queries.dtype),
                ("Width", width),
                ("Group", group),
                ("ScaleBits", dialect.bits_of(scale)),
                *chosen.constants(),
            ],
            (chosen.blocks_of(length, rows), chosen.warps, slots),
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
    queries = mx.random.normal((1, own, 9, width), key=random[0]).astype(dtype)
    keys, values = (
        mx.random.normal((1, key_heads, 300, width), key=key).astype(dtype) for key in random[1:]
    )
    scale = width**-0.5

    def at(place: int, rows: mx.array) -> mx.array:
        return cached_attention(where, rows, keys, values, dialect.scalar(place), scale)

    def wrong() -> str:
        pairs = []
        for place in (0, 200, 296):
            position = dialect.scalar(place)
            right = cached_attention_plain(queries[:, :, :4], keys, values, position, scale)
            pairs.append((at(place, queries[:, :, :4]), right))
        apart = off_by(pairs, _TOLERANCE[dtype])
        if apart:
            return apart
        for count in (2, 4, 9):
            beside = at(200, queries[:, :, :count])
            for row in (0, count - 1):
                alone = at(200 + row, queries[:, :, row : row + 1])
                if not mx.array_equal(alone, beside[:, :, row : row + 1]).item():
                    return "gives a row other bits beside others"
        return ""

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
