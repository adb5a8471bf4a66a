"""MLX's loosely typed reads, each under one precise type."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import mlx.core as mx

__all__ = ["integers", "read_arrays", "read_with_metadata", "reals"]


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
