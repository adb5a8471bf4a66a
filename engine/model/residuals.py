"""Few rows on their way through the layers, so that a sum and the norm after it are one kernel.

mlx-lm's layers stay what they are. What goes through them is a row with a summand that is not
added yet: it is added by the norm that follows, or by whoever else looks at the sum. It may lie in
parts (`kernels.parts`), which are added up then.
"""

from __future__ import annotations

from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn

from engine.model.projections import GATES, gated, joined, may_part
from engine.model.rebinding import called, modules
from kernels import residual_norm as sums
from kernels import swiglu
from kernels.dispatch import Backend, backend_for
from kernels.parts import whole

__all__ = ["put_together", "settled", "taken_apart", "use_fused_mlps", "use_fused_sums"]

_MAX_ROWS = 16
_LAYERS = ("mlx_lm.models.qwen3_5", "mlx_lm.models.qwen3_next")
"""Whose layers do nothing with their rows but add to them and norm them."""


class _Pending:
    """Rows, and what has to be added to them, two summands at most; stands in for the sum."""

    __slots__ = ("_rows", "_summands", "_where")

    def __init__(self, where: Backend, rows: mx.array, *summands: mx.array) -> None:
        self._where = where
        self._rows = rows
        self._summands = summands

    def __add__(self, added: mx.array) -> _Pending:
        if len(self._summands) > 1:
            self.settled()
        return _Pending(self._where, self._rows, *self._summands, added)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.settled(), name)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the sum."""
        return self._rows.shape

    def settled(self) -> mx.array:
        """Return the sum."""
        for each in self._summands:
            self._rows = self._rows + whole(each, self._rows)
        self._summands = ()
        return self._rows

    def normed(self, weight: mx.array, eps: float) -> mx.array:
        """Return the norm of the sum; with two summands the sum is known from then on."""
        if not self._summands:
            return mx.fast.rms_norm(self._rows, weight, eps)
        total, normed = sums.residual_norm(self._where, self._rows, self._summands, weight, eps)
        if total is not None:
            self._rows, self._summands = total, ()
        return normed


def taken_apart(rows: mx.array | _Pending) -> list[mx.array]:
    """Return rows, and behind them what has still to be added to them."""
    return [rows._rows, *rows._summands] if isinstance(rows, _Pending) else [rows]


def put_together(parts: list[mx.array]) -> mx.array | _Pending:
    """Return the rows that `taken_apart` took apart."""
    rows, *summands = parts
    return _Pending(backend_for("residual_norm"), rows, *summands) if summands else rows


def settled(rows: mx.array | _Pending) -> mx.array:
    """Return rows as an array, whether something has still to be added or not."""
    return rows.settled() if isinstance(rows, _Pending) else rows


class _Norm(nn.RMSNorm):
    def __call__(self, x: mx.array | _Pending) -> mx.array:
        if isinstance(x, _Pending):
            return x.normed(self["weight"], self.eps)
        return super().__call__(x)


def use_fused_sums(model: nn.Module) -> str:
    """Let the layers of a model or head add and norm few rows in one kernel, on a GPU.

    Returns:
        Why the kernel is left out; empty where it runs or is not wanted.
    """
    bodies = [module for module in modules(model) if _is_body(module)]
    for body in bodies:
        norm = _final_norm(body)
        weight = norm.weight
        where = sums.runs_on(weight.shape[0], weight.dtype)
        if where is Backend.PLAIN:
            return sums.kernel_note(weight.shape[0], weight.dtype)
        for layer in body.layers:
            layer.__class__ = _open(type(layer), where)
            for each in (layer.input_layernorm, layer.post_attention_layernorm):
                each.__class__ = _Norm
            for summand in _summands(layer):
                may_part(summand)
        norm.__class__ = _Norm
    return ""


def _final_norm(body: nn.Module) -> Any:
    """Return a body's last norm, from within its tap where it has one."""
    norm = body.get("norm")
    return getattr(norm, "norm", norm)


def _is_body(module: nn.Module) -> bool:
    layers = module.get("layers")
    if not isinstance(layers, list) or type(_final_norm(module)) is not nn.RMSNorm:
        return False
    return all(type(layer).__module__ in _LAYERS for layer in layers)


_LAST = (("linear_attn", "out_proj"), ("self_attn", "o_proj"), ("mlp", "down_proj"))
"""What gives a layer's summands, where it has it."""


def _summands(layer: nn.Module) -> list[nn.Module]:
    """Return the projections whose products a layer only adds to its rows."""
    inner = [(layer.get(name), last) for name, last in _LAST]
    return [each[last] for each, last in inner if isinstance(each, nn.Module) and last in each]


def _open(kind: type[nn.Module], where: Backend) -> type[nn.Module]:
    """Return the class of a layer that hands few rows on with what is still to be added."""

    def call(self: nn.Module, x: mx.array | _Pending, *rest: Any, **named: Any) -> Any:
        if isinstance(x, mx.array) and x.size // x.shape[-1] <= _MAX_ROWS:
            x = _Pending(where, x)
        return kind.__call__(self, cast("mx.array", x), *rest, **named)

    return called(kind, call)


def use_fused_mlps(model: nn.Module) -> str:
    """Let the gated MLPs of a model or head run few rows with one kernel between their matmuls.

    Returns:
        Why the kernel is left out; empty where it runs or is not wanted.
    """
    notes = []
    for module in modules(model):
        if type(module).__module__ not in _LAYERS or not _is_mlp(module):
            continue
        width, dtype = module.gate_proj.weight.shape[0], _dtype(module.down_proj)
        notes.append(swiglu.kernel_note(width, dtype))
        where = swiglu.runs_on(width, dtype)
        if where is not Backend.PLAIN:
            module.__class__ = _gated(type(module), where)
    return next((note for note in notes if note), "")


def _dtype(layer: nn.Module) -> mx.Dtype:
    """Return the type of a layer's rows."""
    return layer["scales" if "scales" in layer else "weight"].dtype


def _is_mlp(module: nn.Module) -> bool:
    return all(name in module for name in ("gate_proj", "up_proj", "down_proj"))


def _gated(kind: type[nn.Module], where: Backend) -> type[nn.Module]:
    def call(self: nn.Module, x: mx.array) -> mx.array:
        if x.size // x.shape[-1] > _MAX_ROWS:
            return kind.__call__(self, x)
        layers = [self.gate_proj, self.up_proj]
        y = gated(layers, x)
        return self.down_proj(swiglu.swiglu(where, joined(layers, x)) if y is None else y)

    return called(kind, call, **{GATES: True})
