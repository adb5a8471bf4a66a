"""What MLX is told by its environment, before it is imported; what a person set there stays.

On CUDA MLX keeps the graphs it hands to the driver by their form alone, 400 of them, and once 800 were looked
for in vain it raises an error, in the middle of an answer. An engine that lives for days meets more forms
than that: each number of rows, each way the caches' lengths split a pass, each model. More are kept, and
one that is not there is made anew.
"""

from __future__ import annotations

import os

__all__ = ["tell_mlx"]

_SETTINGS = {"MLX_CUDA_GRAPH_CACHE_SIZE": "2000", "MLX_ENABLE_CACHE_THRASHING_CHECK": "0"}


def tell_mlx() -> None:
    """Set what MLX reads when a GPU is first used; to be called before it is imported."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
