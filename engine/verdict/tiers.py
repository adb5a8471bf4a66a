"""Tier and reasons: what a checkpoint's config and tensor headers say of its MTP head.

Takes what is known, whether it was read from this disk or by range requests from a hub. Reads no
files and no tensor's values; what only values can tell is the engine's to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from engine.verdict.coverage import faults
from engine.verdict.families import HEAD_MARKERS, Family, levels
from engine.verdict.family_table import family_of
from engine.verdict.head_files import SIDECARS, head_prefixes, without_prefix
from engine.verdict.headers import SafetensorsTensor

__all__ = ["Evidence", "HeadFacts", "Reason", "Tier", "Verdict", "head_tensors", "judge"]


class Tier(StrEnum):
    """What a person needs to know of a model's head."""

    VERIFIED = "verified"
    COMPATIBLE = "compatible"
    UNSUPPORTED = "unsupported"
    NO_MTP = "no-mtp"


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that was looked at."""

    check: str
    ok: bool | None
    """None where it could not be looked at."""
    detail: str


@dataclass(frozen=True, slots=True)
class HeadFacts:
    """The head that is there."""

    layers: int
    location: str
    """The files it lies in."""
    weight_bytes: int | None
    """None unless all its headers were read."""
    concat: str | None
    """This and the next three are None for a family that is not known."""
    hidden: str | None
    recycle: str | None
    norm: str | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """See the module."""

    tier: Tier
    summary: str
    """One sentence."""
    reasons: tuple[Reason, ...]
    family: str | None
    model_type: str
    mtp: HeadFacts | None
    quantization: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a checkpoint."""

    config: Mapping[str, object]
    places: Mapping[str, str]
    """The file of every tensor whose name is known."""
    tensors: Mapping[str, SafetensorsTensor]
    """Those whose headers were read."""
    is_whole: bool = True
    """Whether `places` names every tensor there is."""


def judge(evidence: Evidence, family: Family | None = None) -> Verdict:
    """Return tier and reasons.

    Args:
        evidence: what is known.
        family: of the head; None finds it by the config.
    """
    config = evidence.config
    model_type = str(config.get("model_type", ""))[:64]
    family = family or family_of(config)
    promised = promised_layers(config)
    found = head_tensors(config, evidence.places, family)
    reasons = [_promise(promised), _presence(found, promised, evidence)]
    if not found:
        return Verdict(
            Tier.NO_MTP,
            reasons[1].detail,
            tuple(reasons),
            None if family is None else family.name,
            model_type,
            None,
            quantization(config),
        )
    reasons += [_known(family, model_type), _fitting(evidence, found, family)]
    head = _facts(evidence, found, _heads_there(found, config, family) or promised or 1, family)
    if family is None or family.cannot_run:
        tier = Tier.UNSUPPORTED
        summary = f"it has an MTP head ({model_type}), but {reasons[2].detail}"
    elif reasons[-1].ok is False:
        tier, summary = Tier.NO_MTP, f"its MTP head can't be used: {reasons[-1].detail}"
    else:
        tier, summary = Tier.COMPATIBLE, f"it drafts with its own MTP head ({family.name})"
    name = None if family is None else family.name
    return Verdict(tier, summary, tuple(reasons), name, model_type, head, quantization(config))


def promised_layers(config: Mapping[str, object]) -> int:
    """Return how many head layers the config speaks of; 0 for none."""
    counts = [
        _count(level.get(key)) for level in levels(config) for key in HEAD_MARKERS.config_keys
    ]
    return max(counts, default=0)


def head_tensors(
    config: Mapping[str, object], names: Mapping[str, str], family: Family | None = None
) -> tuple[str, ...]:
    """Return the names that belong to a head: by prefix, as a layer behind the trunk's, by file.

    Args:
        config: of the checkpoint.
        names: with the file of each.
        family: of the head.
    """
    prefixes = HEAD_MARKERS.tensor_prefixes
    if family is not None:
        prefixes = (*prefixes, *head_prefixes(family, config))
    behind = tuple(
        f"layers.{layers + extra}."
        for level in levels(config)
        if (layers := _count(level.get("num_hidden_layers")))
        for extra in range(max(1, min(promised_layers(config), 8)))
    )
    is_extra_layer = promised_layers(config) > 0
    return tuple(
        name
        for name in names
        if name.startswith(prefixes)
        or names[name] in SIDECARS
        or (is_extra_layer and any(mark in name for mark in behind))
    )


def quantization(config: Mapping[str, object]) -> str:
    """Return how the weights are stored, for a person."""
    for level in levels(config):
        facts = level.get("quantization") or level.get("quantization_config")
        if isinstance(facts, dict):
            mode = facts.get("mode") or facts.get("quant_method") or "affine"
            parts = [str(mode)[:20]]
            if isinstance(facts.get("bits"), int):
                parts.append(f"{facts['bits']}-bit")
            if isinstance(facts.get("group_size"), int):
                parts.append(f"group {facts['group_size']}")
            return ", ".join(parts)
    return "none"


