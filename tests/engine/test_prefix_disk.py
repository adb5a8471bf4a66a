"""Places on the disk outlive the process, and a kill while they are written costs one at most."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from engine.model.load import LoadedModel
from engine.prefix.cache import PrefixCache
from engine.prefix.disk import Disk
from engine.prefix.identity import identity
from engine.protocol import (
    CycleDone,
    Event,
    Generate,
    LimitPrefixes,
    PrefixesKept,
    PrefixReused,
    RequestDone,
)
from engine.request import Request
from tests.fakes import checkpoints, tiny
from tests.fakes.driver import EngineProcess

LIMITS = LimitPrefixes(disk_bytes=2**30, disk_free_bytes=0)


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return tiny.loaded(tiny.vocabulary_of_bytes())


def run(model: LoadedModel, prefixes: PrefixCache, text: str, seed: int = 1) -> list[Event]:
    request = Request(Generate("r", (), raw=text, max_tokens=6, seed=seed), model, None, prefixes)
    events: list[Event] = []
    while not request.is_over:
        events += request.advance()
    request.close(is_whole=True)
    return events


def reused(events: list[Event]) -> int:
    return next(event.reused for event in events if isinstance(event, PrefixReused))


def tokens(events: list[Event]) -> list[int]:
    return [t for event in events if isinstance(event, CycleDone) for t in event.emitted]


def opened(folder: Path, limits: LimitPrefixes = LIMITS, name: str = "model") -> PrefixCache:
    prefixes = PrefixCache(2**30)
    prefixes.use_disk(Disk(folder, name, limits))
    return prefixes


def written(prefixes: PrefixCache) -> None:
    while prefixes.can_write:
        prefixes.write_one()


def test_a_new_process_goes_on_from_what_another_wrote(model: LoadedModel, tmp_path: Path) -> None:
    first = opened(tmp_path)
    before = run(model, first, "k" * 200)
    run(model, first, "k" * 200 + "l" * 90)
    written(first)
    second = opened(tmp_path)
    assert not second.places
    again = run(model, second, "k" * 200)
    assert reused(again) == 199
    assert tokens(again) == tokens(before)
    assert reused(run(model, second, "k" * 200 + "l" * 90 + "m")) >= 288


def test_what_memory_dropped_comes_back_from_the_disk(model: LoadedModel, tmp_path: Path) -> None:
    prefixes = opened(tmp_path)
    run(model, prefixes, "k" * 200)
    written(prefixes)
    limit = prefixes.nbytes
    prefixes.limit(1)
    assert not prefixes.places
    prefixes.limit(limit)
    assert reused(run(model, prefixes, "k" * 200)) == 199


def test_another_models_places_are_never_read(model: LoadedModel, tmp_path: Path) -> None:
    first = opened(tmp_path)
    run(model, first, "k" * 200)
    written(first)
    assert reused(run(model, opened(tmp_path, name="other"), "k" * 200)) == 0
    (tmp_path / "other").rmdir()
    (tmp_path / "model").rename(tmp_path / "other")
    assert reused(run(model, opened(tmp_path, name="other"), "k" * 200)) == 0


@pytest.mark.parametrize("damage", ["cut", "empty", "rubbish", "gone"])
def test_a_broken_file_is_as_good_as_none(model: LoadedModel, tmp_path: Path, damage: str) -> None:
    first = opened(tmp_path)
    run(model, first, "k" * 200)
    written(first)
    second = opened(tmp_path)
    for file in tmp_path.glob("*/*.safetensors"):
        size = file.stat().st_size
        if damage == "cut":
            os.truncate(file, size - 7)
        elif damage == "empty":
            os.truncate(file, 0)
        elif damage == "rubbish":
            file.write_bytes(b"\xff" * size)
        else:
            file.unlink()
    assert reused(run(model, second, "k" * 200)) == 0
    assert reused(run(model, second, "k" * 200)) == 199
    assert not opened(tmp_path).root.children


def test_what_another_process_writes_at_the_same_time_is_left_alone(
    model: LoadedModel, tmp_path: Path
) -> None:
    """The app and a server may have the same folder."""
    prefixes = opened(tmp_path)
    run(model, prefixes, "k" * 200)
    written(prefixes)
    sizes = [file.stat().st_size for file in tmp_path.glob("*/*.safetensors")]
    whole = next(tmp_path.glob("*/*.safetensors"))
    theirs = whole.with_name(f".{os.getppid()}-{whole.name}")
    left = whole.with_name(f".4194305-{whole.name}")
    for unfinished in (theirs, left):
        unfinished.write_bytes(whole.read_bytes()[:99])
    second = opened(tmp_path)
    assert (theirs.exists(), left.exists(), whole.exists()) == (True, False, True)
    assert second.disk is not None
    assert second.disk.nbytes == sum(sizes)
    assert reused(run(model, second, "k" * 200)) == 199


def test_a_folder_that_was_cleared_away_is_its_owners_again(
    model: LoadedModel, tmp_path: Path
) -> None:
    prefixes = opened(tmp_path)
    (tmp_path / "model").rmdir()
    run(model, prefixes, "k" * 200)
    written(prefixes)
    assert (tmp_path / "model").stat().st_mode & 0o077 == 0
    assert reused(run(model, opened(tmp_path), "k" * 200)) == 199


def test_what_another_process_takes_away_at_the_same_time_is_no_trouble(
    model: LoadedModel, tmp_path: Path
) -> None:
    prefixes = opened(tmp_path)
    # Listed, but gone when it is looked at.
    (tmp_path / "model" / f"{'0' * 32}.safetensors").symlink_to(tmp_path / "nothing")
    run(model, prefixes, "k" * 200)
    written(prefixes)
    assert reused(run(model, opened(tmp_path), "k" * 200)) == 199


def test_limits_of_the_disk_are_kept_and_told(model: LoadedModel, tmp_path: Path) -> None:
    prefixes = opened(tmp_path)
    run(model, prefixes, "k" * 200)
    written(prefixes)
    assert prefixes.disk is not None
    size = prefixes.disk.nbytes
    tight = opened(tmp_path, LimitPrefixes(disk_bytes=size * 3 // 2, disk_free_bytes=0))
    run(model, tight, "m" * 200)
    written(tight)
    assert tight.disk is not None
    assert 0 < tight.disk.nbytes <= size * 3 // 2
    cases = {
        "within the hour": LimitPrefixes(
            disk_bytes=2**30, disk_bytes_per_hour=9, disk_free_bytes=0
        ),
        "too full": LimitPrefixes(disk_bytes=2**30, disk_free_bytes=2**62),
        "larger than its room": LimitPrefixes(disk_bytes=10, disk_free_bytes=0),
    }
    for reason, limits in cases.items():
        other = opened(tmp_path / reason, limits)
        run(model, other, "n" * 200)
        written(other)
        assert other.disk is not None
        assert reason in other.disk.note
        assert other.disk.nbytes == 0


def test_the_budget_of_an_hour_comes_back(model: LoadedModel, tmp_path: Path) -> None:
    now = [0.0]
    prefixes = PrefixCache(2**30)
    limits = LimitPrefixes(disk_bytes=2**30, disk_bytes_per_hour=150_000, disk_free_bytes=0)
    prefixes.use_disk(Disk(tmp_path, "model", limits, lambda: now[0]))
    counts = []
    for number in range(4):
        run(model, prefixes, f"{number}" * 200)
        written(prefixes)
        counts.append(len(list(tmp_path.glob("*/*.safetensors"))))
        now[0] += 1801
    assert counts[0] > 0
    assert counts[1] < counts[3]


def test_an_identity_repeats_and_knows_another_model(tmp_path: Path) -> None:
    one, other = tiny.loaded(tiny.vocabulary_of_bytes()), tiny.loaded(tiny.vocabulary_of_bytes())
    assert identity(one) == identity(other)
    assert identity(tiny.loaded(tiny.vocabulary_of_bytes(), seed=2)) != identity(one)
    headless = LoadedModel(one.trunk, None, one.tokenizer, one.info)
    assert identity(headless) != identity(one)


@pytest.mark.slow
def test_a_kill_while_places_are_written_loses_the_one_at_hand_alone(tmp_path: Path) -> None:
    """A gated-delta model, killed after more and more of its files have appeared."""
    folder = checkpoints.write(tmp_path / "tiny", "qwen3_5")
    cache = tmp_path / "cache"
    for round_number in range(4):
        engine = EngineProcess(cache, blas="stock")
        try:
            engine.load("tiny", folder)
            engine.send(LIMITS)
            engine.wait_for(PrefixesKept)
            for number in range(3):
                text = f"{round_number}{number}" * 150
                engine.send(Generate("r", (), raw=text, max_tokens=2, seed=1))
                engine.wait_for(RequestDone)
            while not round_number:
                kept = engine.wait_for(PrefixesKept)
                if isinstance(kept, PrefixesKept) and kept.disk_bytes:
                    break
            wanted = len(list(cache.glob("prefixes/*/*"))) + round_number
            deadline = time.monotonic() + 5
            while len(list(cache.glob("prefixes/*/*"))) < wanted and time.monotonic() < deadline:
                pass
            os.kill(engine.started.pid, signal.SIGKILL)
        finally:
            engine.kill()
        whole = len(list(cache.glob("prefixes/*/[!.]*.safetensors")))
        engine = EngineProcess(cache, blas="stock")
        try:
            engine.load("tiny", folder)
            engine.send(LIMITS)
            kept = engine.wait_for(PrefixesKept)
            assert isinstance(kept, PrefixesKept)
            assert len(list(cache.glob("prefixes/*/[!.]*.safetensors"))) == whole
            assert not list(cache.glob("prefixes/*/.*"))
            engine.send(Generate("again", (), raw="00" * 150, max_tokens=2, seed=1))
            told = engine.wait_for(PrefixReused)
            assert isinstance(told, PrefixReused)
            assert engine.close() == 0
        finally:
            engine.kill()
    assert told.reused == 299
