"""Contracts that were found out, one small file a head in the engine's cache folder.

A checkpoint is asked once: what the probe found, a refusal too, is kept by the content of its head
and by what is known of its family. A file that can't be read counts as none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Mapping
from importlib.resources import files as resources
from pathlib import Path
from typing import cast

from engine.errors import HeadError
from engine.model.heads.chain import ChainHead
from engine.model.heads.load import load_head
from engine.model.norms import NormDoubt
from engine.model.probe import Probed, probe
from engine.model.tokenizer import Tokenizer
from engine.model.trunk import Trunk
from engine.verdict.checkpoint import CheckpointFacts
from engine.verdict.contract import Contract, NormEncoding, read_contract
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
    place = cache_folder / "contracts" / f"{_digest(head, facts)}.json"
    kept = _kept(place)
    if kept is None:
        kept = _asked(head, facts, trunk, tokenizer, encodings)
        _keep(place, kept)
    if "refused" in kept:
        raise HeadError(str(kept["refused"]), "declare its contract in mtp_contract.json")
    return read_contract({key: value for key, value in kept.items() if value is not None})


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
) -> dict[str, object]:
    """Run the probe; return what to keep of it."""

    def build(encoding: NormEncoding | None) -> Probed:
        found = load_head(head, facts.config, Contract(norm_encoding=encoding), trunk)
        return cast("Probed", found.heads[0] if isinstance(found, ChainHead) else found)

    text = "\n".join(resources("engine").joinpath(name).read_text("utf-8") for name in _SOURCES)
    tokens = tokenizer.encode(text, is_rendered=True)
    try:
        contract, share = probe(head.family, trunk, build, encodings, tokens)
    except HeadError as error:
        return {"refused": error.message}
    _log.info("its head foretells %.0f %% of the trunk's choices, fed as %s", 100 * share, contract)
    return {
        "concat": contract.concat,
        "hidden": contract.hidden,
        "recycle": contract.recycle,
        "norm_encoding": contract.norm_encoding,
    }


def _digest(head: HeadFiles, facts: CheckpointFacts) -> str:
    """Return a hash of the head's bytes, of the config, and of what is known of the family."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr((head.family, sorted(head.tensors), facts.weights_bytes)).encode())
    digest.update(json.dumps(facts.config, sort_keys=True).encode())
    for name in sorted(head.tensors):
        digest.update(head.tensors[name].read())
    return digest.hexdigest()


def _kept(place: Path) -> Mapping[str, object] | None:
    try:
        content = json.loads(place.read_text("utf-8"))
        if isinstance(content, dict) and "refused" not in content:
            read_contract({key: value for key, value in content.items() if value is not None})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, HeadError, TypeError) as error:
        _log.warning("%s is no contract (%s); the head will be probed anew", place, error)
        return None
    return content if isinstance(content, dict) else None


def _keep(place: Path, content: Mapping[str, object]) -> None:
    """Write what was found; where that can't be, the next load asks again."""
    fresh = place.with_suffix(f".{os.getpid()}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(json.dumps(content), "utf-8")
        fresh.replace(place)
    except OSError as error:
        _log.warning("%s can't be written: %s", place, error.strerror)
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
