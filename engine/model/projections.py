"""Puts the quantised matmul of few rows under the linear layers of a trunk or head, on a GPU.

mlx-lm's layers stay what they are; theirs is the call for more rows, and for what the kernel has
not. How the kernel cuts its work is measured once for each shape and device, and remembered.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import astuple
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.switch_layers import QuantizedSwitchLinear

from engine.made_files import made_whole
from engine.model.rebinding import modules
from kernels import quant_matvec
from kernels.dispatch import Backend, backend_for
from kernels.quant_choices import CHOICES, Choice, Product
from kernels.quant_matvec import MAX_PICKS, MAX_ROWS, Packed

__all__ = ["GATES", "gated", "joined", "may_part", "use_few_row_matmuls"]

_log = logging.getLogger(__name__)
_MEASURED_BYTES = 300_000_000
"""Of one shape's weights: what is measured must not come from a cache."""
_LEAST_BYTES = 1_000_000
"""Of a matrix whose cuts are measured: a smaller one is read before a kernel has well begun, and each cut that is
tried, as each that is chosen, takes CUDA's compiler a second or more in every process."""


_SIBLINGS = (
    ("in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a"),
    ("in_proj_qkvz", "in_proj_ba"),
    ("q_proj", "k_proj", "v_proj"),
    ("gate_proj", "up_proj"),
)
"""Layers of a module that are given the same rows one after the other, and can be one matmul."""
GATES = "gates_its_joined_product"
"""Of a module's class: its joined product is only wanted gated, for few rows."""


class _Family:
    """Packed layers of one module whose weights lie one after the other, and are read together.

    The first that is called multiplies for all; the others take their part, as long as they are
    given the very same array.
    """

    def __init__(self, packed: Packed, members: int) -> None:
        self.packed = packed
        self.choice = CHOICES[0]
        self.product = Product.WHOLE
        self._members = members
        self._left = 0
        self._x: mx.array | None = None
        self._y: mx.array | None = None

    def whole(self, x: mx.array) -> mx.array:
        """Return all members' columns of the product; x is [..., inputs]."""
        return quant_matvec.quant_matvec(x, self.packed, self.choice)

    def part(self, x: mx.array, begin: int, end: int) -> mx.array:
        """Return a member's columns of the product; x is [..., inputs]."""
        y = self._y
        if y is None or self._x is not x:
            y = quant_matvec.quant_matvec(x, self.packed, self.choice)
            self._x, self._y, self._left = x, y, self._members
        self._left -= 1
        if not self._left:
            self._x = self._y = None
        return y[..., begin:end]


def joined(layers: list[nn.Module], x: mx.array) -> mx.array:
    """Return the products of layers that see the same rows, side by side; [..., all outputs]."""
    first = layers[0]
    family = first._family if isinstance(first, _FewRows) else None
    if family is not None and first._has_few(x):
        return family.whole(x)
    return mx.concatenate([layer(x) for layer in layers], axis=-1)


def gated(layers: list[nn.Module], x: mx.array) -> mx.array | None:
    """Return the gating of two layers' joined product by the matmul's own kernel; None where it does not."""
    first = layers[0]
    family = first._family if isinstance(first, _FewRows) else None
    if family is None or family.product is not Product.GATED or not first._has_few(x):
        return None
    return quant_matvec.gated_matvec(x, family.packed, family.choice)


def may_part(layer: nn.Module) -> None:
    """Say that whoever is given a layer's product of few rows adds up its parts: see `kernels.parts`.

    To be said before `use_few_row_matmuls`.
    """
    layer._product = Product.PARTS


class _FewRows(nn.Module):
    """A packed layer whose few rows go to the kernel."""

    _packed: Packed
    _choice: Choice
    _product: Product
    _family: _Family | None
    _begin: int

    def _has_few(self, x: mx.array) -> bool:
        rows = x.size // x.shape[-1]
        return 0 < rows <= MAX_ROWS and x.dtype == self._packed.scales.dtype

    def _few(self, x: mx.array) -> mx.array | None:
        if not self._has_few(x):
            return None
        if self._family is not None:
            return self._family.part(x, self._begin, self._begin + self._packed.outputs)
        return quant_matvec.quant_matvec(x, self._packed, self._choice)


