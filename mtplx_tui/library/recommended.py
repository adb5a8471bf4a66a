"""The recommended models: names as data, read once."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from mtplx_tui.library.hub_cache import check_repository

__all__ = ["Recommended", "recommended"]


@dataclass(frozen=True, slots=True)
class Recommended:
    """A repository whose weights carry a head."""

    name: str
    memory_gb: int
    """Of a machine that runs it in 4 bits."""


@cache
def recommended() -> tuple[Recommended, ...]:
    """Return them, those that need least memory first."""
    text = (files("mtplx_tui.library") / "recommended.toml").read_text("utf-8")
    found = [Recommended(**entry) for entry in tomllib.loads(text)["model"]]
    for model in found:
        check_repository(model.name)
    return tuple(sorted(found, key=lambda model: model.memory_gb))
