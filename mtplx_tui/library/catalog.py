"""What is known of a model, here or on the hub: tier, sizes, memory. Joins hub, headers and disk.

A verdict on a repository is kept by commit, and made anew when what is known of families changes.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from engine.errors import HeadError, ModelFileError
from engine.protocol import Verdict as Law
from engine.verdict.checkpoint import (
    DEMO_HEAD,
    MAX_CONFIG,
    MAX_INDEX,
    check_folder,
    read_config,
    read_index,
    read_json_object,
)
from engine.verdict.contract import CONTRACT_FILE, read_contract
from engine.verdict.families import HEAD_MARKERS
from engine.verdict.family_table import DEMO, FAMILIES, family_of
from engine.verdict.gguf_headers import check_gguf
from engine.verdict.head_files import SIDECARS
from engine.verdict.headers import SafetensorsTensor, check_safetensors
from engine.verdict.memory import CONTEXTS, StepReads, memory_bytes, step_reads
from engine.verdict.tiers import (
    Evidence,
    HeadFacts,
    Reason,
    Tier,
    Verdict,
    head_tensors,
    judge,
)
from mtplx_tui.files import write_atomically
from mtplx_tui.library.certificates import Certified, find
from mtplx_tui.library.contracts import refused, with_contract
from mtplx_tui.library.header import FolderSource, HubSource, Source
from mtplx_tui.library.hub import Hub, Listing
from mtplx_tui.library.speed import Speed

__all__ = [
    "Report",
    "fits",
    "judge_demo",
    "judge_folder",
    "judge_here",
    "judge_listing",
    "machine_bytes",
    "report_json",
]

_INDEX = "model.safetensors.index.json"
_USABLE = 0.75
"""Of the memory: what weights and caches may take before a machine swaps."""


@dataclass(frozen=True, slots=True)
class Report:
    """A model as a person wants to know it before it is loaded, or downloaded."""

    name: str
    commit: str
    """Empty for a folder."""
    verdict: Verdict
    parameters: int | None
    """None unless every header was read."""
    weights_bytes: int
    download_bytes: int
    """All files that are downloaded; of a folder, those that would be."""
    memory: tuple[tuple[int, int | None], ...]
    """Bytes in memory by tokens of context."""
    reads: StepReads | None
    """None where the config doesn't tell."""
    files: tuple[tuple[str, int], ...]
    license: str
    is_gated: bool


def judge_here(name: str, path: Path, certificates: Path) -> Report:
    """Return the report on a model of this machine, with what its certificates say.

    Args:
        name: as a person names it.
        path: its folder, or the demo's file.
        certificates: where they are kept.

    Raises:
        ModelFileError: a file is missing, malformed, or links to somewhere else.
    """
    report = judge_demo(path) if path.is_file() else judge_folder(name, path)
    found = find(path, certificates)
    return report if found is None else replace(report, verdict=_certified(report.verdict, found))


def _certified(verdict: Verdict, found: Certified) -> Verdict:
    """Return a verdict with what certificates add: a head that was proven exact is verified."""
    is_exact = {Law.EXACT: True, Law.BROKEN: False, Law.UNDECIDED: None}[found.verdict]
    detail = f"{found.summary} ({found.made_on})"
    reasons = (*verdict.reasons, Reason("certified here", is_exact, detail))
    if verdict.tier is not Tier.COMPATIBLE or is_exact is None:
        return replace(verdict, reasons=reasons)
    if is_exact:
        summary = f"{verdict.summary}; certified exact on this machine"
        return replace(verdict, tier=Tier.VERIFIED, summary=summary, reasons=reasons)
    return replace(verdict, summary=f"{verdict.summary}, but {detail}", reasons=reasons)


def judge_folder(name: str, folder: Path) -> Report:
    """Return the report on a folder.

    Raises:
        ModelFileError: a file is missing, malformed, or links to somewhere else.
    """
    facts = check_folder(folder)
    report = _report(name, FolderSource(folder))
    if report.verdict.tier is not Tier.COMPATIBLE or family_of(facts.config) is None:
        return report
    if facts.head is None:
        return replace(report, verdict=refused(report.verdict, facts.head_note))
    return replace(report, verdict=with_contract(report.verdict, facts.head, facts))


