"""Quantised matmul of a window's few rows, which reads the packed weights once for all of them.

A pass over a window of 1 to 16 rows costs what one row costs as long as reading the weights is
what takes the time. So that it is, copies of the next weights are on their way while a warp multiplies. A row's result has the same bits whatever rows are beside it, so that a
window is verified by the very numbers that plain decoding has.

Two things may follow in the same kernel or be left to who comes next: a gated MLP's gating of its joined
product, and, where outputs are too few to give all processors their share, adding up the parts of a sum.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import mlx.core as mx

from kernels import dialect
from kernels.comparing import note_of, off_by
from kernels.dispatch import Backend, backend_for
from kernels.parts import whole
from kernels.quant_body import BODY
from kernels.quant_choices import ANY_BLOCKS, CHOICES, Choice, Product
from kernels.quant_tiles import CUDA_NUMBERS, SHARED_PARTS, TENSOR_TILE, VECTOR_TILE
from kernels.swiglu import HEADER as GATING
from kernels.swiglu import swiglu_plain
from kernels.timing import seconds_behind_lead

__all__ = [
    "BODY",
    "MAX_PICKS",
    "MAX_ROWS",
    "Packed",
    "gated_matvec",
    "is_supported",
    "kernel_note",
    "measured",
    "quant_matvec",
    "quant_matvec_plain",
]

_log = logging.getLogger(__name__)
MAX_ROWS = 16
MAX_PICKS = 128
"""Of experts at once."""


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


def quant_matvec_plain(x: mx.array, packed: Packed, picks: mx.array | None = None) -> mx.array:
    """Multiply in plain MLX: the definition of right.

    Args:
        x: [..., inputs], bfloat16 or float16; with `picks`, [rows, inputs], a row for each `share` of them.
        packed: the weights.
        picks: uint32 [n], the expert of each result; x has n rows, or one for every n / rows.

    Returns:
        [..., outputs], or [n, outputs]; in the type of x.
    """
    if picks is None:
        return mx.quantized_matmul(
            x,
            packed.weight,
            packed.scales,
            packed.biases,
            group_size=packed.group,
            bits=packed.bits,
        )
    rows = mx.repeat(x, picks.shape[0] // x.shape[0], axis=0)
    return mx.gather_qmm(
        rows[:, None],
        packed.weight,
        packed.scales,
        packed.biases,
        rhs_indices=picks,
        group_size=packed.group,
        bits=packed.bits,
    )[:, 0]


def _header(where: Backend) -> str:
    """Return what the body needs, in a dialect."""
    tile = CUDA_NUMBERS + TENSOR_TILE if where is Backend.CUDA else VECTOR_TILE
    return SHARED_PARTS + GATING + tile


def is_supported(x: mx.array, packed: Packed, picks: mx.array | None) -> bool:
    """Return whether the kernel has these shapes and types."""
    rows, most = (_rows(x), MAX_ROWS) if picks is None else (picks.shape[0], MAX_PICKS)
    return 0 < rows <= most and x.dtype == packed.scales.dtype and _has_kind(packed)


def _rows(x: mx.array) -> int:
    return x.size // x.shape[-1]


def _has_kind(packed: Packed) -> bool:
    return (
        packed.scales.dtype in _TOLERANCE
        and packed.biases.dtype == packed.scales.dtype
        and packed.bits in (4, 8)
        and packed.group in (32, 64, 128)
    )


@functools.cache
def _kernel(where: Backend, bounds: tuple[int, int] | None) -> dialect.Kernel:
    names = ("x", "weight", "scales", "biases", "picks")
    header = _header(where)
    source = dialect.Source(
        "quant_matvec", names, ("y",), BODY, header, is_of_blocks=True, bounds=bounds
    )
    return dialect.build(where, source)


def _cut(
    where: Backend, packed: Packed, choice: Choice, *, is_gated: bool = False
) -> tuple[int, int]:
    """Return how many warps and stages of a choice have room in what a block shares."""
    stage = 16 * choice.tall * choice.depth * (packed.group * packed.bits // 8 + 4)
    warps = choice.warps
    while True:
        left = dialect.ROOM[where] - (1 + is_gated) * warps * 128 * 4
        stages = min(choice.stages, left // (warps * stage))
        if stages >= 2 or warps == 1:
            return warps, max(2, stages)
        warps //= 2


def _run(
    where: Backend,
    x: mx.array,
    packed: Packed,
    choice: Choice,
    picks: mx.array | None = None,
    *,
    is_gated: bool = False,
) -> mx.array:
    """Multiply by the kernel; arguments as for `quant_matvec_plain`, what it gives as the choice has it."""
    is_picked = picks is not None
    parts = 1 if is_picked else choice.parts
    warps, stages = _cut(where, packed, choice, is_gated=is_gated)
    slots = picks.shape[0] if picks is not None else parts
    columns = packed.outputs // 2 if is_gated else packed.outputs
    type_of_y = x.dtype if parts == 1 else mx.float32
    template: list[tuple[str, mx.Dtype | int]] = [
        ("InT", x.dtype),
        ("OutT", type_of_y),
        ("Bits", packed.bits),
        ("Group", packed.group),
        ("Blocks", 1 if is_picked or _rows(x) <= 8 else 2),
        ("Warps", warps),
        ("Depth", choice.depth),
        ("Stages", stages),
        ("Tall", choice.tall),
        ("Parts", parts),
        ("Whole", int(packed.scales.shape[-1] % choice.depth == 0)),
        ("Picked", int(is_picked)),
        ("Gated", int(is_gated)),
    ]
    given = (slots,) if is_picked else x.shape[:-1]
    split = () if parts == 1 else (parts,)
    wide = 16 * choice.tall // (1 + is_gated)
    blocks = min(-(-columns // wide), max(1, choice.blocks // slots))
    (y,) = dialect.run_blocks(
        _kernel(where, (warps, choice.together) if choice.together else None),
        [x, packed.weight, packed.scales, packed.biases, x if picks is None else picks],
        template,
        (blocks, warps, slots),
        [((*split, *given, columns), type_of_y)],
    )
    return y


def quant_matvec(
    x: mx.array, packed: Packed, choice: Choice = CHOICES[0], picks: mx.array | None = None
) -> mx.array:
    """Multiply by the kernel where there is one; see `quant_matvec_plain`.

    Args:
        x: see there.
        packed: see there.
        choice: how to cut the work; changes no row's bits as long as its warps and parts are the same.
        picks: see there.

    Returns:
        See there; with a choice of several parts, and no picks, in parts.
    """
    where = _where(packed)
    if where is Backend.PLAIN or not is_supported(x, packed, picks):
        return quant_matvec_plain(x, packed, picks)
    arrays = [x, packed.weight, packed.scales, packed.biases]
    kept = _kept(where, packed.group, packed.bits, choice)
    return kept(*arrays) if picks is None else kept(*arrays, picks)


def gated_matvec(x: mx.array, packed: Packed, choice: Choice) -> mx.array:
    """Multiply and gate by one kernel where there is one.

    Args:
        x: [..., inputs], bfloat16 or float16.
        packed: the weights of gate and, behind them, as many of their fellows.
        choice: one that gives a gated product.

    Returns:
        [..., outputs / 2]: `swiglu_plain` of the product.
    """
    where = _where(packed)
    if where is Backend.PLAIN or not is_supported(x, packed, None):
        return swiglu_plain(quant_matvec_plain(x, packed))
    kept = _kept(where, packed.group, packed.bits, choice, is_gated=True)
    return kept(x, packed.weight, packed.scales, packed.biases)


@functools.cache
def _kept(
    where: Backend, group: int, bits: int, choice: Choice, *, is_gated: bool = False
) -> Callable[..., mx.array]:
    """Return the kernel's call as a graph: MLX else writes the source anew for each call."""

    def call(x: mx.array, weight: mx.array, scales: mx.array, *rest: mx.array) -> mx.array:
        biases, *picks = rest
        packed = Packed(weight, scales, biases, group, bits)
        return _run(where, x, packed, choice, picks[0] if picks else None, is_gated=is_gated)

    return mx.compile(call)


