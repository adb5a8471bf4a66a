"""Places of texts on the disk, a file each, which outlive the process.

A kill leaves whole files, and one that is cleared away at the next start. A file that can't be read
counts as none. Other processes may write to the folder at the same time, and take files away.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx

from engine.errors import ModelFileError
from engine.made_files import clear_unfinished, made_whole
from engine.model.arrays import read_arrays
from engine.model.snapshot import Snapshot
from engine.prefix.held import Held
from engine.protocol import LimitPrefixes
from engine.verdict.headers import check_safetensors

__all__ = ["Disk", "Stored"]

_log = logging.getLogger(__name__)
_ENDING = ".safetensors"
_WHOLE = f"[!.]*{_ENDING}"
_HOUR_S = 3600.0
_HEADER_BYTES = 160
"""What an array takes in a file's header, at most."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A place on the disk."""

    digest: str
    """Of its text and the model; also the file's name."""
    parent: str
    """Of the place it builds on; empty where it builds on none."""
    tokens: tuple[int, ...]
    """Since that place."""
    nbytes: int
    used: float
    """Seconds since the epoch."""


class Disk:
    """See the module.

    Args:
        folder: for the places of all models; made if need be, for its owner alone.
        identity: of the model.
        limits: how much may be written.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        folder: Path,
        identity: str,
        limits: LimitPrefixes,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._root = folder
        self._folder = folder / identity
        self._identity = identity
        self._limits = limits
        self._clock = clock
        self._written: deque[tuple[float, int]] = deque()
        self._make_folder()
        clear_unfinished(self._folder)
        self.note = ""
        """Why the last place was not written; empty where it was."""

    def _make_folder(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def nbytes(self) -> int:
        """Bytes of all files, those of other models too."""
        return sum(size for _, size, _ in self._files())

    def digest(self, parent: str, tokens: tuple[int, ...]) -> str:
        """Return what a place is known by."""
        text = f"{self._identity}|{parent}|{tokens}"
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def places(self) -> list[Stored]:
        """Return all places of the model whose files are whole, in no order."""
        found = [self._stored(file) for file in self._folder.glob(_WHOLE)]
        return [stored for stored in found if stored is not None]

    def write(self, parent: str, tokens: tuple[int, ...], held: Held) -> str:
        """Write a place; return its digest, or nothing where it may not or can't be written."""
        digest = self.digest(parent, tokens)
        arrays, facts = _flat(held)
        facts |= {"parent": parent, "tokens": json.dumps(tokens)}
        size = held.nbytes + _HEADER_BYTES * (len(arrays) + 1) + len(json.dumps(facts))
        try:
            self._make_folder()  # it may have been cleared away
            self.note = self._objection(size)
            if self.note:
                return ""
            with (
                made_whole(self._folder / f"{digest}{_ENDING}") as place,
                place.open("wb") as file,
            ):
                mx.save_safetensors(file, arrays, metadata=facts)
        except (OSError, RuntimeError) as error:
            self.note = f"what was read can't be written: {error}"
            _log.warning("%s", self.note)
            return ""
        self._written.append((self._clock(), size))
        return digest

    def read(self, digest: str) -> Held | None:
        """Return what a place holds, in memory; None where its file is gone or broken."""
        file = self._folder / f"{digest}{_ENDING}"
        try:
            facts = check_safetensors(file).metadata
            held = _held(read_arrays(file), facts)
            os.utime(file)
        except (OSError, ModelFileError, RuntimeError, ValueError, KeyError) as error:
            _log.warning("%s can't be read: %s", file, error)
            file.unlink(missing_ok=True)
            return None
        return held

    def _stored(self, file: Path) -> Stored | None:
        try:
            facts = check_safetensors(file).metadata
            tokens = tuple(int(token) for token in json.loads(facts["tokens"]))
            status = file.stat()
        except (OSError, ModelFileError, ValueError, KeyError, TypeError) as error:
            _log.warning("%s is left out: %s", file, error)
            file.unlink(missing_ok=True)
            return None
        if self.digest(facts.get("parent", ""), tokens) != file.stem:
            return None
        return Stored(file.stem, facts["parent"], tokens, status.st_size, status.st_mtime)

    def _objection(self, nbytes: int) -> str:
        """Make room for so many bytes; return why they may not be written."""
        now = self._clock()
        while self._written and self._written[0][0] < now - _HOUR_S:
            self._written.popleft()
        if sum(size for _, size in self._written) + nbytes > self._limits.disk_bytes_per_hour:
            return "as much as may be was written to the disk within the hour"
        self._make_room(nbytes)
        if self.nbytes + nbytes > self._limits.disk_bytes:
            return "what was read last is larger than its room on the disk"
        if shutil.disk_usage(self._folder).free - nbytes < self._limits.disk_free_bytes:
            return "the disk is too full to keep what was read"
        return ""

    def _make_room(self, nbytes: int) -> None:
        """Remove files, those first that were used longest ago."""
        files = sorted(self._files())
        surplus = sum(size for _, size, _ in files) + nbytes - self._limits.disk_bytes
        for _, size, file in files:
            if surplus <= 0:
                return
            surplus -= size
            file.unlink(missing_ok=True)

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """Yield the files of all models that are still there: when they were used, size, place."""
        for file in self._root.glob(f"*/{_WHOLE}"):
            with suppress(FileNotFoundError):
                status = file.stat()
                yield status.st_mtime, status.st_size, file


def _flat(held: Held) -> tuple[dict[str, mx.array], dict[str, str]]:
    arrays: dict[str, mx.array] = {}
    facts: dict[str, str] = {}
    for name, part in (("trunk", held.trunk), ("head", held.head)):
        if part is None:
            continue
        sizes = [len(leaf) for leaf in (*part.arrays, part.waiting)]
        facts[name] = json.dumps([part.length, part.ends, sizes])
        for leaf, values in enumerate((*part.arrays, part.waiting)):
            for index, array in enumerate(values):
                if array is not None:
                    arrays[f"{name}.{leaf}.{index}"] = array
    if held.boundary is not None:
        arrays["boundary"] = held.boundary
    return arrays, facts


def _held(arrays: dict[str, mx.array], facts: Mapping[str, str]) -> Held:
    mx.eval(list(arrays.values()))
    trunk = _snapshot("trunk", arrays, facts)
    head = _snapshot("head", arrays, facts) if "head" in facts else None
    return Held(trunk, head, arrays.get("boundary"))


def _snapshot(name: str, arrays: dict[str, mx.array], facts: Mapping[str, str]) -> Snapshot:
    length, ends, sizes = json.loads(facts[name])
    leaves = [
        tuple(arrays.get(f"{name}.{leaf}.{index}") for index in range(size))
        for leaf, size in enumerate(sizes)
    ]
    return Snapshot(int(length), tuple(ends), tuple(leaves[:-1]), leaves[-1])
