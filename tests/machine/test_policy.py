"""When fans are wanted."""

from __future__ import annotations

import pytest

from mtplx_tui.machine.policy import Facts, Policy, wants_fans


def test_automatic_never_wants_them() -> None:
    assert not wants_fans(Policy.AUTOMATIC, Facts(0, token_s=1, held_s=1, celsius=99), 1)


@pytest.mark.parametrize(
    ("idle_s", "held_for_s", "celsius", "wants"),
    [
        (0, None, 90, True),
        (3, None, 90, True),
        (3.1, None, 90, False),
        (3.1, 19, 40, True),
        (4, 21, 40, False),
        (4, 21, 74.9, False),
        (4, 21, 75, True),
        (179, 300, 80, True),
        (181, 300, 80, False),
        (4, 21, None, True),
        (181, 300, None, False),
    ],
)
def test_boost_goes_with_tokens_and_on_until_cool(
    idle_s: float, held_for_s: float | None, celsius: float | None, *, wants: bool
) -> None:
    now = 1000.0
    held_s = None if held_for_s is None else now - held_for_s
    facts = Facts(0, now - idle_s, held_s, celsius)
    assert wants_fans(Policy.BOOST, facts, now) is wants


def test_boost_waits_for_a_first_token() -> None:
    assert not wants_fans(Policy.BOOST, Facts(0), 0)


def test_maximum_is_at_once_and_ends_ten_minutes_after_the_last_token() -> None:
    assert wants_fans(Policy.MAXIMUM, Facts(0), 600)
    assert not wants_fans(Policy.MAXIMUM, Facts(0), 601)
    assert wants_fans(Policy.MAXIMUM, Facts(0, token_s=500), 1100)
    assert not wants_fans(Policy.MAXIMUM, Facts(0, token_s=500), 1101)
