"""Which kind of kernel runs here: Metal's, CUDA's, or plain MLX, and why.

Asks the device, never the build: MLX for a CPU offers the functions of both, and they raise.
"""

from __future__ import annotations

from enum import Enum

import mlx.core as mx

__all__ = ["Backend", "backend"]


class Backend(Enum):
    """What runs a kernel body."""

    METAL = "metal"
    CUDA = "cuda"
    PLAIN = "plain"
    """No kernel: the plain-MLX definition."""


def backend() -> Backend:
    """Return what MLX's present default device runs."""
    if mx.default_device() != mx.gpu:
        return Backend.PLAIN
    if mx.metal.is_available():
        return Backend.METAL
    return Backend.CUDA if mx.cuda.is_available() else Backend.PLAIN
