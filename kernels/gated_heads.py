"""What a gated attention layer does to its heads before and after it attends, over a window's few rows.

Before: the joined projections are taken apart, queries and keys normed and turned by their positions.
After: what was attended to is gated and laid out in rows. A row has the same bits whatever
rows are beside it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx

from kernels import dialect
from kernels.comparing import note_of, off_by
from kernels.dispatch import Backend, backend_for

__all__ = [
    "GATE_BODY",
    "SPLIT_BODY",
    "HeadShape",
    "gate_heads",
    "gate_heads_plain",
    "kernel_note",
    "runs_on",
    "split_heads",
    "split_heads_plain",
]

Heads = tuple[mx.array, mx.array, mx.array]
_WARPS = 4
_GATE_WARPS = 8


@dataclass(frozen=True, slots=True)
class HeadShape:
    """Of one layer. In a row of the joined projections lie, for each head, query and gate; keys; values."""

    heads: int
    key_heads: int
    width: int
    turned: int
    """Numbers of a head that its position turns; even."""
    base: float
    """Of the frequencies."""
    scale: float
    """Of the positions."""
    eps: float
    """Of the norms."""


def split_heads_plain(
    rows: mx.array, q_norm: mx.array, k_norm: mx.array, position: mx.array, shape: HeadShape
) -> Heads:
    """Return queries, keys and values in plain MLX: the definition of right.

    Args:
        rows: [B, T, columns], the joined projections.
        q_norm: [width], of the queries' norm.
        k_norm: [width], of the keys' norm.
        position: int32, its first item of the first row.
        shape: of the layer.

    Returns:
        [B, heads, T, width], and twice [B, key heads, T, width]; in the type of the rows.

    Source:
        `Qwen3NextAttention`; Su et al. 2021, arXiv:2104.09864, halves turned against each other.
    """
    batch, steps, _ = rows.shape
    own = shape.heads * shape.width
    keys = shape.key_heads * shape.width
    q, k, v = mx.split(rows, [2 * own, 2 * own + keys], axis=-1)
    q = q.reshape(batch, steps, shape.heads, 2, shape.width)[:, :, :, 0]
    k, v = (each.reshape(batch, steps, shape.key_heads, shape.width) for each in (k, v))

    def turned(x: mx.array, norm: mx.array) -> mx.array:
        x = mx.fast.rms_norm(x, norm, shape.eps).swapaxes(1, 2)
        return mx.fast.rope(
            x,
            shape.turned,
            traditional=False,
            base=shape.base,
            scale=shape.scale,
            offset=position[:1],
        )

    return turned(q, q_norm), turned(k, k_norm), v.swapaxes(1, 2)


def gate_heads_plain(attended: mx.array, rows: mx.array) -> mx.array:
    """Return what was attended to, gated, in plain MLX: the definition of right.

    Args:
        attended: [B, heads, T, width].
        rows: [B, T, columns], as for `split_heads_plain`.

    Returns:
        [B, T, heads width], computed in float32 and rounded once.
    """
    batch, heads, steps, width = attended.shape
    gate = rows[..., : 2 * heads * width].reshape(batch, steps, heads, 2, width)[:, :, :, 1]
    y = attended.swapaxes(1, 2).astype(mx.float32) * mx.sigmoid(gate.astype(mx.float32))
    return y.astype(attended.dtype).reshape(batch, steps, -1)


SPLIT_BODY = """
constexpr int half = Turned / 2;
SHARED float held[Warps * Width];
const int steps = rows_shape[1];
const int batch = slot / steps, t = slot % steps;
const int head = block * Warps + warp;
const bool is_query = head < Heads, is_value = head >= Heads + KeyHeads;
const bool is_one = head < Heads + 2 * KeyHeads;
const int key_head = (head - Heads) % KeyHeads;
// rows: [B, T, columns]; q: [B, Heads, T, Width]; k, v: [B, KeyHeads, T, Width]
const long from = static_cast<long>(slot) * rows_shape[2]
    + (is_query ? 2 * head * Width : (Heads + head) * Width);
