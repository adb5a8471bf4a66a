"""Whether a head is whole, as far as names and shapes tell it.

A head's own modules have shapes that the config gives. Its layers are of kinds that the trunk has
too, so each part of a layer (its attention, its MLP, a norm) must be one that some layer of the
trunk has: the same tensors, in the same shapes. Experts one by one, stacked or fused, and latent
projections joined or split, count as the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from engine.verdict.families import Family, Parts, levels, sublayers
from engine.verdict.headers import SafetensorsTensor

__all__ = ["Tensors", "faults"]

Tensors = Mapping[str, SafetensorsTensor | None]
"""By name; None where the header wasn't read."""
_Form = tuple[frozenset[int], ...] | None
"""What each dimension may be: a packed width leaves several open. None where not known."""
_Forms = dict[str, _Form]

_LAYER = re.compile(r"((?:.*\.)?layers\.\d+)\.(.+)")
_EXPERT = re.compile(r"(.*\.|)experts\.(\d+)\.(.+)")
_FUSED = re.compile(r"(.*\.|)experts\.(gate_up_proj|down_proj)(?:\.weight)?")
_UNKNOWN = " is not known here"
_GROUPS = (16, 32, 64, 128)
_BITS = (2, 3, 4, 5, 6, 8)
_OPTIONAL = ("sink", "_res_")
"""In names of what a trunk's layer may have and a head's may lack."""


def faults(
    family: Family, config: Mapping[str, object], head: Tensors, trunk: Tensors
) -> tuple[list[str], bool]:
    """Return what is wrong with a head, and whether all of it could be looked at.

    Args:
        family: of the head; it has parts.
        config: of the checkpoint.
        head: tensors by their names in the family.
        trunk: tensors of the rest of the checkpoint.
    """
    if family.parts is None:
        return [], False
    kinds = _trunk_kinds(trunk)
    if family.distinct_heads == 1:
        return _one(family.parts, config, head, trunk, kinds)
    numbered: dict[str, dict[str, SafetensorsTensor | None]] = {}
    for name, tensor in head.items():
        number, _, rest = name.partition(".")
        numbered.setdefault(number, {})[rest] = tensor
    if sorted(numbered) != [str(index) for index in range(len(numbered))]:
        return [f"its heads are numbered {', '.join(sorted(numbered))[:80]}"], True
    all_of = [_one(family.parts, config, one, trunk, kinds) for one in numbered.values()]
    return [fault for found, _ in all_of for fault in found], all(sure for _, sure in all_of)


class _Kinds:
    """What the trunk's layers are made of."""

    def __init__(self) -> None:
        self.parts: dict[str, list[_Forms]] = {}
        """The forms that a part of a layer has in the trunk's layers, by its name."""
        self.layers: set[frozenset[str]] = set()
        """The names of parts that make up a layer."""
        self.layouts: set[str] = set()


def _trunk_kinds(trunk: Tensors) -> _Kinds:
    layers: dict[str, dict[str, SafetensorsTensor | None]] = {}
    for name, tensor in trunk.items():
        match = _LAYER.fullmatch(name)
        if match:
            layers.setdefault(match[1], {})[match[2]] = tensor
    kinds = _Kinds()
    for layer in layers.values():
        parts = _by_part(_forms(layer))
        kinds.layers.add(frozenset(parts))
        kinds.layouts.add(_layout(layer))
        for name, forms in parts.items():
            known = kinds.parts.setdefault(name, [])
            if forms not in known:
                known.append(forms)
    return kinds


def _one(
    parts: Parts, config: Mapping[str, object], head: Tensors, trunk: Tensors, kinds: _Kinds
) -> tuple[list[str], bool]:
    count = len(sublayers(config)) if "{last}" in parts.final_norm else 1
    parts = replace(parts, final_norm=parts.final_norm.replace("{last}", str(count - 1)))
    layers = _layers_of(parts, head)
    found = _own_faults(parts, config, head, trunk)
    if sorted(layers) != list(range(count)):
        numbers = ", ".join(str(index) for index in sorted(layers)) or "none"
        return [*found, f"it has the layers {numbers[:80]}, not {count} of them"], True
    is_sure = all(tensor is not None for tensor in head.values())
    for index, layer in layers.items():
        wrong = _layer_faults(_forms(layer), kinds, f"layers.{index}.")
        is_strange = any(fault.endswith(_UNKNOWN) for fault in wrong)
        if not kinds.parts or (is_strange and _layout(layer) not in kinds.layouts):
            is_sure = False
        else:
            found += wrong
    return found, is_sure


