"""What MLX and its memory are told before it is imported; what a person set stays.

On CUDA MLX keeps the graphs it hands to the driver by their form alone, 400 of them, and once 800 were looked
for in vain it raises an error, in the middle of an answer. An engine that lives for days meets more forms
than that: each number of rows, each way the caches' lengths split a pass, each model. More are kept, and
one that is not there is made anew.

On a CPU MLX takes memory for each result and gives it back. What goes back to the system comes anew page by page,
which takes longer than what is computed in it: so glibc keeps what a chunk of a long prompt needs.
"""

from __future__ import annotations

import ctypes
import os
import sys

__all__ = ["tell_mlx"]

_SETTINGS = {"MLX_CUDA_GRAPH_CACHE_SIZE": "2000", "MLX_ENABLE_CACHE_THRASHING_CHECK": "0"}
_KEPT_BYTES = {"MALLOC_MMAP_THRESHOLD_": (-3, 32 << 20), "MALLOC_TRIM_THRESHOLD_": (-1, 256 << 20)}
"""By the variable that a person can set: glibc's number for it (`malloc.h`), and its value; 32 MB is the most it takes."""


def tell_mlx() -> None:
    """Set what MLX reads when a GPU is first used; to be called before it is imported."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    if sys.platform == "linux":
        _keep_memory()


def _keep_memory() -> None:
    """Have glibc keep memory between results; another C library has no such settings, and goes on as it does."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    for name, (parameter, size) in _KEPT_BYTES.items():
        if mallopt is not None and name not in os.environ:
            mallopt(parameter, size)
