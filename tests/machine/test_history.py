"""The history of a run, and when heat is named as what made it slow."""

from __future__ import annotations

import random

import pytest

from mtplx_tui.machine.history import TOKENS, History, Sample, sample, slowdown
from mtplx_tui.machine.readings import Group
from mtplx_tui.widgets.braille import area, plain_area
from tests.fakes.heat import speed, warming


def run(seconds: int) -> History:
    history = History()
    for second, snapshot in enumerate(warming(seconds)):
        tokens = speed(second)
        history.add(sample(snapshot, float(tokens) if tokens else None))
    return history


def test_it_stays_small_however_long_the_run() -> None:
    history = History()
    for second in range(20_000):
        history.add(Sample(float(second), {Group.CPU: 40.0 + second % 7}))
    assert len(history.recent) == 301
    assert len(history._run) <= 600
    assert history.run_s == pytest.approx(20_000, abs=100)
    curve = history.curve(Group.CPU, 200, whole=True)
    assert None not in curve[-190:-2]


def test_a_peak_is_kept_in_the_whole_run() -> None:
    history = History()
    for second in range(5_000):
        history.add(Sample(float(second), {Group.CPU: 99.0 if second == 17 else 50.0}))
    assert 99.0 in history.curve(Group.CPU, 100, whole=True)
    assert 99.0 not in history.curve(Group.CPU, 100, whole=False)
    assert history.peak(Group.CPU) == 99.0


def test_a_curve_ends_with_the_newest_value() -> None:
    history = run(100)
    for points in (2, 120, 242, 400):
        curve = history.curve(Group.CPU, points, whole=False)
        assert len(curve) == points
        assert history.last(Group.CPU) in curve[-2:] or points == 2


def test_a_fall_of_speed_in_the_heat_is_named() -> None:
    line = slowdown(tuple(run(260).recent))
    assert line.startswith("speed fell ")
    assert "% while the CPU went up to 9" in line


def test_no_fall_no_heat_or_no_work_is_not_named() -> None:
    chance = random.Random(1)

    def samples(tokens: float, celsius: float, count: int, start: int) -> list[Sample]:
        return [
            Sample(
                float(start + at),
                {TOKENS: tokens * chance.uniform(0.95, 1.05), Group.CPU: celsius},
            )
            for at in range(count)
        ]

    assert slowdown(samples(50, 60, 60, 0) + samples(50, 97, 60, 60)) == ""
    assert slowdown(samples(50, 60, 60, 0) + samples(30, 62, 60, 60)) == ""
    assert slowdown(samples(50, 97, 60, 0) + samples(30, 97, 60, 60)) == ""
    assert slowdown(samples(50, 60, 5, 0) + samples(30, 97, 5, 5)) == ""
    assert slowdown(samples(50, 60, 60, 0) + samples(30, 97, 60, 60)) != ""
    assert slowdown([*samples(50, 60, 60, 0), *samples(30, 97, 60, 60), Sample(121.0, {})]) == ""


def test_the_systems_own_word_counts_as_heat() -> None:
    fast = [Sample(float(at), {TOKENS: 50.0}) for at in range(30)]
    slow = [Sample(float(30 + at), {TOKENS: 30.0}, pressure=2.0) for at in range(30)]
    assert "the system says" in slowdown(fast + slow)


def test_braille_fills_from_below_two_points_a_cell() -> None:
    assert area([0, 100, None, 50], 1, 0, 100) == ("⣸⢠",)
    assert area([100, 100], 2, 0, 100) == ("⣿", "⣿")
    assert area([50, 50], 2, 0, 100) == (" ", "⣿")
    assert area([None, None], 2, 0, 100) == (" ", " ")
    assert plain_area([0, 100, None, 50], 1, 0, 100) == ("#:",)