def _own_names(parts: Parts) -> tuple[str, ...]:
    own = (parts.embedding_norm, parts.hidden_norm, parts.projection, parts.final_norm)
    return tuple(name for name in (*own, parts.embedding, parts.lm_head) if name)


def _layers_of(parts: Parts, head: Tensors) -> dict[int, dict[str, SafetensorsTensor | None]]:
    """Return the tensors of the head's layers by mlx-lm's names, by the layer's index."""
    own = tuple(f"{name}." for name in _own_names(parts))
    pattern = re.compile(re.escape(parts.layer).replace(re.escape("{j}"), r"(\d+)") + "(.+)")
    layers: dict[int, dict[str, SafetensorsTensor | None]] = {}
    for name, tensor in head.items():
        match = pattern.fullmatch(name)
        if match and not name.startswith(own):
            index = int(match[1]) if "{j}" in parts.layer else 0
            rest = match[match.re.groups]
            layers.setdefault(index, {})[parts.renamed.get(rest, rest)] = tensor
    return layers


def _own_faults(
    parts: Parts, config: Mapping[str, object], head: Tensors, trunk: Tensors
) -> list[str]:
    width = _hidden(config)
    row, pair = frozenset({width}), frozenset({2 * width})
    wanted: dict[str, _Form] = {
        parts.embedding_norm: (row,),
        parts.hidden_norm: (row,),
        parts.projection: (row, pair),
        parts.final_norm: (row,),
    }
    found = []
    for name, form in wanted.items():
        found += _module_faults(name, form if width else None, head) if name else []
    for name in (parts.embedding, parts.lm_head):
        if name and any(key.startswith(f"{name}.") for key in head):
            found += _module_faults(name, _vocabulary_form(trunk), head)
    own = tuple(f"{name}." for name in _own_names(parts))
    layer = parts.layer.partition("{j}")[0]
    found += [
        f"{name[:120]}{_UNKNOWN}"
        for name in head
        if not name.startswith(own) and not name.startswith(layer)
    ]
    return found


def _module_faults(name: str, wanted: _Form, head: Tensors) -> list[str]:
    """Return what is wrong with one of the head's own modules, which has a weight alone."""
    forms = _forms({key: t for key, t in head.items() if key.startswith(f"{name}.")})
    return _differences({name: wanted}, forms, "")


def _layer_faults(layer: _Forms, kinds: _Kinds, place: str) -> list[str]:
    parts = _by_part(layer)
    found = []
    for name, forms in parts.items():
        known = kinds.parts.get(name)
        if known is None:
            found.append(f"{place}{name[:100]}{_UNKNOWN}")
        elif not any(_fits(one, forms) for one in known):
            found += min((_differences(one, forms, place) for one in known), key=len)
    if kinds.layers and not any(_is_layer(set(parts), one) for one in kinds.layers):
        nearest = max(kinds.layers, key=lambda one: len(one & set(parts)))
        missing = sorted(name for name in nearest - set(parts) if not _is_optional(name))
        found += [f"{place}{name} is missing" for name in missing]
    return found


def _is_layer(parts: set[str], known: Iterable[str]) -> bool:
    return {p for p in parts if not _is_optional(p)} == {p for p in known if not _is_optional(p)}


def _fits(wanted: _Forms, forms: _Forms) -> bool:
    return not _differences(wanted, forms, "")


def _differences(wanted: _Forms, forms: _Forms, place: str) -> list[str]:
    """Return in what forms differ from those that are wanted."""
    missing = [name for name in wanted if name not in forms and not _is_optional(name)]
    surplus = [name for name in forms if name not in wanted and not _is_optional(name)]
    shapes = [
        f"{place}{name} has the shape {_shown(forms[name])}, not {_shown(form)}"
        for name, form in wanted.items()
        if name in forms and not _is_same(form, forms[name])
    ]
    return [
        *(f"{place}{name} is missing" for name in missing),
        *(f"{place}{name[:120]}{_UNKNOWN}" for name in surplus),
        *shapes,
    ]


def _is_same(one: _Form, other: _Form) -> bool:
    if one is None or other is None:
        return True
    return len(one) == len(other) and all(a & b for a, b in zip(one, other, strict=True))


def _is_optional(name: str) -> bool:
    return any(part in name for part in _OPTIONAL)


def _shown(form: _Form) -> str:
    return str([max(sizes) for sizes in form or ()])


