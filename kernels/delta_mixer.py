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
from kernels.comparing import note_of, off_by
from kernels.dispatch import Backend, backend_for
from kernels.gated_delta import DeltaTape, gated_delta_plain, replay_plain
from kernels.mixer_bodies import FOLD_BODY, MIXER_BODY

__all__ = [
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

    @property
    def taped(self) -> int:
        """Numbers of a row on the tape."""
        return self.heads * (self.width + 1) + self.key_heads * self.key_width


@dataclass(frozen=True, slots=True)
class MixerWeights:
    """Of one layer, beside its projections."""

    conv: mx.array
    """[channels, taps, 1]."""
    rest: mx.array
    """float32 [2 Hv + Dv]: A_log, dt_bias, and the gated norm's weight. In one array, as below:
    the host takes its time for each that a kernel reads or writes."""

    @classmethod
    def of(cls, conv: mx.array, a_log: mx.array, dt_bias: mx.array, norm: mx.array) -> MixerWeights:
        """Return the weights of a layer, packed; they are as its class has them."""
        parts = [part.astype(mx.float32) for part in (a_log, dt_bias, norm)]
        return cls(conv, mx.concatenate(parts))


@dataclass(frozen=True, slots=True)
class MixerState:
    """What a layer remembers: what it was, and the rows of its newest pass that are to be added."""

    seen: mx.array
    """[B, taps - 1 + MAX_ROWS, channels], in the type of the rows: what the convolution needs of those
    before the pass, and what it saw of the pass. What lies behind that means nothing, here and below."""
    state: mx.array
    """float32 [B, Hv, Dv, Dk], before the pass."""
    tape: mx.array
    """float32 [B, MAX_ROWS, Hv Dv + Hk Dk + Hv]: innovations; keys, normed; gates."""
    kept: mx.array
    """int32 [4], of `count_of`: rows of the pass that stay."""

    def arrays(self) -> list[mx.array]:
        """Return the fields in their order."""
        return [self.seen, self.state, self.tape, self.kept]


@functools.cache
def count_of(rows: int) -> mx.array:
    """Return a number of rows as `kept` has it; all layers share it."""
    return dialect.scalar(rows)


def settled(shape: MixerShape, window: mx.array, state: mx.array) -> MixerState:
    """Return what a layer remembers where no rows are to be added.

    Args:
        shape: of the layer.
        window: [B, taps - 1, channels], the newest rows of the convolution.
        state: float32 [B, Hv, Dv, Dk].
    """
    batch = window.shape[0]
    spare = mx.zeros((batch, MAX_ROWS, shape.channels), window.dtype)
    seen = mx.concatenate([window, spare], axis=1)
    return MixerState(seen, state, mx.zeros((batch, MAX_ROWS, shape.taped)), count_of(0))


def empty(shape: MixerShape, batch: int, dtype: mx.Dtype) -> MixerState:
    """Return what a layer remembers before its first row."""
    window = mx.zeros((batch, shape.taps - 1, shape.channels), dtype)
    state = mx.zeros((batch, shape.heads, shape.width, shape.key_width), mx.float32)
    return settled(shape, window, state)


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
    window, state = folded_plain(shape, before)
    a_log, dt_bias, norm = mx.split(weights.rest, [shape.heads, 2 * shape.heads])
    joined = mx.concatenate([window, _channels(rows, shape)], axis=1)
    wide, taps = joined.astype(mx.float32), weights.conv[..., 0].astype(mx.float32)
    mixed = mx.stack([wide[:, i : i + steps] * taps[:, i] for i in range(shape.taps)]).sum(axis=0)
    mixed = (mixed * mx.sigmoid(mixed)).astype(dtype)
    ends = [shape.key_heads * shape.key_width, 2 * shape.key_heads * shape.key_width]
    q, k, v = mx.split(mixed, ends, axis=-1)
    q, k = (_unit(each.reshape(batch, steps, shape.key_heads, -1)) for each in (q, k))
    q = q * shape.key_width**-0.5
    v = v.reshape(batch, steps, shape.heads, shape.width)
    z, b, a = (_part(rows, shape, index).astype(mx.float32) for index in (3, 4, 5))
    opened = mx.logaddexp(a[..., 0] + dt_bias, 0)
    g = mx.exp(-mx.exp(a_log) * opened)
    beta = mx.sigmoid(b[..., 0])
    q, k, v = (each.astype(dtype).astype(mx.float32) for each in (q, k, v))
    ran = gated_delta_plain(q, k, v, g, beta, state)
    y = mx.fast.rms_norm(ran.y, norm, shape.eps)
    y = (y * z * mx.sigmoid(z)).astype(dtype).reshape(batch, steps, -1)
    parts = [each.reshape(batch, steps, -1) for each in (ran.tape.delta, k, g)]
    spare = MAX_ROWS - steps
    seen = mx.pad(joined, [(0, 0), (0, spare), (0, 0)])
    tape = mx.pad(mx.concatenate(parts, axis=-1), [(0, 0), (0, spare), (0, 0)])
    return y, MixerState(seen, state, tape, count_of(steps))


def folded_plain(shape: MixerShape, before: MixerState) -> tuple[mx.array, mx.array]:
    """Return the convolution's window and the state once the rows that stay were added.

    Args:
        shape: of the layer.
        before: what the layer remembers; not changed.

    Returns:
        As `settled` takes them.
    """
    kept, state = before.kept[:1], before.state
    window = mx.take(before.seen, kept + mx.arange(shape.taps - 1), axis=1)
    batch = state.shape[0]
    ends = [shape.heads * shape.width, shape.taped - shape.heads]
    for t in range(MAX_ROWS):
        delta, k, g = mx.split(before.tape[:, t : t + 1], ends, axis=-1)
        k = k.reshape(batch, 1, shape.key_heads, shape.key_width)
        delta = delta.reshape(batch, 1, shape.heads, shape.width)
        state = mx.where(t < kept, replay_plain(DeltaTape(k, delta, g), 1, state), state)
    return window, state


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


@functools.cache
def _kernels(where: Backend) -> tuple[dialect.Kernel, dialect.Kernel]:
    held = ("seen", "state", "tape", "kept")
    outputs = ("y", "seen_out", "state_out", "tape_out")
    inputs = ("rows", "conv", "rest", *held)
    forward = dialect.Source(
        "delta_mixer",
        inputs,
        outputs,
        MIXER_BODY,
        dialect.LANE_SUMS,
        is_of_blocks=True,
        bounds=(_WARPS, 1),
    )
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
        rows, seen, state, tape = inputs[0], *inputs[3:6]
        batch, steps, _ = rows.shape
        return dialect.run_blocks(
            _kernels(where)[0],
            list(inputs),
            [("InT", rows.dtype), *_constants(shape), ("Warps", _WARPS)],
            (1, _WARPS, batch * shape.heads),
            [
                ((batch, steps, shape.heads * shape.width), rows.dtype),
                (seen.shape, rows.dtype),
                (state.shape, mx.float32),
                (tape.shape, mx.float32),
            ],
        )

    return mx.compile(call)


@functools.cache
def _kept_fold(where: Backend, shape: MixerShape) -> Callable[..., list[mx.array]]:
    def call(*held: mx.array) -> list[mx.array]:
        seen, state = held[:2]
        window = seen.shape[0], shape.taps - 1, shape.channels
        return dialect.run(
            _kernels(where)[1],
            list(held),
            _constants(shape),
            (shape.width, seen.shape[0] * shape.heads),
            [(window, seen.dtype), (state.shape, mx.float32)],
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
    own = weights.conv, weights.rest
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
    return note_of("the kernel of a gated DeltaNet layer", lambda: _wrong(where, shape, dtype))


def _wrong(where: Backend, shape: MixerShape, dtype: mx.Dtype) -> str:
    """Compare two passes one after the other, of the first of which two rows stay."""
    rows, weights, before = trial(shape, dtype, 3)
    first = delta_mixer(where, rows, weights, shape, before)[1]
    first = dataclasses.replace(first, kept=count_of(2))
    y, mine = delta_mixer(where, rows, weights, shape, first)
    right_y, right = delta_mixer_plain(rows, weights, shape, first)
    pairs = [(y, right_y), (mine.state, right.state)]
    seen = shape.taps - 1 + rows.shape[1]
    pairs += [(mine.seen[:, :seen], right.seen[:, :seen]), (mine.tape[:, :3], right.tape[:, :3])]
    apart = off_by(pairs, _TOLERANCE[dtype])
    if apart:
        return apart
    begin = mine.seen[:, : shape.taps - 1], mine.state
    for one, other in zip(begin, folded(where, shape, first), strict=True):
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
    weights = MixerWeights.of(
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