class _Linear(_FewRows, nn.QuantizedLinear):
    def __call__(self, x: mx.array) -> mx.array:
        y = self._few(x)
        if y is None:
            return super().__call__(x)
        return y + self["bias"] if "bias" in self else y


class _Embedding(_FewRows, nn.QuantizedEmbedding):
    def as_linear(self, x: mx.array) -> mx.array:
        y = self._few(x)
        return super().as_linear(x) if y is None else y


class _Experts(_FewRows, QuantizedSwitchLinear):
    def __call__(
        self,
        x: mx.array,
        indices: mx.array,
        sorted_indices: bool = False,  # noqa: FBT001, FBT002 - mlx-lm's
    ) -> mx.array:
        rows = x.reshape(-1, x.shape[-1])
        is_few = 0 < indices.size <= MAX_PICKS and indices.size % rows.shape[0] == 0
        if not is_few or x.dtype != self._packed.scales.dtype:
            return super().__call__(x, indices, sorted_indices)
        picks = indices.reshape(-1).astype(mx.uint32)
        y = quant_matvec.quant_matvec(rows, self._packed, self._choice, picks)
        y = y.reshape(*indices.shape, 1, -1)
        return y + mx.expand_dims(self["bias"][indices], -2) if "bias" in self else y


_OURS: dict[type[nn.Module], type[_FewRows]] = {
    nn.QuantizedLinear: _Linear,
    nn.QuantizedEmbedding: _Embedding,
    QuantizedSwitchLinear: _Experts,
}


def use_few_row_matmuls(
    model: nn.Module, cache_folder: Path, progress: Callable[[str, int, int], None]
) -> str:
    """Let a model's packed layers run their few rows by the kernel.

    Args:
        model: its weights are in memory; changed in place.
        cache_folder: where what was measured is remembered.
        progress: told the stage; may raise to end it.

    Returns:
        Why the kernel is off though there is a GPU; empty where it runs or there is none.
    """
    if backend_for("quant_matvec") is Backend.PLAIN:
        return ""
    families = [family for module in modules(model) for family in _families_of(module)]
    layers = [layer for layer in modules(model) if type(layer) in _OURS and _is_affine(layer)]
    for layer in layers:
        _adopt(layer)
    choices = _Choices(cache_folder)
    alone = [each for each in modules(model) if isinstance(each, _FewRows) and each._family is None]
    by_kind: dict[tuple[str, Product], list[_FewRows | _Family]] = {}
    for each in (*families, *alone):
        product = each.product if isinstance(each, _Family) else each._product
        by_kind.setdefault((_kind(_packed_of(each)), product), []).append(each)
    notes = []
    for index, ((kind, product), alike) in enumerate(by_kind.items()):
        progress("measuring kernels", index, len(by_kind))
        note = quant_matvec.kernel_note(_packed_of(alike[0]))
        notes.append(note)
        choice = choices.of(kind, product, [_packed_of(each) for each in alike])
        for each in alike:
            if isinstance(each, _Family):
                each.choice = choice
                each.product = Product.WHOLE if note else product
            else:
                each._choice = choice
    choices.keep()
    note = next((note for note in notes if note), "")
    if note:
        _log.warning("%s", note)
    return note


def _packed_of(each: _FewRows | _Family) -> Packed:
    return each.packed if isinstance(each, _Family) else each._packed


def _adopt(layer: nn.Module) -> None:
    """Make an mlx-lm layer, in its place, one whose few rows go to the kernel."""
    layer.__class__ = _OURS[type(layer)]
    ours = cast("_FewRows", layer)
    ours._packed = Packed(
        layer.weight, layer.scales, layer.biases, int(layer.group_size), int(layer.bits)
    )
    ours._choice = CHOICES[0]
    can_part = type(layer) is _Linear and "bias" not in layer
    ours._product = getattr(layer, "_product", Product.WHOLE) if can_part else Product.WHOLE
    ours._family = None