def _by_part(forms: _Forms) -> dict[str, _Forms]:
    parts: dict[str, _Forms] = {}
    for name, form in forms.items():
        parts.setdefault(name.partition(".")[0], {})[name] = form
    return parts


def _layout(layer: Tensors) -> str:
    """Return how experts and latent projections are laid out."""
    kinds = ("switch_mlp.", "experts.0.", "experts.gate_up", "embed_", "kv_b_proj.")
    return " ".join(kind for kind in kinds if any(kind in name for name in layer))


def _forms(tensors: Tensors) -> _Forms:
    """Return the forms of modules by one layout's names, whatever theirs is."""
    forms: _Forms = {}
    experts: dict[str, dict[int, _Form]] = {}
    for name, form in _unpacked(tensors).items():
        expert, fused = _EXPERT.fullmatch(name), _FUSED.fullmatch(name)
        if expert:
            stacked = f"{expert[1]}switch_mlp.{expert[3]}"
            experts.setdefault(stacked, {})[int(expert[2])] = form
        elif fused and fused[2] == "gate_up_proj":
            for kind in ("gate_proj", "up_proj"):
                forms[f"{fused[1]}switch_mlp.{kind}"] = _halved(form)
        elif fused:
            forms[f"{fused[1]}switch_mlp.down_proj"] = form
        else:
            forms[name] = form
    forms |= {name: _stacked(each) for name, each in experts.items()}
    return _with_joined_latents(forms)


def _unpacked(tensors: Tensors) -> _Forms:
    """Return the form of each module's weight by the module, and of all else by its name."""
    forms: _Forms = {}
    for name, tensor in tensors.items():
        module, _, kind = name.rpartition(".")
        scales = f"{module}.scales"
        is_packed = f"{module}.weight" in tensors and scales in tensors
        if kind == "weight":
            forms[module] = _form(tensor, tensors.get(scales) if is_packed else None)
            if is_packed and tensors[scales] is None:
                forms[module] = None
        elif not (is_packed and kind in ("scales", "biases")):
            forms[name] = _form(tensor, None)
    return forms


def _form(tensor: SafetensorsTensor | None, scales: SafetensorsTensor | None) -> _Form:
    if tensor is None:
        return None
    *rows, width = (frozenset({size}) for size in tensor.shape) if tensor.shape else (frozenset(),)
    if scales is None or not scales.shape:
        return (*rows, width)
    columns = tensor.shape[-1] * 32
    wide = (scales.shape[-1] * group for group in _GROUPS)
    return (*rows, frozenset(w for w in wide if columns % w == 0 and columns // w in _BITS))


def _halved(form: _Form) -> _Form:
    if form is None or len(form) != 3:
        return form
    return (form[0], frozenset(size // 2 for size in form[1]), form[2])


def _stacked(experts: Mapping[int, _Form]) -> _Form:
    """Return the form of numbered experts side by side; one that fits none where they differ."""
    first = experts[min(experts)]
    if first is None or any(form is None for form in experts.values()):
        return None
    if sorted(experts) != list(range(len(experts))) or len(set(experts.values())) > 1:
        return ()
    return (frozenset({len(experts)}), *first)


def _with_joined_latents(forms: _Forms) -> _Forms:
    for name in [name for name in forms if name.endswith("embed_q")]:
        other = name.removesuffix("embed_q") + "unembed_out"
        if other in forms:
            forms[name.removesuffix("embed_q") + "kv_b_proj"] = _joined(
                forms.pop(name), forms.pop(other)
            )
    return forms


def _joined(embed: _Form, unembed: _Form) -> _Form:
    if embed is None or unembed is None:
        return None
    if len(embed) != 3 or len(unembed) != 3:
        return ()
    heads, latent, keys = embed
    rows = (h * (k + v) for h in heads & unembed[0] for k in keys for v in unembed[1])
    return (frozenset(rows), latent & unembed[2])


def _vocabulary_form(trunk: Tensors) -> _Form:
    """Return the form of the trunk's embedding; None where it wasn't read."""
    ends = ("embed_tokens", "word_embeddings", "embeddings")
    at = {n: t for n, t in trunk.items() if n.rpartition(".")[0].endswith(ends)}
    return next(iter(_unpacked(at).values()), None)


def _hidden(config: Mapping[str, object]) -> int:
    sizes = [level.get("hidden_size") for level in levels(config)]
    return max((size for size in sizes if isinstance(size, int)), default=0)
