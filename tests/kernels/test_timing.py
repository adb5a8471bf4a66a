"""Times of a GPU's own part; the way is the same on a CPU, where they are those of the work."""

from __future__ import annotations

import time

import mlx.core as mx
import pytest

from kernels import timing


def test_work_is_timed_behind_the_same_lead_each_time_and_the_least_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[object] = []
    waits = iter([0.0, 0.05, 0.03, 0.02, 0.06, 0.04, 0.05, 0.05])

    def lead(products: int) -> mx.array:
        told.append(products)
        return mx.zeros(1)

    def work() -> mx.array:
        told.append("work")
        time.sleep(next(waits))
        return mx.zeros(1)

    monkeypatch.setattr(timing, "_lead", lead)
    monkeypatch.setattr(timing, "_lead_length", lambda: 7)
    assert 0.02 <= timing.seconds_behind_lead(work) < 0.03
    assert told == ["work", *[7, "work"] * 7]


def test_the_lead_is_as_long_as_the_host_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_SIDE", 128)
    timing._lead_length.cache_clear()
    products = timing._lead_length()
    timing._lead_length.cache_clear()
    begin = time.perf_counter()
    mx.eval(timing._lead(products))
    assert time.perf_counter() - begin > timing._LEAD_S / 4
    assert mx.isfinite(timing._lead(products)).all().item()
