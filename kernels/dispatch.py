"""Which kind of kernel runs here: Metal's, CUDA's, or plain MLX, and why.

Asks the device, never the build: MLX for a CPU offers the functions of both, and they raise.
MTPLX_TUI_KERNELS switches kernels off: "off" all of them, else those that it names, with commas
between. A name with a plus sign before it switches on what is not on by itself: compiled steps.
"""

from __future__ import annotations

import os
from enum import Enum

import mlx.core as mx

__all__ = ["Backend", "backend", "backend_for"]


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


_ON_DEMAND = frozenset({"compiled_steps"})
"""What is off unless asked for: on CUDA, MLX compiles its fused operations for minutes."""


def backend_for(kernel: str) -> Backend:
    """Return what runs a kernel of that name: PLAIN where it is switched off."""
    names = {name.strip() for name in os.environ.get("MTPLX_TUI_KERNELS", "").lower().split(",")}
    is_off = names & {"off", kernel} or (kernel in _ON_DEMAND and f"+{kernel}" not in names)
    return Backend.PLAIN if is_off else backend()