float squares = 0.0f;
if (is_one)
  for (int i = lane; i < Width; i += 32) {
    const float x = static_cast<float>(rows[from + i]);
    held[warp * Width + i] = x;
    squares = fused(x, x, squares);
  }
squares = lane_sum(squares);
if (is_one && !is_value) {
  const float scale = 1.0f / sqrt(squares / static_cast<float>(Width) + as_number(EpsBits));
  for (int i = lane; i < Width; i += 32) {
    const float weight = is_query ? static_cast<float>(q_norm[i]) : static_cast<float>(k_norm[i]);
    held[warp * Width + i] =
        static_cast<float>(static_cast<InT>(held[warp * Width + i] * scale * weight));
  }
}
group_barrier();
if (is_one) {
  const float place = static_cast<float>(position[0] + t) * as_number(ScaleBits);
  const long at = (static_cast<long>(batch) * (is_query ? Heads : KeyHeads) + (is_query ? head : key_head)) * steps + t;
  for (int i = lane; i < Width; i += 32) {
    float x = held[warp * Width + i];
    if (!is_value && i < Turned) {
      // frequencies: float32 [Turned / 2]
      const float angle = place * frequencies[i % half];
      const float other = held[warp * Width + (i < half ? i + half : i - half)];
      x = x * cosine(angle) + (i < half ? -other : other) * sine(angle);
    }
    if (is_query) q[at * Width + i] = static_cast<InT>(x);
    else if (is_value) v[at * Width + i] = static_cast<InT>(x);
    else k[at * Width + i] = static_cast<InT>(x);
  }
}
"""
GATE_BODY = """
// attended: [B, Heads, T, Width]; rows: [B, T, columns]; y: [B, T, Heads Width]
const int steps = rows_shape[1];
const int batch = slot / steps, t = slot % steps;
const int i = (block * Warps + warp) * 32 + lane;
if (i < Heads * Width) {
  const int head = i / Width, own = i % Width;
  const float gate = static_cast<float>(rows[static_cast<long>(slot) * rows_shape[2] + (2 * head + 1) * Width + own]);
  const float x = static_cast<float>(attended[((static_cast<long>(batch) * Heads + head) * steps + t) * Width + own]);
  y[static_cast<long>(slot) * Heads * Width + i] = static_cast<InT>(x / (1.0f + exp(-gate)));
}
"""


@functools.cache
def _kernels(where: Backend) -> tuple[dialect.Kernel, dialect.Kernel]:
    inputs = ("rows", "q_norm", "k_norm", "position", "frequencies")
    split = dialect.Source("split_heads", inputs, ("q", "k", "v"), SPLIT_BODY, is_of_blocks=True)
    gate = dialect.Source("gate_heads", ("attended", "rows"), ("y",), GATE_BODY, is_of_blocks=True)
    return dialect.build(where, split), dialect.build(where, gate)


def _constants(shape: HeadShape) -> list[tuple[str, mx.Dtype | int]]:
    return [
        ("Heads", shape.heads),
        ("KeyHeads", shape.key_heads),
        ("Width", shape.width),
        ("Turned", shape.turned),
        ("ScaleBits", dialect.bits_of(shape.scale)),
        ("EpsBits", dialect.bits_of(shape.eps)),
        ("Warps", _WARPS),
    ]


@functools.cache
def frequencies(shape: HeadShape) -> mx.array:
    """Return how far a position turns each pair; float32 [turned / 2]."""
    half = shape.turned // 2
    return mx.array([shape.base ** (-index / half) for index in range(half)], mx.float32)


@functools.cache
def _kept_split(where: Backend, shape: HeadShape) -> Callable[..., list[mx.array]]:
    """Return the kernel's call as a graph: MLX else writes the source anew for each call."""

    def call(*inputs: mx.array) -> list[mx.array]:
        rows = inputs[0]
        batch, steps, _ = rows.shape
        keys = (batch, shape.key_heads, steps, shape.width)
        blocks = -(-(shape.heads + 2 * shape.key_heads) // _WARPS)
        return dialect.run_blocks(
            _kernels(where)[0],
            [*inputs, frequencies(shape)],
            [("InT", rows.dtype), *_constants(shape)],
            (blocks, _WARPS, batch * steps),
            [
                ((batch, shape.heads, steps, shape.width), rows.dtype),
                (keys, rows.dtype),
                (keys, rows.dtype),
            ],
        )

    return mx.compile(call)


@functools.cache
def _kept_gate(where: Backend) -> Callable[..., list[mx.array]]:
    def call(attended: mx.array, rows: mx.array) -> list[mx.array]:
        batch, heads, steps, width = attended.shape
        return dialect.run_blocks(
            _kernels(where)[1],
            [attended, rows],
            [("InT", rows.dtype), ("Heads", heads), ("Width", width), ("Warps", _GATE_WARPS)],
            (-(-heads * width // (32 * _GATE_WARPS)), _GATE_WARPS, batch * steps),
            [((batch, steps, heads * width), rows.dtype)],
        )

    return mx.compile(call)


def split_heads(
    where: Backend,
    rows: mx.array,
    q_norm: mx.array,
    k_norm: mx.array,
    position: mx.array,
    shape: HeadShape,
) -> Heads:
    """Return queries, keys and values by the kernel; see `split_heads_plain`.

    Args:
        where: of `runs_on`, and not PLAIN.
        rows: see there.
        q_norm: see there.
        k_norm: see there.
        position: see there.
        shape: see there.
    """
    q, k, v = _kept_split(where, shape)(rows, q_norm, k_norm, position)
    return q, k, v


def gate_heads(where: Backend, attended: mx.array, rows: mx.array) -> mx.array:
    """Return what was attended to, gated, by the kernel; see `gate_heads_plain`.

    Args:
        where: of `runs_on`, and not PLAIN.
        attended: see there.
        rows: see there.
    """
    return _kept_gate(where)(attended, rows)[0]


_TOLERANCE = {mx.float32: 1e-5, mx.bfloat16: 2.0**-6, mx.float16: 2.0**-9}
"""Against the largest entry: a number that was normed the other way is turned with another."""


@functools.cache
def _note(where: Backend, shape: HeadShape, dtype: mx.Dtype) -> str:
    """Compare the kernels with their definitions once; return what is wrong, or nothing."""
    keys = mx.random.split(mx.random.key(shape.width), 3)
    columns = 2 * (shape.heads + shape.key_heads) * shape.width
    rows = mx.random.normal((1, 3, columns), key=keys[0]).astype(dtype)
    norms = [mx.random.normal((shape.width,), key=key).astype(dtype) for key in keys[1:]]
    position = dialect.scalar(100)

    def wrong() -> str:
        mine = split_heads(where, rows, *norms, position, shape)
        right = split_heads_plain(rows, *norms, position, shape)
        pairs = [*zip(mine, right, strict=True)]
        pairs.append((gate_heads(where, right[0], rows), gate_heads_plain(right[0], rows)))
        return off_by(pairs, _TOLERANCE[dtype])

    return note_of("the kernel of gated heads", wrong)


def kernel_note(shape: HeadShape, dtype: mx.Dtype) -> str:
    """Return why the kernels are off for such layers; empty where they run or there is no GPU."""
    where = backend_for("gated_heads")
    return "" if where is Backend.PLAIN or not _has(shape, dtype) else _note(where, shape, dtype)


def runs_on(shape: HeadShape, dtype: mx.Dtype) -> Backend:
    """Return what runs such layers: PLAIN where the kernels are off or have not this shape or type."""
    is_off = not _has(shape, dtype) or kernel_note(shape, dtype)
    return Backend.PLAIN if is_off else backend_for("gated_heads")


def _has(shape: HeadShape, dtype: mx.Dtype) -> bool:
    return dtype in _TOLERANCE and shape.turned % 2 == 0 and 0 < shape.turned <= shape.width <= 512
