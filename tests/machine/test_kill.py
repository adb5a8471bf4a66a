"""Rows 1 and 2 of the guard's test plan: whoever is killed, and when, the fans go back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.machine.trial import CLIENT_STEPS, NEVER

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
REPEATS = 20
GUARD_STEPS = 30
"""Counted, see the first test; one more kills nobody."""


def trial(*words: object) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "tests.machine.trial", *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_guards_life_has_as_many_steps_as_are_tried(tmp_path: Path) -> None:
    assert trial("count", tmp_path) == GUARD_STEPS


@pytest.mark.parametrize("step", [*range(CLIENT_STEPS), NEVER])
def test_row_1_fans_go_back_when_the_client_is_killed_at_any_step(
    step: int, tmp_path: Path
) -> None:
    told = trial("client", step, REPEATS, tmp_path)
    assert told["trials"] == REPEATS
    assert told["wrong"] == []
    assert max(told["times_s"]) < 2.0


@pytest.mark.parametrize("step", range(GUARD_STEPS + 1))
def test_row_2_fans_go_back_when_the_guard_is_killed_at_any_step(step: int, tmp_path: Path) -> None:
    told = trial("guard", step, REPEATS, tmp_path)
    assert told["trials"] == REPEATS
    assert told["wrong"] == []
    assert max(told["times_s"]) < 2.0


@pytest.mark.parametrize("step", range(GUARD_STEPS + 1))
def test_row_2_fans_go_back_at_the_next_start_when_both_are_killed(
    step: int, tmp_path: Path
) -> None:
    told = trial("both", step, REPEATS, tmp_path)
    assert told["trials"] == REPEATS
    assert told["wrong"] == []
