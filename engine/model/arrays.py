"""MLX's loosely typed reads, each under one precise type."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

__all__ = ["integers", "read_arrays", "read_with_metadata", "reals", "weights_bytes", "weights_of"]


def read_arrays(path: Path) -> dict[str, mx.array]:
    """Return the arrays of a safetensors file, not yet in memory."""
    return cast("dict[str, mx.array]", mx.load(str(path)))


def read_with_metadata(path: Path) -> tuple[dict[str, mx.array], dict[str, Any]]:
    """Return the arrays and the metadata of a GGUF file whose header was checked."""
    return cast(
        "tuple[dict[str, mx.array], dict[str, Any]]", mx.load(str(path), return_metadata=True)
    )


def integers(values: mx.array) -> tuple[int, ...]:
    """Wait for a one-dimensional integer array and return its numbers."""
    numbers: Any = values.tolist()
    return tuple(numbers)


def reals(values: mx.array) -> tuple[float, ...]:
    """Wait for a one-dimensional float array and return its numbers."""
    numbers: Any = values.tolist()
    return tuple(numbers)


def weights_of(module: nn.Module) -> list[tuple[str, mx.array]]:
    """Return a module's weights by their names; they need not be in memory."""
    return cast("list[tuple[str, mx.array]]", tree_flatten(module.parameters()))


def weights_bytes(module: nn.Module) -> int:
    """Return what a module's weights take; they need not be in memory."""
    return sum(weight.nbytes for _, weight in weights_of(module))
