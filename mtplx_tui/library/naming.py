"""Where a model is that a person names: on this machine, or on the hub."""

from __future__ import annotations

import os
from dataclasses import dataclass

from mtplx_tui.library.disk import Location, ModelNotFound, resolve
from mtplx_tui.library.hub_cache import CacheRefused, check_repository

__all__ = ["OnHub", "find", "parted"]


@dataclass(frozen=True, slots=True)
class OnHub:
    """A model that is not here."""

    name: str
    revision: str


def find(name: str) -> Location | OnHub:
    """Return where a model is: here if it is, else on the hub.

    Raises:
        ModelNotFound: it is not here, and its name is none of a repository.
    """
    try:
        return resolve(name)
    except ModelNotFound:
        found = OnHub(*parted(name))
        if os.path.lexists(os.path.expanduser(name)) or not _is_repository(found.name):
            raise
    return found


def parted(name: str) -> tuple[str, str]:
    """Return repository and revision of owner/name, or owner/name@revision."""
    repository, _, revision = name.partition("@")
    return repository, revision or "main"


def _is_repository(name: str) -> bool:
    try:
        check_repository(name)
    except CacheRefused:
        return False
    return True
