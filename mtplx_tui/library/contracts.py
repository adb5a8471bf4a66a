"""What a verdict on a folder adds to one on names and shapes: how its head is fed, by whose word."""

from __future__ import annotations

from dataclasses import replace

from engine.errors import ModelFileError
from engine.verdict.checkpoint import CheckpointFacts
from engine.verdict.contract import Contract
from engine.verdict.families import Family
from engine.verdict.found_contracts import FoundContract, find_contract
from engine.verdict.head_files import HeadFiles
from engine.verdict.tiers import HeadFacts, Reason, Tier, Verdict
from mtplx_tui.config import find_places

__all__ = ["refused", "with_contract"]

_CHECK = "how it is fed"


def with_contract(verdict: Verdict, head: HeadFiles, facts: CheckpointFacts) -> Verdict:
    """Return a verdict with how the head is fed: declared, found here, or not known yet.

    Args:
        verdict: on a head that can be used.
        head: of the checkpoint.
        facts: of the checkpoint.
    """
    if facts.contract != Contract():
        detail = "as declared beside the weights"
        return _with(verdict, head.family, facts.contract, Reason(_CHECK, ok=True, detail=detail))
    found = _found(head, facts)
    if found is not None and found.refusal:
        return refused(verdict, found.refusal)
    if found is not None:
        share = "" if found.share is None else f", {found.share:.0%} of the trunk's choices"
        reason = Reason(_CHECK, ok=True, detail=f"as the probe found here{share}")
        return _with(verdict, head.family, found.contract, reason)
    if head.family.disputed != "hidden":
        return verdict
    detail = "sources differ; the engine finds out when it first loads it"
    return _with(verdict, head.family, Contract(), Reason(_CHECK, ok=None, detail=detail))


def refused(verdict: Verdict, why: str) -> Verdict:
    """Return the verdict on a head that the engine would not use."""
    reason = Reason("the engine takes it", ok=False, detail=why)
    summary = f"its MTP head can't be used: {why}"
    reasons = (*verdict.reasons, reason)
    return replace(verdict, tier=Tier.NO_MTP, summary=summary, reasons=reasons)


def _found(head: HeadFiles, facts: CheckpointFacts) -> FoundContract | None:
    try:
        return find_contract(head, facts, find_places().cache)
    except (ModelFileError, OSError):
        return None  # the engine asks anew, and tells why in its log


def _with(verdict: Verdict, family: Family, contract: Contract, reason: Reason) -> Verdict:
    own, mtp = contract.applied_to(family), verdict.mtp
    norm = contract.norm_encoding or family.norm
    fed: HeadFacts | None = None
    if mtp is not None:
        fed = replace(mtp, concat=own.concat, hidden=own.hidden, recycle=own.recycle, norm=norm)
    return replace(verdict, reasons=(*verdict.reasons, reason), mtp=fed)