def judge_demo(file: Path) -> Report:
    """Return the report on the demo model, whose trunk is a GGUF file and whose head comes with us.

    Raises:
        ModelFileError: one of the two is malformed.
    """
    trunk = check_gguf(file)
    head = check_safetensors(DEMO_HEAD)
    names = {
        "hidden_size": "embedding_length",
        "num_hidden_layers": "block_count",
        "num_attention_heads": "attention.head_count",
        "num_key_value_heads": "attention.head_count_kv",
    }
    config: dict[str, object] = {"model_type": "llama", "num_nextn_predict_layers": 1}
    config |= {key: trunk.metadata.get(f"llama.{name}") for key, name in names.items()}
    tensors = {tensor.name: tensor for tensor in head.tensors}
    places = {
        **{t.name: file.name for t in trunk.tensors},
        **dict.fromkeys(tensors, DEMO_HEAD.name),
    }
    # The names in a GGUF file are others: the head's layers find nothing to be compared with.
    verdict = judge(Evidence(config, places, tensors), replace(DEMO, parts=None))
    sizes = {file.name: file.stat().st_size, DEMO_HEAD.name: DEMO_HEAD.stat().st_size}
    weights = sum(sizes.values())
    of_trunk, of_head = (
        sum(math.prod(tensor.shape) for tensor in part) for part in (trunk.tensors, head.tensors)
    )
    words = DEMO_HEAD.with_name("frequent_tokens.txt").read_text("utf-8").split()
    draft = of_head + len(words) * tensors["mtp.norm.weight"].shape[0]
    layers = int(str(config["num_hidden_layers"]))
    return Report(
        name="demo",
        commit="",
        verdict=replace(verdict, quantization=file.stem.rpartition(".")[2]),
        parameters=of_trunk + of_head,
        weights_bytes=weights,
        download_bytes=0,
        memory=tuple((c, memory_bytes(config, weights, c)) for c in CONTEXTS),
        reads=StepReads(of_trunk, draft, 4, is_unpacked_on_cpu=True, layers=layers),
        files=tuple(sizes.items()),
        license="apache-2.0",
        is_gated=False,
    )


def judge_listing(hub: Hub, listing: Listing, cache: Path) -> Report:
    """Return the report on a repository, from config and headers alone.

    Args:
        hub: where it is.
        listing: of it.
        cache: the app's cache folder, where verdicts are kept.

    Raises:
        ModelFileError: one of its files is malformed, or missing.
        HubError: the hub doesn't give them.
    """
    place = cache / "verdicts" / f"{_key(listing)}.json"
    kept = _kept(place)
    if kept is not None:
        return kept
    with HubSource(hub, listing) as source:
        report = _report(listing.name, source, listing)
    write_atomically(place, json.dumps(asdict(report)))
    return report


def machine_bytes() -> int:
    """Return the memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def fits(needed: int, machine: int) -> bool:
    """Return whether a machine has the memory for a model."""
    return needed <= machine * _USABLE


def report_json(report: Report, speed: Speed | None = None) -> dict[str, object]:
    """Return the report, and what is known of its speed here, as `inspect --json` prints it."""
    verdict = asdict(report.verdict)
    mtp = verdict.pop("mtp")
    return {
        "name": report.name,
        "commit": report.commit or None,
        **verdict,
        "mtp": mtp,
        "parameters": report.parameters,
        "weights_bytes": report.weights_bytes,
        "download_bytes": report.download_bytes,
        "memory": {str(context): needed for context, needed in report.memory},
        "machine_bytes": machine_bytes(),
        "speed": None if speed is None else asdict(speed),
        "license": report.license or None,
        "is_gated": report.is_gated,
        "files": [{"path": path, "size": size} for path, size in report.files],
    }


def _report(name: str, source: Source, listing: Listing | None = None) -> Report:
    evidence = _gather(source)
    weights = sum(size for path, size in source.files.items() if path.endswith(".safetensors"))
    verdict = judge(evidence)
    doubt = _doubt(source) if verdict.tier is Tier.COMPATIBLE else ""
    if doubt:
        verdict = refused(verdict, doubt)
    head_bytes = (verdict.mtp.weight_bytes or 0) if verdict.mtp is not None else 0
    return Report(
        name=name,
        commit="" if listing is None else listing.commit,
        verdict=verdict,
        parameters=_parameters(evidence),
        weights_bytes=weights,
        download_bytes=sum(source.files.values()),
        memory=tuple((c, memory_bytes(evidence.config, weights, c)) for c in CONTEXTS),
        reads=step_reads(evidence.config, weights, head_bytes),
        files=tuple(source.files.items()),
        license="" if listing is None else listing.license,
        is_gated=listing is not None and listing.is_gated,
    )


def _doubt(source: Source) -> str:
    """Return why the engine would refuse a head whose tensors are all there; empty if it wouldn't."""
    apart = [name for name in SIDECARS if name in source.files]
    if len(apart) > 1:
        return f"its head is there more than once: {', '.join(apart)}"
    if CONTRACT_FILE not in source.files:
        return ""
    try:
        read_contract(
            read_json_object(source.read(CONTRACT_FILE, MAX_CONFIG), CONTRACT_FILE, source.name)
        )
    except HeadError as error:
        return error.message
    return ""


