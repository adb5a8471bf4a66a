"""Counter-based randomness: a number is a function of its key, never of what was drawn before.

A key is (seed, cycle, position, purpose), so no two draws share a number, nothing advances by
an amount that depends on data, and a draft that is thrown away leaves no trace in later noise.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from hashlib import blake2b

import mlx.core as mx

__all__ = ["CycleNoise", "Purpose", "gumbel", "uniform"]

_packed = struct.Struct("<QQQB").pack


class Purpose(IntEnum):
    """What a number decides; part of its key."""

    DRAFT = 0
    ACCEPT = 1
    RESIDUAL = 2
    BONUS = 3
    SEEDED = 4


def uniform(seed: int, cycle: int, position: int, purpose: Purpose) -> float:
    """Return a number in [0, 1), a multiple of 2**-24 and so exact in float32.

    Args:
        seed: of the request, 0 to 2**64 - 1.
        cycle: number of the cycle within the request.
        position: absolute position of the token that is decided.
        purpose: what the number decides.
    """
    return (_bits(seed, cycle, position, purpose) >> 40) / 2**24


def gumbel(seed: int, position: int, vocabulary: int) -> mx.array:
    """Return the noise both draft and target use at a position in seeded mode.

    Returns:
        float32 [vocabulary], standard Gumbel; the same whatever the cycle and the depth.

    Source:
        Daliri, Musco, Suresh 2024, arXiv:2408.07978.
    """
    bits = _bits(seed, 0, position, Purpose.SEEDED)
    key = mx.array([bits >> 32, bits & 0xFFFFFFFF], dtype=mx.uint32)
    return mx.random.gumbel((vocabulary,), key=key)


class CycleNoise:
    """All the randomness of one cycle.

    Args:
        seed: of the request.
        cycle: its number.
        first: absolute position of the first token the cycle decides.
        depth: how many tokens it drafts.
    """

    def __init__(self, seed: int, cycle: int, first: int, depth: int) -> None:
        self._seed = seed
        self._cycle = cycle
        self._first = first
        self._depth = depth
        self._gumbel: dict[int, mx.array] = {}

    def draft(self, index: int) -> mx.array:
        """Return the number that draws draft `index` (from 0); float32 [1]."""
        return mx.array([uniform(self._seed, self._cycle, self._first + index, Purpose.DRAFT)])

    def accept(self) -> mx.array:
        """Return the numbers the drafts are judged with; float32 [depth]."""
        return mx.array(self._of_window(Purpose.ACCEPT))

    def following(self) -> mx.array:
        """Return what draws the token after i accepted drafts, the bonus last; [depth + 1]."""
        return mx.array(self._following())

    def judging(self) -> mx.array:
        """Return the numbers of `accept` and then those of `following`; float32 [2 depth + 1]."""
        return mx.array([*self._of_window(Purpose.ACCEPT), *self._following()])

    def gumbel(self, index: int, vocabulary: int) -> mx.array:
        """Return the seeded noise of the token `index` places on; float32 [1, vocabulary]."""
        if index not in self._gumbel:
            self._gumbel[index] = gumbel(self._seed, self._first + index, vocabulary)[None]
        return self._gumbel[index]

    def _following(self) -> list[float]:
        bonus = uniform(self._seed, self._cycle, self._first + self._depth, Purpose.BONUS)
        return [*self._of_window(Purpose.RESIDUAL), bonus]

    def _of_window(self, purpose: Purpose) -> list[float]:
        """Return the numbers of the drafted positions."""
        window = range(self._first, self._first + self._depth)
        return [uniform(self._seed, self._cycle, place, purpose) for place in window]


def _bits(seed: int, cycle: int, position: int, purpose: Purpose) -> int:
    """Return 64 bits that depend on every part of the key."""
    key = _packed(seed, cycle, position, purpose)
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "little")