def measured(packed: Sequence[Packed], product: Product = Product.WHOLE) -> Choice:
    """Return the choice that multiplies four rows the fastest, of those that give what the first gives.

    Args:
        packed: matrices of one shape and kind, so many that no cache holds them all.
        product: what is wanted of them.
    """
    first = packed[0]
    where = _where(first)
    inputs = first.weight.shape[-1] * 32 // first.bits
    x = mx.random.normal((4, inputs), key=mx.random.key(0)).astype(first.scales.dtype)
    picks = None
    if first.weight.ndim == 3:
        picks = mx.arange(32, dtype=mx.uint32) * 7 % first.weight.shape[0]
    if where is Backend.PLAIN or not is_supported(x, first, picks):
        return CHOICES[0]

    def run(x: mx.array, each: Packed, choice: Choice) -> mx.array:
        return _run(where, x, each, choice, picks, is_gated=product is Product.GATED)

    right = run(x, first, CHOICES[0])
    costs = {
        choice: _seconds(run, x, packed, choice)
        for choice in _choices_for(where, product)
        if _agrees(functools.partial(run, x, first, choice), right)
    }
    return min(costs, key=lambda choice: costs[choice], default=CHOICES[0])


def _choices_for(where: Backend, product: Product) -> Iterator[Choice]:
    """Return what can be tried on a backend, once each: only CUDA has bounds, and knows how many blocks fit."""
    fitting = (choice for choice in CHOICES if choice.gives(product))
    if where is Backend.CUDA:
        return fitting
    unbound: dict[Choice, Choice] = {}
    for choice in fitting:
        unbound.setdefault(replace(choice, together=0, blocks=ANY_BLOCKS), choice)
    return iter(unbound.values())