def _gather(source: Source) -> Evidence:
    """Read config, index and headers, those that may hold a head first."""
    if "config.json" not in source.files:
        raise ModelFileError(f"{source.name} has no config.json", "is it a model?")
    config = read_config(source.read("config.json", MAX_CONFIG), source.name)
    weights = [path for path in source.files if path.endswith(".safetensors")]
    if not weights:
        raise ModelFileError(f"{source.name} has no safetensors weights", "is it an MLX model?")
    places: dict[str, str] = {}
    if _INDEX in source.files:
        places = read_index(source.read(_INDEX, MAX_INDEX), source.name)
        missing = sorted(set(places.values()) - set(weights))
        if missing:
            raise ModelFileError(f"{missing[0]} is missing from {source.name}", "it is incomplete")
    indexed = set(places.values())
    with_head = {places[name] for name in head_tensors(config, places, family_of(config))}
    order = [
        *(path for path in weights if path not in indexed),
        *(path for path in weights if path in with_head),
        *(
            path
            for path in weights
            if path in indexed - with_head and isinstance(source, FolderSource)
        ),
    ]
    tensors: dict[str, SafetensorsTensor] = {}
    is_whole = True
    for path in order:
        header = source.header(path)
        if header is None:
            is_whole = is_whole and path in indexed
            continue
        found = {tensor.name: tensor for tensor in header.tensors}
        _check_index(source, path, found, places)
        tensors |= found
        places = {**dict.fromkeys(found, path), **places}
    return Evidence(config, places, tensors, is_whole)


def _check_index(
    source: Source, path: str, found: Mapping[str, object], places: Mapping[str, str]
) -> None:
    for name, place in places.items():
        if place == path and name not in found:
            raise ModelFileError(
                f"{path} of {source.name} lacks {name[:80]}, which its index puts there",
                "it is incomplete",
            )


def _parameters(evidence: Evidence) -> int | None:
    """Return the numbers in all tensors, packed ones unpacked; None unless all are known."""
    if not evidence.is_whole or len(evidence.tensors) < len(evidence.places):
        return None
    facts = evidence.config.get("quantization")
    bits = facts.get("bits") if isinstance(facts, dict) else None
    total = 0
    for name, tensor in evidence.tensors.items():
        count = math.prod(tensor.shape)
        is_packed = tensor.dtype == "U32" and isinstance(bits, int) and bits > 0
        if not name.endswith((".scales", ".biases")):
            total += count * 32 // bits if is_packed else count
    return total


def _key(listing: Listing) -> str:
    stamp = repr((FAMILIES, HEAD_MARKERS, CONTEXTS, listing.name, listing.commit))
    return hashlib.sha256(stamp.encode()).hexdigest()[:40]


def _kept(place: Path) -> Report | None:
    """Return a verdict that was kept; None where there is none, or none that can be read."""
    try:
        content = json.loads(place.read_text("utf-8"))
        verdict = content.pop("verdict")
        mtp, reads = verdict.pop("mtp"), content.pop("reads")
        reasons = tuple(Reason(**reason) for reason in verdict.pop("reasons"))
        return Report(
            verdict=Verdict(
                tier=Tier(verdict.pop("tier")),
                reasons=reasons,
                mtp=None if mtp is None else HeadFacts(**mtp),
                **verdict,
            ),
            reads=None if reads is None else StepReads(**reads),
            memory=tuple((context, needed) for context, needed in content.pop("memory")),
            files=tuple((path, size) for path, size in content.pop("files")),
            **content,
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
