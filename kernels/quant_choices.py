"""How the work of the quantised matmul can be cut, and what can be wanted of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["ANY_BLOCKS", "CHOICES", "Choice", "Product"]


class Product(Enum):
    """What is wanted of a matrix."""

    WHOLE = "whole"
    GATED = "gated"
    """The silu of its first half of columns times the second half: see `kernels.swiglu`."""
    PARTS = "in parts"
    """Whole, or in parts that whoever takes it adds up: see `kernels.parts`."""


ANY_BLOCKS = 1 << 20
"""More than there are outputs."""


@dataclass(frozen=True, slots=True)
class Choice:
    """How the work is cut."""

    warps: int
    """Of a block; they share the inputs."""
    depth: int
    """Groups of a stage: 2 or 4."""
    stages: int
    """Of a warp's ring: all but one are on their way while one is multiplied. At most: see `_cut`."""
    tall: int
    """Sixteens of outputs that a warp multiplies by the same activations."""
    together: int = 0
    """Blocks that a processor is to hold at once, which bounds a warp's registers; 0 for no such bound."""
    parts: int = 1
    """Blocks that share the inputs of the same outputs; each gives its part of the sums."""
    blocks: int = ANY_BLOCKS
    """At most; they share the outputs."""

    def gives(self, product: Product) -> bool:
        """Return whether what it gives is that."""
        if product is Product.GATED:
            return self.parts == 1 and self.tall % 2 == 0
        return self.parts == 1 or product is Product.PARTS


CHOICES = (
    Choice(8, 2, 2, 2),
    Choice(4, 4, 2, 2, 4),
    Choice(4, 2, 3, 2, 4),
    Choice(4, 2, 2, 4, 3),
    Choice(4, 4, 2, 1, 4),
    Choice(4, 2, 2, 2, 5),
    Choice(4, 2, 3, 2, 3, blocks=396),
    Choice(4, 2, 2, 2, 5, parts=4),
)
"""Those that were the fastest for some shape; the first is taken where nothing was measured. As many blocks
as an H200 holds at once share the outputs evenly, where more of them would come in two turns, the second
half empty."""
