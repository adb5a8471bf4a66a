"""A product that lies in parts: float32 [parts, *shape], of which the sum is meant.

Adding them up is left to the kernel that reads them: it costs nothing there, and a kernel of its own elsewhere.
"""

from __future__ import annotations

import mlx.core as mx

__all__ = ["HEADER", "parts_of", "whole"]

HEADER = """
// The number at a place of `Parts` arrays, each `apart` from the one before; rounded once where they are several.
template <typename T, int Parts, typename PartT>
FUNCTION float whole(const DEVICE PartT* at, long apart) {
  float part[Parts];
  UNROLL for (int p = 0; p < Parts; ++p) part[p] = static_cast<float>(at[p * apart]);
  float sum = part[0];
  UNROLL for (int p = 1; p < Parts; ++p) sum += part[p];
  return static_cast<float>(static_cast<T>(sum));
}
"""
"""For kernels that read one."""


def parts_of(product: mx.array, like: mx.array) -> int:
    """Return in how many parts a product lies; 1 where it is as `like`."""
    return 1 if product.ndim == like.ndim else product.shape[0]


def whole(product: mx.array, like: mx.array) -> mx.array:
    """Return a product with its parts added up, in turn and in float32, and rounded once.

    Args:
        product: in parts, or as `like`.
        like: of the wanted shape and type.
    """
    if parts_of(product, like) == 1:
        return product
    total = product[0]
    for part in range(1, product.shape[0]):
        total = total + product[part]
    return total.astype(like.dtype)
