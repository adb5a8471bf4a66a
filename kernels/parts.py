"""A product that lies in parts: float32 [parts, *shape], of which the sum is meant.

Adding them up is left to the kernel that reads them: it costs nothing there, and a kernel of its own elsewhere.
"""

from __future__ import annotations

import mlx.core as mx

__all__ = ["HEADER", "parts_of", "whole"]

HEADER = """
// Several numbers at consecutive places, which are read and written at once.
template <typename T, int Each> struct alignas(Each * sizeof(T)) Piece { T at[Each]; };
// The numbers at a place of `Parts` arrays, each `apart` pieces from the one before; rounded once where they are several.
template <typename T, int Parts, int Each, typename PartT>
FUNCTION Piece<float, Each> whole(const DEVICE PartT* array, long at, long apart) {
  Piece<PartT, Each> part[Parts];
  UNROLL for (int p = 0; p < Parts; ++p)
    part[p] = reinterpret_cast<const DEVICE Piece<PartT, Each>*>(array)[at + p * apart];
  Piece<float, Each> sum;
  UNROLL for (int k = 0; k < Each; ++k) {
    sum.at[k] = static_cast<float>(part[0].at[k]);
    UNROLL for (int p = 1; p < Parts; ++p) sum.at[k] += static_cast<float>(part[p].at[k]);
    sum.at[k] = static_cast<float>(static_cast<T>(sum.at[k]));
  }
  return sum;
}
template <typename T, int Each> FUNCTION Piece<T, Each> rounded(Piece<float, Each> x) {
  Piece<T, Each> y;
  UNROLL for (int k = 0; k < Each; ++k) y.at[k] = static_cast<T>(x.at[k]);
  return y;
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
