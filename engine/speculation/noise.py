"""Counter-based randomness: a number is a function of its key, never of what was drawn before.

A key is (seed, cycle, position, purpose), so no two draws share a number, nothing advances by
an amount that depends on data, and a draft that is thrown away leaves no trace in later noise.
"""

from __future__ import annotations

import hashlib
import struct
from enum import IntEnum

import mlx.core as mx

__all__ = ["Purpose", "gumbel", "uniform"]


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


def _bits(seed: int, cycle: int, position: int, purpose: Purpose) -> int:
    """Return 64 bits that depend on every part of the key."""
    key = struct.pack("<QQQB", seed, cycle, position, purpose)
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little")
