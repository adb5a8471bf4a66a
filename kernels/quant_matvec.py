"""Quantised matmul of a window's few rows, which reads the packed weights once for all of them.

A pass over a window of 1 to 16 rows costs what one row costs as long as reading the weights is
what takes the time. A row's result has the same bits whatever rows are beside it, so that a
window is verified by the very numbers that plain decoding has.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import mlx.core as mx

from kernels import dialect
from kernels.dispatch import Backend, backend
from kernels.quant_tiles import CUDA_NUMBERS, SHARED_PARTS, TENSOR_TILE, VECTOR_TILE

__all__ = [
    "BODY",
    "MAX_ROWS",
    "VARIANTS",
    "Packed",
    "Variant",
    "header",
    "is_supported",
    "quant_matvec_plain",
    "run",
]

MAX_ROWS = 16


@dataclass(frozen=True, slots=True)
class Packed:
    """A weight matrix in MLX's affine packing, or a stack of them."""

    weight: mx.array
    """uint32 [outputs, inputs * bits / 32], or [experts, outputs, ...]."""
    scales: mx.array
    """[outputs, inputs / group], or [experts, ...]; in the type of the activations."""
    biases: mx.array
    """As `scales`."""
    group: int
    bits: int

    @property
    def outputs(self) -> int:
        """Columns of the result."""
        return self.weight.shape[-2]


@dataclass(frozen=True, slots=True)
class Variant:
    """How a block of threads is cut."""

    height: int
    """Tiles of 16 outputs that a warp keeps at once."""
    stacks: int
    """Warps above each other: further outputs."""
    parts: int
    """Warps beside each other, which share the inputs."""

    @property
    def outputs(self) -> int:
        """Of a block."""
        return 16 * self.height * self.stacks

    @property
    def warps(self) -> int:
        """Of a block."""
        return self.stacks * self.parts


VARIANTS = (
    Variant(1, 1, 8),
    Variant(1, 1, 16),
    Variant(1, 2, 4),
    Variant(1, 4, 4),
    Variant(2, 1, 8),
    Variant(2, 2, 4),
    Variant(2, 1, 4),
)


