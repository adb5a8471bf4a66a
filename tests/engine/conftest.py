"""The tiny checkpoints of every family, each written and loaded once for all tests of the engine."""

from __future__ import annotations

from collections import UserDict
from pathlib import Path

import pytest

from engine.model.load import LoadedModel, load
from tests.fakes import checkpoints


class FamilyModels(UserDict[str, LoadedModel]):
    """Models by the names in `checkpoints.DONORS`, loaded when they are asked for.

    Tests share them, so what a test changes in one it has to put back.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def __missing__(self, name: str) -> LoadedModel:
        path = checkpoints.write(self._folder / name, name)
        self[name] = load(name, path, self._folder, lambda *_: None)
        return self[name]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> FamilyModels:
    return FamilyModels(tmp_path_factory.mktemp("families"))
