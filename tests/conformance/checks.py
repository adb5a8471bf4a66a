"""What the suite has checked, and how small a bias each check was sure to see."""

from __future__ import annotations

import zlib
from collections.abc import Callable

from tests.conformance.toys import CHECKS, Fit

checked: dict[str, Fit] = {}
killed: dict[str, str] = {}
"""Fault to the test that saw it."""


def check(name: str, made: Callable[[int], Fit]) -> None:
    """Hold a sample against its law; `made` draws it with a seed, which the name gives.

    A failed check is repeated once with another seed, whose p-value is told but decides nothing.
    """
    seed = zlib.crc32(name.encode())
    result = made(seed)
    again = "" if result.is_lawful else f"; once more with another seed: {made(seed + 1)}"
    assert result.is_lawful, f"{name}: {result}{again}"
    checked[name] = result
    assert len(checked) <= CHECKS, "raise CHECKS, which the family-wise error is shared among"
