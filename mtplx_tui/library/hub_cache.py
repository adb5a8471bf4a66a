"""The hub's cache folder: where a repository's files belong, so that other programs find them.

Names from a hub are checked before they become paths, and nothing is written through a link.
Knows no network.
"""

from __future__ import annotations

import fcntl
import fnmatch
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mtplx_tui.remedies import NeedsRemedy

__all__ = ["BlobLock", "CacheRefused", "RepoFile", "RepoFolder", "check_path", "is_wanted"]

_NAME = r"[A-Za-z0-9][\w.-]{0,95}"
_REPOSITORY = re.compile(rf"{_NAME}/{_NAME}", re.ASCII)
_REVISION = re.compile(r"[\w][\w./-]{0,200}", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ETAG = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_ALLOWED = (
    "*.safetensors", "*.json", "*.jinja", "tokenizer*", "*.model", "*.txt", "README.md", "LICENSE*",
)  # fmt: skip
_DENIED = (
    "*.py", "*.bin", "*.pt", "*.pth", "*.pkl", "*.gguf", "onnx/*", "original/*", "consolidated*", ".*",
)  # fmt: skip


class CacheRefused(NeedsRemedy):
    """A name or a place that nothing is written to; message and remedy are one line each."""


@dataclass(frozen=True, slots=True)
class RepoFile:
    """A file of a repository at a commit."""

    path: str
    size: int
    """Bytes."""
    etag: str
    """Its sha256, or for a small file kept in git the sha1 of the git blob."""


def check_repository(name: str) -> None:
    """Raise CacheRefused unless a name is owner/name as the hub has them."""
    if not _REPOSITORY.fullmatch(name) or ".." in name or "--" in name:
        raise CacheRefused(
            f"{ascii(name)[:120]} is no owner/name of a repository", "give owner/name"
        )


def check_revision(revision: str) -> None:
    """Raise CacheRefused unless a revision is a plain branch, tag or commit."""
    if not _REVISION.fullmatch(revision) or ".." in revision or "//" in revision:
        raise CacheRefused(
            f"{ascii(revision)[:120]} is no revision", "give a branch, a tag or a commit"
        )


def is_commit(text: str) -> bool:
    """Return whether a text names a commit in full."""
    return _COMMIT.fullmatch(text) is not None


def check_path(path: str) -> None:
    """Raise CacheRefused for a file name that leads out of its folder or can't be shown."""
    parts = path.split("/")
    is_bad = (
        not path.isprintable()
        or "\\" in path
        or len(path) > 1000
        or any(part in ("", ".", "..") or len(part.encode()) > 240 for part in parts)
    )
    if is_bad:
        raise CacheRefused(
            f"the repository lists the file {ascii(path)[:120]}, which leads out of its folder "
            "or can't be shown",
            "nothing was downloaded; don't use this repository",
        )


def is_wanted(path: str) -> bool:
    """Return whether a file is worth downloading: weights, settings, tokenizer; never code."""
    name = path.rpartition("/")[2]
    denied = any(fnmatch.fnmatchcase(text, glob) for glob in _DENIED for text in (path, name))
    return not denied and any(fnmatch.fnmatchcase(name, glob) for glob in _ALLOWED)


class RepoFolder:
    """A repository's folder in the hub's cache.

    Args:
        cache: the hub's cache.
        name: owner/name.

    Raises:
        CacheRefused: not such a name.
    """

    def __init__(self, cache: Path, name: str) -> None:
        check_repository(name)
        self.cache = cache
        self.path = cache / f"models--{name.replace('/', '--')}"
        self._locks = cache / ".locks" / self.path.name

    def blob(self, etag: str) -> Path:
        """Return where a file's content belongs. Raises CacheRefused for no hash."""
        if not _ETAG.fullmatch(etag):
            raise CacheRefused(
                f"the hub names a file by {ascii(etag)[:80]}, which is no hash", "try again later"
            )
        return self.path / "blobs" / etag

    def partial(self, etag: str) -> Path:
        """Return where content on its way is kept; other programs know the ending."""
        return self.blob(etag).with_name(f"{etag}.mtplx.incomplete")

    def journal(self, etag: str) -> Path:
        """Return where it is kept how far it came."""
        return self.blob(etag).with_name(f"{etag}.mtplx.parts.incomplete")

    def has(self, file: RepoFile) -> bool:
        """Return whether a file's content is here, in its size."""
        try:
            return self.blob(file.etag).stat().st_size == file.size
        except OSError:
            return False

    def prepare(self) -> None:
        """Make the folders.

        Raises:
            CacheRefused: one of them is a link.
            OSError: they can't be made.
        """
        self.cache.mkdir(parents=True, exist_ok=True)
        for folder in (self.path, self.path / "blobs", self.path / "snapshots", self.path / "refs"):
            _make(folder)
        _make(self._locks.parent)
        _make(self._locks)

    def lock(self, etag: str) -> BlobLock | None:
        """Return the lock that the hub's own client takes for a file; None if another has it."""
        return BlobLock.take(self._locks / f"{self.blob(etag).name}.lock")

    def publish(self, file: RepoFile, commit: str) -> None:
        """Link a file whose content is here into the snapshot of a commit.

        Raises:
            CacheRefused: a folder on the way is a link.
            OSError: it can't be made.
        """
        check_path(file.path)
        folder = self.snapshot(commit)
        _make(folder)
        *folders, name = file.path.split("/")
        for part in folders:
            folder = folder / part
            _make(folder)
        target = os.path.join(*[".."] * (2 + len(folders)), "blobs", file.etag)
        place = folder / name
        if place.is_symlink() and os.readlink(place) == target:
            return
        if place.is_dir() and not place.is_symlink():
            raise CacheRefused(f"{place} is a folder, not a file", "remove it, then try again")
        beside = folder / f".{os.urandom(6).hex()}.incomplete"
        beside.symlink_to(target)
        beside.replace(place)

    def snapshot(self, commit: str) -> Path:
        """Return the folder of a commit. Raises CacheRefused for no commit."""
        if not is_commit(commit):
            raise CacheRefused(
                f"the hub names a commit {ascii(commit)[:80]}, which is none", "try again later"
            )
        return self.path / "snapshots" / commit

    def point(self, revision: str, commit: str) -> None:
        """Have a branch or tag point to a commit."""
        check_revision(revision)
        if revision == commit:
            return
        folder = self.path / "refs"
        *folders, name = revision.split("/")
        for part in folders:
            folder = folder / part
            _make(folder)
        # Made outside of the branches' folder, of which the hub's own client takes every file for one.
        fresh = self.path / f".{os.urandom(6).hex()}"
        try:
            fresh.write_text(commit, "ascii")
            fresh.replace(folder / name)
        finally:
            fresh.unlink(missing_ok=True)


class BlobLock:
    """A lock on a file's content, held until `release`, or until the process ends, however."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, path: Path) -> Self | None:
        """Take a lock; None if another process, or another download of this one, has it."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor)

    def release(self) -> None:
        """Let others have it."""
        os.close(self._descriptor)


def _make(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    if folder.is_symlink():
        raise CacheRefused(
            f"{folder} is a link, and downloads follow none", "put the folder itself there"
        )
