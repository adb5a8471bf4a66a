"""What all tests share: real engine processes, and signals that reach what they start."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtplx_tui.library.disk import resolve
from tests.fakes import tiny
from tests.fakes.driver import EngineProcess


def pytest_configure(config: pytest.Config) -> None:
    """Let engines share two cores, keep bytecode, and let what the tests start be interrupted.

    Two test processes whose engines spin on both cores each slow one another down many times. And
    a shell starts what is in its background deaf to interrupts. Where there is a GPU its float32
    matmuls have all their bits: tests hold them to what a CPU's come to.
    """
    _keep_bytecode(config)
    os.environ.setdefault("MLX_ENABLE_TF32", "0")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _keep_bytecode(config: pytest.Config) -> None:
    """Keep bytecode in pytest's cache folder where Python is told to write none beside the sources.

    Containers often tell it that. Then each of the hundreds of processes that the tests start
    compiles all it imports, which is half of what the start of an engine costs.
    """
    if sys.dont_write_bytecode and config.pluginmanager.hasplugin("cacheprovider"):
        folder = str(config.cache.mkdir("bytecode"))
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = folder
        sys.dont_write_bytecode = False


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