def quant_matvec_plain(x: mx.array, packed: Packed, picks: mx.array | None = None) -> mx.array:
    """Multiply in plain MLX: the definition of right.

    Args:
        x: [rows, inputs], bfloat16 or float16; with `picks`, a row for each `share` of them.
        packed: the weights.
        picks: uint32 [n], the expert of each result; x has n rows, or one for every n / rows.

    Returns:
        [rows, outputs], or [n, outputs]; in the type of x.
    """
    if picks is None:
        return mx.quantized_matmul(
            x, packed.weight, packed.scales, packed.biases, group_size=packed.group,
            bits=packed.bits,
        )
    rows = mx.repeat(x, picks.shape[0] // x.shape[0], axis=0)
    return mx.gather_qmm(
        rows[:, None], packed.weight, packed.scales, packed.biases, rhs_indices=picks,
        group_size=packed.group, bits=packed.bits,
    )[:, 0]


BODY = """
constexpr int width = Group * Bits / 128;
constexpr int ahead = width * Height >= 8 ? 1 : 8 / (width * Height);
const int inputs = x_shape[1];
const int outputs = weight_shape[Picked];
const int rows = Picked ? 1 : x_shape[0];
const int groups = inputs / Group;
const int packed_row = inputs / 32 * Bits;
const int quarter = lane % 4;
const int part = warp % Parts;
const int origin = (block * (Warps / Parts) + warp / Parts) * 16 * Height;

// x: [rows, inputs]; weight: [experts, outputs, packed_row]; scales, biases: [experts, outputs, groups]
const DEVICE InT* own_x = x;
long base = 0;
if (Picked) {
  own_x += static_cast<long>(slot / (slots / x_shape[0])) * inputs;
  base = static_cast<long>(picks[slot]) * outputs;
}
const bool is_even = groups % ahead == 0;
const bool is_aligned = is_at_16(own_x);

long places[Height][2];
Tile<InT, Bits, Group, Blocks> tiles[Height];
UNROLL for (int r = 0; r < Height; ++r) {
  tiles[r].clear();
  UNROLL for (int half = 0; half < 2; ++half) {
    const int output = origin + 16 * r + 8 * half + lane / 4;
    places[r][half] = base + (output < outputs ? output : outputs - 1);
  }
}
#define READ(into, step) \\
  UNROLL for (int r = 0; r < Height; ++r) UNROLL for (int half = 0; half < 2; ++half) { \\
    const DEVICE unsigned int* row = weight + places[r][half] * packed_row; \\
    UNROLL for (int u = 0; u < ahead; ++u) { \\
      const int group = (step) * ahead + u < groups ? (step) * ahead + u : groups - 1; \\
      into.words[u][r][half] = \\
          *reinterpret_cast<const DEVICE Words<width>*>(row + (4 * group + quarter) * width); \\
    } \\
    into.scale[r][half] = read_run<InT, ahead>( \\
        scales + places[r][half] * groups, (step) * ahead, groups, is_even); \\
    into.bias[r][half] = read_run<InT, ahead>( \\
        biases + places[r][half] * groups, (step) * ahead, groups, is_even); \\
  }

Step<InT, width, ahead, Height> now, next;
const int steps = (groups + ahead - 1) / ahead;
if (part < steps) { READ(now, part) }
for (int step = part; step < steps; step += Parts) {
  if (step + Parts < steps) { READ(next, step + Parts) }
  UNROLL for (int u = 0; u < ahead; ++u) {
    const int group = step * ahead + u;
    if (group < groups) {
      Slice<InT, Bits, Group, Blocks> slice;
      slice.read(own_x + group * Group, inputs, rows, lane, is_aligned);
      UNROLL for (int r = 0; r < Height; ++r) {
        const Words<4> factors = {{as_bits(now.scale[r][0].at[u]), as_bits(now.bias[r][0].at[u]),
                                   as_bits(now.scale[r][1].at[u]), as_bits(now.bias[r][1].at[u])}};
        tiles[r].add(now.words[u][r][0], now.words[u][r][1], slice, factors);
      }
    }
  }
  now = next;
}

// The parts meet: [parts, stacks, height, blocks, lanes, 4]
constexpr int own = Height * Blocks * 128;
SHARED float met[Warps * own];
UNROLL for (int r = 0; r < Height; ++r) {
  tiles[r].finish(lane);
  UNROLL for (int n = 0; n < Blocks; ++n) UNROLL for (int i = 0; i < 4; ++i)
    met[warp * own + ((r * Blocks + n) * 32 + lane) * 4 + i] = tiles[r].owned[n][i];
}
group_barrier();
for (int place = warp * 32 + lane; place < Warps / Parts * own; place += 32 * Warps) {
  const int stack = place / own, inside = place % own;
  float sum = 0.0f;
  for (int p = 0; p < Parts; ++p) sum += met[(stack * Parts + p) * own + inside];
  const int i = inside % 4, at = inside / 4 % 32, n = inside / 128 % Blocks;
  const int output = (block * (Warps / Parts) + stack) * 16 * Height
      + 16 * (inside / 128 / Blocks) + i / 2 * 8 + at / 4;
  const int row = 8 * n + at % 4 * 2 + i % 2;
  // y: [slots, rows, outputs]
  if (output < outputs && row < rows)
    y[(static_cast<long>(slot) * rows + row) * outputs + output] = static_cast<InT>(sum);
}
"""


def header(where: Backend) -> str:
    """Return what the body needs, in a dialect."""
    return SHARED_PARTS + (CUDA_NUMBERS + TENSOR_TILE if where is Backend.CUDA else VECTOR_TILE)


def is_supported(rows: int, dtype: mx.Dtype, packed: Packed) -> bool:
    """Return whether the kernel has these shapes and types."""
    return (
        0 < rows <= MAX_ROWS
        and dtype in (mx.bfloat16, mx.float16)
        and packed.scales.dtype == dtype
        and packed.biases.dtype == dtype
        and packed.bits in (4, 8)
        and packed.group in (32, 64, 128)
    )


@functools.cache
def _kernel(where: Backend) -> dialect.Kernel:
    names = ("x", "weight", "scales", "biases", "picks")
    source = dialect.Source(
        "quant_matvec", names, ("y",), BODY, header(where), is_of_blocks=True
    )
    return dialect.build(where, source)


def run(
    where: Backend, x: mx.array, packed: Packed, variant: Variant, picks: mx.array | None = None
) -> mx.array:
    """Multiply by the kernel; arguments as for `quant_matvec_plain`.

    Args:
        where: METAL or CUDA.
        x: see there.
        packed: see there.
        variant: how to cut the work.
        picks: see there.
    """
    is_picked = picks is not None
    rows = x.shape[0]
    slots = picks.shape[0] if picks is not None else 1
    template: list[tuple[str, mx.Dtype | int]] = [
        ("InT", x.dtype),
        ("Bits", packed.bits),
        ("Group", packed.group),
        ("Blocks", 1 if is_picked or rows <= 8 else 2),
        ("Height", variant.height),
        ("Parts", variant.parts),
        ("Warps", variant.warps),
        ("Picked", int(is_picked)),
    ]
    blocks = -(-packed.outputs // variant.outputs)
    (y,) = dialect.run_blocks(
        _kernel(where),
        [x, packed.weight, packed.scales, packed.biases, x if picks is None else picks],
        template,
        (blocks, variant.warps, slots),
        [((slots if is_picked else rows, packed.outputs), x.dtype)],
    )
    return y