def _promise(promised: int) -> Reason:
    if promised:
        layers = "layer" if promised == 1 else "layers"
        return Reason("config names a head", ok=True, detail=f"{promised} head {layers}")
    return Reason("config names a head", ok=False, detail="its config speaks of no MTP head")


def _presence(found: Sequence[str], promised: int, evidence: Evidence) -> Reason:
    check = "head tensors are there"
    if found:
        return Reason(check, ok=True, detail=f"{len(found)} tensors")
    if not evidence.is_whole:
        return Reason(check, ok=None, detail="none among the tensors that could be read ahead")
    if promised:
        detail = "its config promises an MTP head, but the tensors were dropped in conversion"
        return Reason(check, ok=False, detail=detail)
    return Reason(check, ok=False, detail="no head: the checkpoint has no MTP tensors")


def _known(family: Family | None, model_type: str) -> Reason:
    check = "family is supported"
    if family is None:
        return Reason(check, ok=False, detail=f"{model_type or 'its type'} is not known here yet")
    if family.cannot_run:
        return Reason(check, ok=False, detail=family.cannot_run)
    return Reason(check, ok=True, detail=family.name)


def _fitting(evidence: Evidence, found: Sequence[str], family: Family | None) -> Reason:
    """Say whether the head fits: in all its tensors where their names are known, else in one."""
    if family is None or family.parts is None:
        return _joined(evidence, found, family)
    return _whole(evidence, found, family)


def _joined(evidence: Evidence, found: Sequence[str], family: Family | None) -> Reason:
    """Say whether a matrix takes embedding and hidden row in, side by side."""
    check = "embedding and hidden are joined"
    if family is not None and family.concat == "separate":
        return Reason(check, ok=True, detail="by a matrix each")
    hidden = max((_count(level.get("hidden_size")) for level in levels(evidence.config)), default=0)
    read = [evidence.tensors[name] for name in found if name in evidence.tensors]
    if len(read) < len(found) or not hidden:
        return Reason(check, ok=None, detail="not every header could be read ahead")
    bits = _bits(evidence.config)
    for tensor in read:
        width = tensor.shape[-1] if len(tensor.shape) == 2 else 0
        packed = width * 32 // bits if tensor.dtype == "U32" and bits else width
        if len(tensor.shape) == 2 and tensor.shape[0] == hidden and packed == 2 * hidden:
            return Reason(check, ok=True, detail=f"{hidden} + {hidden} to {hidden}")
    detail = f"no matrix of {hidden} by {2 * hidden} joins embedding and hidden row"
    return Reason(check, ok=False, detail=detail)


def _whole(evidence: Evidence, found: Sequence[str], family: Family) -> Reason:
    """Say whether each tensor of the head is there in the shape that its trunk asks for."""
    check = "the head is whole"
    apart = sorted({evidence.places[name] for name in found} & set(SIDECARS))
    if len(apart) > 1:
        detail = f"its head is there more than once: {', '.join(apart)}"
        return Reason(check, ok=False, detail=detail)
    prefixes = head_prefixes(family, evidence.config)
    mine = [name for name in found if not apart or evidence.places[name] == apart[0]]
    head = {without_prefix(name, prefixes) or name: evidence.tensors.get(name) for name in mine}
    rest = evidence.places.keys() - set(found)
    trunk = {name: evidence.tensors.get(name) for name in rest}
    wrong, is_sure = faults(family, evidence.config, head, trunk)
    if wrong and evidence.is_whole:
        more = f", and {len(wrong) - 2} more" if len(wrong) > 2 else ""
        return Reason(check, ok=False, detail=", ".join(wrong[:2]) + more)
    if wrong or not is_sure:
        return Reason(check, ok=None, detail="not everything could be compared with the trunk")
    return Reason(check, ok=True, detail=f"{len(head)} tensors, each as the trunk asks for")


def _bits(config: Mapping[str, object]) -> int:
    for level in levels(config):
        facts = level.get("quantization")
        if isinstance(facts, dict):
            return _count(facts.get("bits"))
    return 0


def _heads_there(found: Sequence[str], config: Mapping[str, object], family: Family | None) -> int:
    """Return how many heads there are, whatever the config says; 0 where that can't be told."""
    if family is None or family.parts is None:
        return 0
    if family.distinct_heads == 1:
        return 1
    prefixes = head_prefixes(family, config)
    inside = [name for each in found if (name := without_prefix(each, prefixes)) is not None]
    return len({name.partition(".")[0] for name in inside})


def _facts(
    evidence: Evidence, found: Sequence[str], layers: int, family: Family | None
) -> HeadFacts:
    files = sorted({evidence.places[name] for name in found})
    read = [evidence.tensors[name] for name in found if name in evidence.tensors]
    size = sum(tensor.end - tensor.begin for tensor in read) if len(read) == len(found) else None
    shown = ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
    if family is None:
        return HeadFacts(layers, shown, size, None, None, None, None)
    return HeadFacts(layers, shown, size, family.concat, family.hidden, family.recycle, family.norm)


def _count(value: object) -> int:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and 0 < value < 2**31 else 0
