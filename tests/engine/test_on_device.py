"""The engine with its kernels of acceptance, which run in C++ here, against the engine without."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from engine.protocol import Mode, Sampling
from engine.speculation import draft, on_device
from engine.speculation.cycle import CycleResult, read_prompt, run_cycle
from engine.speculation.stream import Stream
from kernels import distribution as rows_kernel
from kernels import verdict as verdict_kernel
from kernels.dispatch import Backend
from tests.fakes import emulated_acceptance as emulated
from tests.fakes import tiny
from tests.fakes.emulation import needs_compiler

pytestmark = needs_compiler

PROMPT = [3, 1, 4, 1, 5]
CYCLES = 12
SAMPLINGS = [Sampling(), Sampling(1.0, 1.0, 0), Sampling(0.0, 1.0, 0)]


def cycles(mode: Mode, sampling: Sampling, depth: int, *, is_watched: bool) -> list[CycleResult]:
    trunk, head = tiny.trunk_and_head()
    stream = Stream(trunk.make_cache(), head, 7)
    stream.has_xray = is_watched
    read_prompt(trunk, stream, PROMPT[:-1], PROMPT[-1])
    return [run_cycle(trunk, stream, depth, sampling, mode) for _ in range(CYCLES)]


@pytest.mark.parametrize("mode", [Mode.TOKEN, Mode.BLOCK, Mode.SEEDED])
@pytest.mark.parametrize("sampling", SAMPLINGS, ids=["default", "soft", "greedy"])
@pytest.mark.parametrize("depth", [0, 3])
def test_cycles_are_those_of_the_definitions(
    mode: Mode, sampling: Sampling, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = cycles(mode, sampling, depth, is_watched=True)
    emulated.put(monkeypatch)
    mine = cycles(mode, sampling, depth, is_watched=True)
    for one, other in zip(mine, plain, strict=True):
        assert one.emitted == other.emitted
        assert one.drafted == other.drafted
        assert one.numbers is not None
        assert other.numbers is not None
        assert np.allclose(one.numbers.target_probs, other.numbers.target_probs, atol=1e-5)
        assert np.allclose(one.numbers.draft_probs, other.numbers.draft_probs, atol=1e-5)
        assert one.numbers.next_prob == pytest.approx(other.numbers.next_prob, abs=1e-5)
        assert np.allclose(one.numbers.chances, other.numbers.chances, atol=1e-5)
        assert one.numbers.uniforms == other.numbers.uniforms


def test_drafts_are_recorded_with_what_they_were_drawn_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Any] = []
    emulated.put(monkeypatch)
    right = on_device.distribution

    def watching(*given: Any) -> Any:
        made.append(right(*given))
        return made[-1]

    monkeypatch.setattr(draft, "distribution", watching)
    seen: list[mx.array] = []
    trunk, head = tiny.trunk_and_head()
    stream = Stream(trunk.make_cache(), head, 7)
    stream.witness = lambda _, rows: seen.append(rows) if rows is not None else None
    read_prompt(trunk, stream, PROMPT[:-1], PROMPT[-1])
    run_cycle(trunk, stream, 3, Sampling(1.0, 1.0, 8), Mode.TOKEN)
    assert mx.array_equal(seen[0], mx.concatenate([each.probs for each in made]))


def test_kernels_are_compared_and_left_out_where_they_differ(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on a GPU: first as they are, then each with a fault in it."""
    monkeypatch.setattr(on_device, "_VOCABULARY", 600)
    monkeypatch.setattr(on_device, "backend_for", lambda _: Backend.CUDA)
    monkeypatch.setattr(rows_kernel, "distribution", lambda _, *a: emulated.distribution(*a))
    monkeypatch.setattr(verdict_kernel, "judged", lambda _, *a, **n: emulated.judged(*a, **n))

    def notes() -> tuple[str, str]:
        on_device._rows_note.cache_clear()
        on_device._verdict_note.cache_clear()
        return on_device.distribution_note(), on_device.verdict_note()

    assert notes() == ("", "")
    body = rows_kernel.BODY.replace("own.at[j] = each / all", "own.at[j] = 1.01f * each / all")
    judging = verdict_kernel.BODY.replace("noise[i] * draft_at", "noise[i] * 0.7f * draft_at")
    monkeypatch.setattr(rows_kernel, "BODY", body)
    monkeypatch.setattr(verdict_kernel, "BODY", judging)
    assert "is off by" in notes()[0]
    assert "accepts otherwise" in notes()[1]
    assert on_device.distribution(mx.zeros((1, 600)), Sampling()) is None

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no such instruction")

    monkeypatch.setattr(rows_kernel, "distribution", broken)
    monkeypatch.setattr(verdict_kernel, "judged", broken)
    assert all("no such instruction" in note for note in notes())
    on_device._rows_note.cache_clear()
    on_device._verdict_note.cache_clear()


def test_laws_that_plain_mlx_draws_from_faster_are_left_to_it() -> None:
    assert [on_device.is_faster(each) for each in SAMPLINGS] == [True, False, False]
    assert not on_device.is_faster(Sampling(1.0, 1.0, 257))
