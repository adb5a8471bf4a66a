"""The pace of drawing: the person's, the line's, and back again."""

from __future__ import annotations

import pytest

from mtplx_tui.pace import SLOWEST_S, Pace


@pytest.mark.parametrize(
    ("hz", "is_ssh", "seconds"),
    [
        (20, False, 0.0),
        (10, False, 0.0),
        (5, False, 0.2),
        (1, False, 1.0),
        (10, True, 0.2),
        (2, True, 0.5),
    ],
)
def test_it_begins_as_the_person_and_the_line_want_it(
    hz: int, is_ssh: bool, seconds: float
) -> None:
    assert Pace(hz, is_ssh=is_ssh).interval_s == seconds


@pytest.mark.parametrize("hz", [1, 4, 10, 20])
def test_it_falls_while_drawings_wait_and_comes_back_when_none_does(hz: int) -> None:
    pace = Pace(hz, is_ssh=False)
    first = pace.interval_s
    seen = []
    for _ in range(6):
        pace.look(20)
        seen.append(pace.interval_s)
    assert seen == sorted(seen)
    assert seen[-1] == SLOWEST_S
    for _ in range(8):
        pace.look(0)
    assert pace.interval_s == first


def test_a_few_that_wait_change_nothing() -> None:
    pace = Pace(10, is_ssh=True)
    pace.look(20)
    slower = pace.interval_s
    pace.look(2)
    assert pace.interval_s == slower > 0.2
