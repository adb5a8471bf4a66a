"""The gated DeltaNet layers of mlx-lm's that have a kernel for all between their projections.

Of mlx-lm's layer only the projections run then; `engine.model.recurrent` puts it in its place and
rolls it back.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.qwen3_5 import GatedDeltaNet
from mlx_lm.models.qwen3_next import Qwen3NextGatedDeltaNet

from engine.model.projections import joined
from engine.model.rebinding import modules
from kernels import delta_mixer as kernel
from kernels.delta_mixer import MixerShape, MixerState, MixerWeights
from kernels.dispatch import Backend

__all__ = ["PLAIN_SLOTS", "Mixer", "Slots", "mixer_note", "mixer_of"]

Slots = list[mx.array | None]
"""What the cache of a layer holds: the convolution's window and the state, and behind them, where
a mixer ran, the rest of `MixerState`."""
PLAIN_SLOTS = 2
"""As mlx-lm has them."""


class Mixer:
    """What a layer does between its projections.

    Args:
        layer: of mlx-lm's.
        shape: of it.
        where: what runs the kernel.
    """

    def __init__(self, layer: nn.Module, shape: MixerShape, where: Backend) -> None:
        self._projections = [layer[name] for name in _projections(layer)]
        own = layer.conv1d.weight, layer.A_log, layer.dt_bias, layer.norm.weight
        self._weights = MixerWeights.of(*own)
        mx.eval(self._weights.rest)
        self._shape = shape
        self._where = where

    def run(self, x: mx.array, slots: Slots) -> tuple[mx.array, Slots]:
        """Run rows that were normed.

        Args:
            x: [B, T, hidden]; T is at most `kernel.MAX_ROWS`.
            slots: what the layer's cache holds.

        Returns:
            What the layer's last projection takes, and what the cache is to hold.
        """
        rows = joined(self._projections, x)
        y, after = kernel.delta_mixer(
            self._where, rows, self._weights, self._shape, self._remembered(slots, rows)
        )
        return y, [*after.arrays()]

    def folded(self, slots: Slots) -> Slots:
        """Return slots in which no rows are left to be added, as mlx-lm's layer knows them."""
        if len(slots) == PLAIN_SLOTS or slots[0] is None:
            return slots[:PLAIN_SLOTS]
        return [*kernel.folded(self._where, self._shape, _state(slots))]

    def opened(self, slots: Slots) -> Slots:
        """Return the same slots as `run` leaves them; empty ones stay empty."""
        if len(slots) != PLAIN_SLOTS or slots[0] is None or slots[1] is None:
            return slots
        window, state = slots[0], slots[1]
        return [*kernel.settled(self._shape, window, state).arrays()]

    def _remembered(self, slots: Slots, rows: mx.array) -> MixerState:
        if slots[0] is None:
            return kernel.empty(self._shape, rows.shape[0], rows.dtype)
        return _state(self.opened(slots))


def _state(slots: Slots) -> MixerState:
    return MixerState(*(slot for slot in slots if slot is not None))


_PROJECTIONS = {
    GatedDeltaNet: ("in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a"),
    Qwen3NextGatedDeltaNet: ("in_proj_qkvz", "in_proj_ba"),
}
"""Of a layer of that class, in the order in which their columns lie."""


def _kind(layer: nn.Module) -> type[nn.Module] | None:
    return next((kind for kind in _PROJECTIONS if isinstance(layer, kind)), None)


def _projections(layer: nn.Module) -> tuple[str, ...]:
    return next(names for kind, names in _PROJECTIONS.items() if isinstance(layer, kind))


def mixer_of(layer: nn.Module) -> Mixer | None:
    """Return what takes the place of a layer's middle; None where mlx-lm's own stays."""
    shape = _shape_of(layer)
    where = Backend.PLAIN if shape is None else kernel.runs_on(shape, _dtype(layer))
    return None if shape is None or where is Backend.PLAIN else Mixer(layer, shape, where)


def mixer_note(model: nn.Module) -> str:
    """Return why the kernel is left out though there is a GPU; empty where it runs or is not wanted."""
    kinds = {(_shape_of(module), _dtype(module)) for module in modules(model) if _kind(module)}
    notes = (kernel.kernel_note(shape, dtype) for shape, dtype in kinds if shape is not None)
    return next((note for note in notes if note), "")


def _dtype(layer: nn.Module) -> mx.Dtype:
    return layer.norm.weight.dtype if _kind(layer) else mx.float32


def _shape_of(layer: nn.Module) -> MixerShape | None:
    kind = _kind(layer)
    if kind is None or getattr(layer, "sharding_group", None) is not None:
        return None
    keys, heads = int(layer.num_k_heads), int(layer.num_v_heads)
    key_width, width = int(layer.head_k_dim), int(layer.head_v_dim)
    share = heads // keys
    place = _by_heads if kind is Qwen3NextGatedDeltaNet else _in_a_row
    columns = place(keys, share, key_width, width)
    taps = int(layer.conv_kernel_size)
    return MixerShape(keys, heads, key_width, width, taps, columns, float(layer.norm.eps))


def _in_a_row(keys: int, share: int, key_width: int, width: int) -> tuple[tuple[int, int], ...]:
    """Return the columns of q, k, v, z, b, a where each lies whole."""
    sizes = (key_width, key_width, share * width, share * width, share, share)
    begins = [0]
    for size in sizes[:-1]:
        begins.append(begins[-1] + keys * size)
    return tuple(zip(begins, sizes, strict=True))


def _by_heads(keys: int, share: int, key_width: int, width: int) -> tuple[tuple[int, int], ...]:
    """Return the columns of q, k, v, z, b, a where each key head has its own side by side."""
    sizes = (key_width, key_width, share * width, share * width)
    hop = sum(sizes)
    begins = [sum(sizes[:index]) for index in range(4)]
    gates = ((keys * hop, 2 * share), (keys * hop + share, 2 * share))
    return (*((begin, hop) for begin in begins), *gates)
