"""Faults put on purpose: each has a test, or a check of a certificate, that has to see it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import pytest

from engine.model.arrays import reals
from engine.model.cache import Cache
from engine.speculation import acceptance
from engine.speculation.noise import CycleNoise

NAMED = {
    "lenient": "token rule",
    "stop chances": "block rule",
    "rollback": "greedy state",
    "noise": "noise",
}
"""Fault of an engine to the check of its certificate that has to be broken."""


@dataclass(frozen=True)
class Fault:
    """A fault, and the test that has to see it."""

    name: str
    test: Callable[..., object]
    arguments: dict[str, Any]
    put: Callable[[pytest.MonkeyPatch], object] = lambda _: None
    """Nothing is put anywhere where the arguments themselves are faulty."""


def seen(fault: Fault, *by: type[BaseException], **fixtures: Any) -> None:
    """Put a fault into this process, and have its test fail.

    Args:
        fault: what to put.
        by: errors that show it too, besides a failed assertion.
        fixtures: of the running test, `monkeypatch` among them; its test gets those it names.
    """
    wanted = inspect.signature(fault.test).parameters
    given = {name: value for name, value in fixtures.items() if name in wanted}
    fault.put(fixtures["monkeypatch"])
    with pytest.raises((AssertionError, pytest.fail.Exception, *by)):
        fault.test(**{**fault.arguments, **given})


Setter = Callable[[Any, str, Any], object]


def put(fault: str, setter: Setter = setattr) -> None:
    """Put a fault into this process."""
    match fault:
        case "lenient":
            setter(acceptance, "_passes", lambda u, target, draft: u * draft < 2 * target)
        case "stop chances":
            setter(acceptance, "_stop_chances", _reach_alone)
        case "rollback":
            commit = Cache.commit
            setter(Cache, "commit", lambda self, kept: commit(self, self.open))
        case "noise":
            setter(CycleNoise, "_following", _accept_noise_again)
        case _:
            raise ValueError(f"no fault {fault}")


def _reach_alone(reach: mx.array, _: mx.array) -> mx.array:
    return reach[1:]


def _accept_noise_again(self: CycleNoise) -> list[float]:
    return [*reals(self.accept()), 0.5]
