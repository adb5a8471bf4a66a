"""Faults of an engine, each of which a certificate has to name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx

from engine.model.cache import Cache
from engine.speculation import acceptance
from engine.speculation.noise import CycleNoise

NAMED = {
    "lenient": "token rule",
    "stop chances": "block rule",
    "rollback": "greedy state",
    "noise": "noise",
}
"""Fault to the check that has to be broken."""

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
            setter(CycleNoise, "following", _accept_noise_again)
        case _:
            raise ValueError(f"no fault {fault}")


def _reach_alone(reach: mx.array, _: mx.array) -> mx.array:
    return reach[1:]


def _accept_noise_again(self: CycleNoise, depth: int) -> mx.array:
    return mx.concatenate([self.accept(depth), mx.array([0.5])])
