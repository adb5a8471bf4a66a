"""The KV cache of a sliding-window layer, which can undo positions even after it wrapped.

mlx-lm's rotating cache overwrites its oldest row with the newest, so a rejected draft can't be
taken back. This one keeps rows in the order of time and drops old ones in bulk, well behind
the window.
"""

from __future__ import annotations

import mlx.core as mx
from mlx_lm.models.base import create_causal_mask

__all__ = ["SlidingCache"]

_STEP = 256
"""Positions by which the arrays grow."""
_MARGIN = 32
"""Rows kept beyond the window, so that as many positions can be undone."""


class SlidingCache:
    """Keys and values of the last positions.

    Args:
        max_size: positions a query sees, itself included.
    """

    def __init__(self, max_size: int) -> None:
        self.max_size = max_size
        self.keys: mx.array | None = None
        """[B, heads, capacity, head]."""
        self.values: mx.array | None = None
        self.offset = 0
        """Positions written so far."""
        self._end = 0
        """Rows in use; they are the positions up to `offset`."""

    @property
    def state(self) -> tuple[mx.array, ...]:
        """Arrays that hold the cache."""
        return () if self.keys is None or self.values is None else (self.keys, self.values)

    @property
    def nbytes(self) -> int:
        """Bytes of those arrays."""
        return sum(array.nbytes for array in self.state)

    def empty(self) -> bool:
        """Return whether nothing was written."""
        return self.keys is None

    def size(self) -> int:
        """Return how many positions a query behind the last one would see before it."""
        return min(self.offset, self.max_size)

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Write n positions; return what they see, [B, heads, seen, head], oldest first."""
        rows = keys.shape[2]
        seen = min(self.offset, self.max_size - 1) + rows
        begin, end = self._end, self._end + rows
        if self.keys is None or self.values is None or end > self.keys.shape[2]:
            self.keys, self.values = self._moved(self.keys, keys), self._moved(self.values, values)
            begin = min(begin, self._kept)
            end = begin + rows
        self.keys[..., begin:end, :] = keys
        self.values[..., begin:end, :] = values
        self.offset += rows
        self._end = end
        return self.keys[..., end - seen : end, :], self.values[..., end - seen : end, :]

    def keys_and_values(self) -> tuple[mx.array, mx.array]:
        """Return the rows that the newest position sees.

        Raises:
            ValueError: nothing was written.
        """
        if self.keys is None or self.values is None:
            raise ValueError("the cache is empty")
        rows = slice(self._end - self.size(), self._end)
        return self.keys[..., rows, :], self.values[..., rows, :]

    def kept_rows(self) -> tuple[mx.array, ...]:
        """Return keys and values of the positions kept, oldest first; nothing before the first."""
        if self.keys is None or self.values is None:
            return ()
        rows = slice(self._end - min(self._end, self._kept), self._end)
        return self.keys[..., rows, :], self.values[..., rows, :]

    def restore(self, rows: tuple[mx.array | None, ...], offset: int) -> None:
        """Hold what `kept_rows` gave at an offset."""
        if not rows or rows[0] is None or rows[1] is None:
            return
        self._end = rows[0].shape[2]
        self.offset = offset
        self.keys, self.values = self._moved(rows[0], rows[0]), self._moved(rows[1], rows[1])

    def is_trimmable(self) -> bool:
        """Return True: positions can be undone, though not without bound."""
        return True

    def trim(self, n: int) -> int:
        """Undo the last n positions.

        Raises:
            ValueError: rows that the positions before them need are gone.
        """
        left = self.offset - n
        if left < 0 or min(left, self.max_size - 1) > self._end - n:
            raise ValueError(f"can't undo {n} positions: rows before them were dropped")
        self.offset = left
        self._end -= n
        return n

    def make_mask(
        self,
        N: int,
        window_size: int | None = None,
        return_array: bool = False,  # noqa: FBT001, FBT002 - the signature is mlx-lm's
    ) -> mx.array | str | None:
        """Return the mask for N positions to come, as mlx-lm's caches do."""
        window = window_size or self.max_size
        before = min(self.offset, self.max_size - 1)
        if N == 1:
            if before < window:
                return None
            return mx.arange(before + 1) > before - window
        if before + N > window or return_array:
            return create_causal_mask(N, before, window_size=window)
        return "causal"

    @property
    def _kept(self) -> int:
        return self.max_size - 1 + _MARGIN

    def _moved(self, old: mx.array | None, new: mx.array) -> mx.array:
        """Return a larger array that begins with the rows still needed."""
        room = mx.zeros((*new.shape[:2], new.shape[2] + _STEP, new.shape[3]), new.dtype)
        if old is None:
            return room
        kept = min(self._end, self._kept)
        return mx.concatenate([old[..., self._end - kept : self._end, :], room], axis=2)
