"""A contract declared beside the weights: what a checkpoint says of its own head.

`mtp_contract.json` may name how the head is fed where that differs from its family, and how its
norm gains are stored. What is declared is not guessed at.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from engine.errors import HeadError
from engine.verdict.families import Concat, Family, Side

__all__ = ["CONTRACT_FILE", "CONTRACT_KEYS", "Contract", "NormEncoding", "read_contract"]

NormEncoding = Literal["plain", "one_plus"]
"""How gains are stored: as they multiply, or as an offset from one."""

CONTRACT_FILE = "mtp_contract.json"
_CHOICES: dict[str, tuple[str, ...]] = {
    "concat": ("embedding,hidden", "hidden,embedding"),
    "hidden": ("pre", "post"),
    "recycle": ("pre", "post"),
    "norm_encoding": ("plain", "one_plus"),
}
CONTRACT_KEYS = tuple(_CHOICES)
_REMEDY = f"correct it in {CONTRACT_FILE}"


@dataclass(frozen=True, slots=True)
class Contract:
    """What is declared; None where the family's own holds."""

    concat: Concat | None = None
    hidden: Side | None = None
    recycle: Side | None = None
    norm_encoding: NormEncoding | None = None

    def applied_to(self, family: Family) -> Family:
        """Return the family with what is declared in place of its own."""
        return dataclasses.replace(
            family,
            concat=self.concat or family.concat,
            hidden=self.hidden or family.hidden,
            recycle=self.recycle or family.recycle,
        )

    def told(self) -> dict[str, str]:
        """Return what is declared, by its keys."""
        values = {key: getattr(self, key) for key in CONTRACT_KEYS}
        return {key: value for key, value in values.items() if value is not None}

    def over(self, other: Contract) -> Contract:
        """Return this contract, and of another what this one leaves open."""
        return read_contract(other.told() | self.told())


def read_contract(content: Mapping[str, object]) -> Contract:
    """Return the contract in the content of its file.

    Raises:
        HeadError: it holds a key or a value that means nothing.
    """
    for key, value in content.items():
        if key not in _CHOICES:
            raise HeadError(f"its contract has an unknown key {key!r:.40}", _REMEDY)
        if value not in _CHOICES[key]:
            raise HeadError(f"its contract says {key} {value!r:.40}", _REMEDY)
    declared: dict[str, Any] = dict(content)
    return Contract(**declared)
