"""What the engine found out of a head by probing it: a small file a head in its cache folder.

Named by the content of the head and by what is known of its family, so a head is asked once,
wherever it lies, and anew when either changes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.errors import HeadError, ModelFileError
from engine.made_files import made_whole
from engine.verdict.checkpoint import CheckpointFacts
from engine.verdict.contract import Contract, read_contract
from engine.verdict.head_files import HeadFiles

__all__ = ["FoundContract", "find_contract", "keep_contract"]

_FOLDER = "contracts"
_MAX_BYTES = 4096


@dataclass(frozen=True, slots=True)
class FoundContract:
    """What came of a probe."""

    contract: Contract
    share: float | None = None
    """Of the trunk's choices, what the head foretells so; None where that was not kept."""
    refusal: str = ""
    """Why the head is not used; empty where it is."""


def find_contract(head: HeadFiles, facts: CheckpointFacts, cache: Path) -> FoundContract | None:
    """Return what was found of a head on this machine; None where it was never asked.

    Raises:
        ModelFileError: what is kept can't be read; the head will be asked anew.
        OSError: the head can't be read.
    """
    if not (cache / _FOLDER).is_dir():
        return None
    place = _place(head, facts, cache)
    try:
        with place.open("rb") as file:
            content = json.loads(file.read(_MAX_BYTES))
        return _found(content)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, HeadError) as error:
        raise ModelFileError(f"{place} is no contract: {error}") from error


def keep_contract(
    found: FoundContract, head: HeadFiles, facts: CheckpointFacts, cache: Path
) -> None:
    """Write what was found of a head, whole or not at all.

    Raises:
        OSError: it can't be written, or the head can't be read.
    """
    place = _place(head, facts, cache)
    contract = found.contract
    content: dict[str, object] = {
        "concat": contract.concat,
        "hidden": contract.hidden,
        "recycle": contract.recycle,
        "norm_encoding": contract.norm_encoding,
        "share": found.share,
    }
    with made_whole(place) as fresh:
        fresh.write_text(json.dumps({"refused": found.refusal} if found.refusal else content))


def _place(head: HeadFiles, facts: CheckpointFacts, cache: Path) -> Path:
    """Return where what is found of a head is kept; reads all of the head."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr((head.family, sorted(head.tensors), facts.weights_bytes)).encode())
    digest.update(json.dumps(facts.config, sort_keys=True).encode())
    for name in sorted(head.tensors):
        digest.update(head.tensors[name].read())
    return cache / _FOLDER / f"{digest.hexdigest()}.json"


def _found(content: object) -> FoundContract:
    if not isinstance(content, Mapping):
        raise ValueError("it holds no JSON object")
    if "refused" in content:
        return FoundContract(Contract(), refusal=str(content["refused"])[:400])
    share = content.get("share")
    if share is not None and not isinstance(share, float):
        raise ValueError("its share is no number")
    declared = {k: v for k, v in content.items() if v is not None and k != "share"}
    return FoundContract(read_contract(declared), share)