def _agrees(run: Callable[[], mx.array], right: mx.array) -> bool:
    try:
        apart = off_by([(whole(run(), right), right)], _TOLERANCE[right.dtype])
    except RuntimeError as error:
        apart = str(error)
    if apart:
        _log.warning("a cut of the matmul of few rows is left out: %s", apart)
    return not apart


_CALLS, _FEWEST = 128, 16
"""Timed together: two cuts differ by a few us a call, and what goes before by as much in all."""
_READ_BYTES = 10_000_000_000
"""By which so many calls are cut, as far as they may be: those of a large matrix differ by more."""


def _seconds(
    run: Callable[[mx.array, Packed, Choice], mx.array],
    x: mx.array,
    packed: Sequence[Packed],
    choice: Choice,
) -> float:
    """Return what some products take, each begun when the one before it is done.

    That is how a model has them; side by side they would fill each other's gaps. What ties them is not arithmetic,
    for which MLX would compile a kernel.
    """

    def multiply(x: mx.array, arrays: list[list[mx.array]]) -> mx.array:
        for parts in arrays:
            y = run(x, Packed(*parts, packed[0].group, packed[0].bits), choice)
            newest = y.reshape(-1)[: x.shape[0]].reshape(-1, 1).astype(x.dtype)
            x = mx.concatenate([x[:, 1:], newest], axis=1)
        return x

    arrays = [[each.weight, each.scales, each.biases] for each in packed]
    calls = max(_FEWEST, min(_CALLS, _READ_BYTES // packed[0].weight.nbytes))
    arrays *= -(-calls // len(arrays))
    return seconds_behind_lead(functools.partial(mx.compile(multiply), x, arrays))


_TOLERANCE = {mx.bfloat16: 2.0**-6, mx.float16: 2.0**-9}
"""Against the largest entry: both sides round once to the type, the plain one within too."""


@functools.cache
def _note(where: Backend, dtype: mx.Dtype, bits: int, group: int) -> str:
    """Compare the kernel with its definition once; return what is wrong, or nothing."""
    name = "the quantised matmul of few rows"
    return note_of(name, lambda: _wrong(where, dtype, bits, group))


def _wrong(where: Backend, dtype: mx.Dtype, bits: int, group: int) -> str:
    """Compare four rows, and rows of experts; more rows must have the bits that four have.

    MLX's own matmul of eight rows or more is compiled when it first runs, for ten seconds.
    """
    keys = mx.random.split(mx.random.key(bits + group), 2)
    weight = mx.random.normal((3, 41, 6 * group), key=keys[0]).astype(dtype)
    x = mx.random.normal((9, 6 * group), key=keys[1]).astype(dtype)
    stack = Packed(*mx.quantize(weight, group, bits), group, bits)
    one = Packed(stack.weight[1], stack.scales[1], stack.biases[1], group, bits)
    picks = mx.array([2, 0, 1, 1], mx.uint32)
    few = _run(where, x[:4], one, CHOICES[0])
    right = quant_matvec_plain(x[:4], one)
    even = Packed(one.weight[:40], one.scales[:40], one.biases[:40], group, bits)
    parted = replace(CHOICES[0], parts=2)
    pairs = [
        (few, right),
        (_run(where, x[:4], stack, CHOICES[0], picks), quant_matvec_plain(x[:4], stack, picks)),
        (whole(_run(where, x[:4], one, parted), few), right),
        (_run(where, x[:4], even, CHOICES[0], is_gated=True), swiglu_plain(right[:, :40])),
    ]
    apart = off_by(pairs, _TOLERANCE[dtype])
    if apart:
        return apart
    if not mx.array_equal(_run(where, x, one, CHOICES[0])[:4], few).item():
        return "gives a row other bits beside others"
    return ""


def kernel_note(packed: Packed) -> str:
    """Return why the kernel is off for such weights; empty where it runs or there is no GPU."""
    where = backend_for("quant_matvec")
    if where is Backend.PLAIN or not _has_kind(packed):
        return ""
    return _note(where, packed.scales.dtype, packed.bits, packed.group)


def _where(packed: Packed) -> Backend:
    where = backend_for("quant_matvec")
    return Backend.PLAIN if where is Backend.PLAIN or kernel_note(packed) else where
