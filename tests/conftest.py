"""What all tests share: real engine processes, and signals that reach what they start."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtplx_tui.library.disk import resolve
from tests.fakes import tiny
from tests.fakes.driver import EngineProcess


def pytest_configure() -> None:
    """Let engines share two cores, and let what the tests start be interrupted.

    Two test processes whose engines spin on both cores each slow one another down many times. And
    a shell starts what is in its background deaf to interrupts.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def engine_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder for the whole run: the demo is unpacked into it once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ordinary checkpoint without a head."""
    return tiny.write_checkpoint(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def endless_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose answers never end."""
    return tiny.write_endless(tmp_path_factory.mktemp("models") / "endless")


@pytest.fixture
def home(tmp_path: Path, engine_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person's own folder, empty but for the cache that all tests share."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "cache").symlink_to(engine_cache)
    monkeypatch.setenv("MTPLX_TUI_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def demo_engine(engine_cache: Path) -> Iterator[EngineProcess]:
    """An engine with the demo model."""
    engine = EngineProcess(engine_cache)
    engine.load("demo", Path(resolve("demo").path))
    yield engine
    assert engine.close() == 0


@pytest.fixture
def engine(engine_cache: Path) -> Iterator[EngineProcess]:
    """A fresh engine without a model."""
    engine = EngineProcess(engine_cache)
    yield engine
    engine.kill()
