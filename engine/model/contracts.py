"""Contracts that have to be found out: the head is probed, once for as long as its content stays."""

from __future__ import annotations

import logging
from importlib.resources import files as resources
from pathlib import Path
from typing import cast

from engine.errors import HeadError, ModelFileError
from engine.model.heads.chain import ChainHead
from engine.model.heads.load import load_head
from engine.model.norms import NormDoubt
from engine.model.probe import Probed, probe
from engine.model.tokenizer import Tokenizer
from engine.model.trunk import Trunk
from engine.verdict.checkpoint import CheckpointFacts
from engine.verdict.contract import Contract, NormEncoding
from engine.verdict.found_contracts import FoundContract, find_contract, keep_contract
from engine.verdict.head_files import HeadFiles

__all__ = ["settled_contract"]

_log = logging.getLogger(__name__)
_SOURCES = ("speculation/sampling.py", "speculation/cycle.py")
"""Source code that is always here, of some 4,000 tokens."""


def settled_contract(
    facts: CheckpointFacts, trunk: Trunk, tokenizer: Tokenizer, cache_folder: Path
) -> Contract:
    """Return the contract to build a checkpoint's head by.

    What is declared beside the weights is taken as it is; what the family leaves no doubt of
    needs no asking. Else the probe runs, or what it found before is read.

    Args:
        facts: of the checkpoint; it has a head.
        trunk: with its weights in memory.
        tokenizer: of the checkpoint.
        cache_folder: of the engine.

    Raises:
        HeadError: the head can't be built, or the probe refuses it.
    """
    head = facts.head
    if head is None or facts.contract != Contract():
        return facts.contract
    encodings = _encodings(head, facts, trunk)
    if head.family.disputed != "hidden" and encodings == (None,):
        return facts.contract
    found = _found_before(head, facts, cache_folder)
    if found is None:
        found = _asked(head, facts, trunk, tokenizer, encodings)
        _keep(found, head, facts, cache_folder)
    if found.refusal:
        raise HeadError(found.refusal, "declare its contract in mtp_contract.json")
    return found.contract


def _found_before(head: HeadFiles, facts: CheckpointFacts, cache: Path) -> FoundContract | None:
    try:
        return find_contract(head, facts, cache)
    except ModelFileError as error:
        _log.warning("%s; the head will be probed anew", error.message)
        return None


def _keep(found: FoundContract, head: HeadFiles, facts: CheckpointFacts, cache: Path) -> None:
    """Keep what was found; where that can't be, the next load asks again."""
    try:
        keep_contract(found, head, facts, cache)
    except OSError as error:
        _log.warning("%s can't be written: %s", error.filename or cache, error.strerror)


def _encodings(
    head: HeadFiles, facts: CheckpointFacts, trunk: Trunk
) -> tuple[NormEncoding | None, ...]:
    """Return the encodings of gains that the values leave open; None where they leave none."""
    try:
        load_head(head, facts.config, Contract(), trunk)
    except NormDoubt as error:
        _log.info("%s; it will be probed", error.message)
        return ("plain", "one_plus")
    return (None,)


def _asked(
    head: HeadFiles,
    facts: CheckpointFacts,
    trunk: Trunk,
    tokenizer: Tokenizer,
    encodings: tuple[NormEncoding | None, ...],
) -> FoundContract:
    """Run the probe."""

    def build(encoding: NormEncoding | None) -> Probed:
        found = load_head(head, facts.config, Contract(norm_encoding=encoding), trunk)
        return cast("Probed", found.heads[0] if isinstance(found, ChainHead) else found)

    text = "\n".join(resources("engine").joinpath(name).read_text("utf-8") for name in _SOURCES)
    tokens = tokenizer.encode(text, is_rendered=True)
    try:
        contract, share = probe(head.family, trunk, build, encodings, tokens)
    except HeadError as error:
        return FoundContract(Contract(), refusal=error.message)
    _log.info("its head foretells %.0f %% of the trunk's choices, fed as %s", 100 * share, contract)
    return FoundContract(contract, share)
