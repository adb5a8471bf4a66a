"""What a load measures of depths: some rounds, and no more of them than a busy machine has time for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from engine.protocol import MAX_DEPTH
from engine.speculation import warm_up
from tests.fakes import tiny

DEPTHS = MAX_DEPTH + 1


@pytest.mark.parametrize(("cycle_s", "rounds"), [(0.01, 4), (0.2, 3), (1.0, 2)])
def test_a_slow_machine_is_measured_in_fewer_rounds(
    cycle_s: float, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    depths: list[int] = []

    def cycle(_: Any, __: Any, depth: int, *___: Any) -> SimpleNamespace:
        depths.append(depth)
        now[0] += cycle_s
        # The first round is the slowest, as where something is compiled.
        return SimpleNamespace(total_s=(1 + depth) * (9 if len(depths) <= DEPTHS else 1))

    monkeypatch.setattr(warm_up.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(warm_up, "run_cycle", cycle)
    told: list[tuple[int, int]] = []
    trunk, head = tiny.trunk_and_head(16)
    ratios = warm_up.measured_ratios(trunk, head, lambda *stage: told.append(stage))
    assert depths == list(range(DEPTHS)) * rounds
    assert ratios == tuple(range(1, DEPTHS + 1))
    assert told == [(at, 4 * DEPTHS) for at in range(rounds * DEPTHS)]
