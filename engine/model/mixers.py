"""The gated DeltaNet layers of mlx-lm's that have a kernel for all between their projections.

Of mlx-lm's layer only the projections run then; `engine.model.recurrent` puts it in its place and
rolls it back.
"""

from __future__ import annotations

import functools
from typing import ClassVar, Self

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.qwen3_5 import GatedDeltaNet
from mlx_lm.models.qwen3_next import Qwen3NextGatedDeltaNet

from engine.model.projections import joined
from engine.model.rebinding import modules
from kernels import delta_mixer as kernel
from kernels.delta_mixer import MixerShape, MixerTape, MixerWeights
from kernels.dispatch import Backend
from kernels.gated_delta import DeltaTape

__all__ = ["Mixer", "MixerPast", "mixer_note", "mixer_of"]

Slots = tuple[mx.array, mx.array]
"""The convolution's window, and the state."""


class MixerPast:
    """What a pass over a window left; a class for each shape, to be made of arrays alone."""

    shape: ClassVar[MixerShape]
    where: ClassVar[Backend]

    def __init__(self, tape: MixerTape) -> None:
        self.tape = tape

    def arrays(self) -> list[mx.array]:
        """Return the joined projections, keys, innovations and gates."""
        delta = self.tape.delta
        return [self.tape.rows, delta.k, delta.delta, delta.g]

    @classmethod
    def of(cls, arrays: list[mx.array]) -> Self:
        """Return the tape of what `arrays` gave."""
        rows, k, delta, g = arrays
        return cls(MixerTape(rows, DeltaTape(k, delta, g)))

    def state_after(self, rows: int, state: mx.array | None) -> mx.array:
        """Replay the tape; see `Tape.state_after`."""
        return self.slots_after(rows, None, state)[1]

    def slots_after(self, rows: int, window: mx.array | None, state: mx.array | None) -> Slots:
        """Return window and state after the first rows; bit for bit what the pass had there.

        Args:
            rows: 1 or more.
            window: the one the pass began with; None for the empty one.
            state: alike.
        """
        window, state = begun(self.shape, self.tape.rows, window, state)
        return kernel.mixer_replay(self.where, self.tape, rows, self.shape, window, state)


@functools.cache
def _past(shape: MixerShape, where: Backend) -> type[MixerPast]:
    return type("MixerPast", (MixerPast,), {"shape": shape, "where": where})


def begun(
    shape: MixerShape, rows: mx.array, window: mx.array | None, state: mx.array | None
) -> Slots:
    """Return the slots as they are, or as they are before the first row."""
    batch = rows.shape[0]
    if window is None:
        window = mx.zeros((batch, shape.taps - 1, shape.channels), rows.dtype)
    if state is None:
        state = mx.zeros((batch, shape.heads, shape.width, shape.key_width), mx.float32)
    return window, state


class Mixer:
    """What a layer does between its projections.

    Args:
        layer: of mlx-lm's.
        shape: of it.
        where: what runs the kernel.
    """

    def __init__(self, layer: nn.Module, shape: MixerShape, where: Backend) -> None:
        names = _PROJECTIONS[_kind(layer)]
        self._projections = [layer[name] for name in names]
        self._weights = MixerWeights(
            layer.conv1d.weight, layer.A_log, layer.dt_bias, layer.norm.weight
        )
        self._shape = shape
        self._where = where
        self._past = _past(shape, where)
        self.past: MixerPast | None = None
        """Of the newest pass, where it had several rows."""

    def run(
        self, x: mx.array, window: mx.array | None, state: mx.array | None
    ) -> kernel.MixerOutput:
        """Run rows that were normed; what is returned is what the layer's last projection takes.

        Args:
            x: [B, T, hidden]; T is at most `kernel.MAX_ROWS`.
            window: of the convolution, from before; None for the empty one.
            state: alike.
        """
        rows = joined(self._projections, x)
        window, state = begun(self._shape, rows, window, state)
        output = kernel.delta_mixer(self._where, rows, self._weights, self._shape, window, state)
        self.past = self._past(output.tape) if x.shape[1] > 1 else None
        return output


_PROJECTIONS = {
    GatedDeltaNet: ("in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a"),
    Qwen3NextGatedDeltaNet: ("in_proj_qkvz", "in_proj_ba"),
}
"""Of a layer of that class, in the order in which their columns lie."""


def _kind(layer: nn.Module) -> type[nn.Module] | None:
    return next((kind for kind in _PROJECTIONS if isinstance(layer, kind)), None)


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