def _families_of(module: nn.Module) -> list[_Family]:
    """Join the packed layers of a module that see the same rows; return what they became."""
    families = []
    for names in _SIBLINGS:
        members = [module[name] for name in names if name in module]
        if len(members) == len(names) and all(_can_join(each, members[0]) for each in members):
            family = _joined(members)
            if getattr(type(module), GATES, False):
                family.product = Product.GATED
            families.append(family)
    return families


def _can_join(layer: object, first: nn.Module) -> bool:
    return (
        type(layer) is nn.QuantizedLinear
        and _is_affine(layer)
        and "bias" not in layer
        and (layer.group_size, layer.bits) == (first.group_size, first.bits)
        and layer.scales.shape[1] == first.scales.shape[1]
        and layer.scales.dtype == first.scales.dtype
    )


def _joined(members: list[nn.QuantizedLinear]) -> _Family:
    """Lay the weights of layers one after the other; the layers keep views of them."""
    group, bits = int(members[0].group_size), int(members[0].bits)
    parts = ("weight", "scales", "biases")
    whole = {name: mx.concatenate([each[name] for each in members]) for name in parts}
    mx.eval(whole)
    family = _Family(
        Packed(whole["weight"], whole["scales"], whole["biases"], group, bits), len(members)
    )
    begin = 0
    for layer in members:
        end = begin + layer.weight.shape[0]
        for name in parts:
            layer[name] = whole[name][begin:end]
        mx.eval([layer[name] for name in parts])
        _adopt(layer)
        ours = cast("_FewRows", layer)
        ours._family, ours._begin = family, begin
        begin = end
    return family


def _is_affine(layer: nn.Module) -> bool:
    biases = layer.get("biases")
    return getattr(layer, "mode", "affine") == "affine" and isinstance(biases, mx.array)


def _kind(packed: Packed) -> str:
    shape = "x".join(str(size) for size in packed.weight.shape)
    return f"{shape} {packed.scales.dtype} {packed.bits} bits, group {packed.group}"


class _Choices:
    """What was measured on this device, in a small file; one that can't be read is made anew."""

    def __init__(self, folder: Path) -> None:
        facts = [str(mx.device_info().get("device_name")), version("mlx"), quant_matvec.BODY]
        facts += [str(choice) for choice in CHOICES]
        digest = hashlib.blake2b("|".join(facts).encode(), digest_size=8).hexdigest()
        self._path = folder / "kernels" / f"{digest}.json"
        self._known = self._read()
        self._is_changed = False

    def of(self, kind: str, product: Product, packed: Sequence[Packed]) -> Choice:
        """Return the choice for matrices of a kind; measures them where it is not known and makes a difference."""
        if packed[0].weight.nbytes < _LEAST_BYTES:
            return CHOICES[0]
        name = kind if product is Product.WHOLE else f"{kind}, {product.value}"
        known = self._known.get(name)
        if known is None or not known.gives(product):
            self._known[name] = known = quant_matvec.measured(_cold(packed), product)
            self._is_changed = True
        return known

    def keep(self) -> None:
        """Write the file, where something was measured."""
        if not self._is_changed:
            return
        text = json.dumps({kind: astuple(choice) for kind, choice in self._known.items()}, indent=1)
        try:
            with made_whole(self._path) as written:
                written.write_text(text, "utf-8")
        except OSError as error:
            _log.warning("what kernels cost was not kept: %s", error)

    def _read(self) -> dict[str, Choice]:
        try:
            found: dict[str, Any] = json.loads(self._path.read_text("utf-8"))
            choices = {kind: Choice(*values) for kind, values in found.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            _log.warning("what kernels cost is measured anew: %s", error)
            return {}
        return {kind: each for kind, each in choices.items() if each in CHOICES}


def _cold(packed: Sequence[Packed]) -> list[Packed]:
    """Return as many matrices as it takes to outgrow a cache."""
    chosen: list[Packed] = []
    size = 0
    for each in packed:
        if size >= _MEASURED_BYTES:
            break
        chosen.append(each)
        size += each.weight.nbytes
    return chosen
