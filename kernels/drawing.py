"""A draw from a row by one block: a group of chunks, then a chunk of it, then a token.

Each is looked for by a sum in one order. Kernels that weigh tokens leave the sums of the chunks in
shared memory and share what follows.
"""

from __future__ import annotations

import mlx.core as mx

__all__ = [
    "DRAW",
    "DRAWING",
    "GROUPS",
    "MOST_INSIDE",
    "WARPS",
    "chunk_size",
    "chunk_sums",
    "is_supported",
]

GROUPS = 32
"""A draw looks for a group of chunks first, then for one of its 32 chunks, then for a token."""
_CHUNK = 256
"""Tokens of a chunk, or a multiple: 32 lanes read eight each at once."""
_LEAST = 8
"""Tokens; MLX hands smaller arrays to Metal in another memory."""
MOST_INSIDE = 1024
"""Tokens of a chunk, at most."""
WARPS = 8
"""Of a block: so few threads that each may have all the registers there are. Changes no bit."""


def chunk_size(vocabulary: int) -> int:
    """Return how many neighbouring tokens make a chunk: a row has at most 1024 chunks."""
    return _CHUNK * -(-vocabulary // (_CHUNK * 32 * GROUPS))


def chunk_sums(probs: mx.array) -> mx.array:
    """Return the sums of a row's chunks in plain MLX; [rows, vocabulary] to [rows, chunks]."""
    size = chunk_size(probs.shape[-1])
    spare = -probs.shape[-1] % size
    padded = mx.pad(probs, [(0, 0), (0, spare)]) if spare else probs
    return mx.sum(padded.reshape(len(probs), -1, size), axis=-1)


def is_supported(vocabulary: int) -> bool:
    """Return whether rows of that many tokens can be drawn from by a kernel."""
    return _LEAST <= vocabulary <= MOST_INSIDE * 32 * GROUPS


DRAWING = """
template <typename T> struct alignas(16) Eight { T at[8]; };
// Eight neighbours, at once where they lie so; `none` behind the end.
template <typename T>
FUNCTION Eight<T> eight_of(const DEVICE T* from, int left, bool is_aligned, float none) {
  if (is_aligned && left >= 8) return *reinterpret_cast<const DEVICE Eight<T>*>(from);
  Eight<T> found;
  UNROLL for (int j = 0; j < 8; ++j) found.at[j] = j < left ? from[j] : static_cast<T>(none);
  return found;
}
struct Found { int at; float rest; };
FUNCTION float total_of(const NEARBY float* parts, int count) {
  float sum = 0.0f;
  for (int i = 0; i < count; ++i) sum += parts[i];
  return sum;
}
// The first part at which the sum goes past a goal, and how much of the goal was left before it;
// the last part that is not 0 where rounding left none. Never a part that is 0.
FUNCTION Found first_past(const NEARBY float* parts, int count, float goal) {
  float before = 0.0f;
  Found last = {0, 0.0f};
  for (int i = 0; i < count; ++i) {
    if (parts[i] > 0.0f) {
      last = {i, goal - before};
      if (before + parts[i] > goal) break;
    }
    before += parts[i];
  }
  return last;
}
// Meets the sums of chunks, [32 groups, 32], and leaves those of the groups.
FUNCTION void meet(const NEARBY float* sums, NEARBY float* groups, int thread) {
  device_barrier();
  if (thread < 32) groups[thread] = total_of(sums + 32 * thread, 32);
  group_barrier();
}
"""
DRAW = """
const Found group = first_past(groups, 32, GOAL);
const Found chunk = first_past(sums + 32 * group.at, 32, group.rest);
const int begin = (32 * group.at + chunk.at) * size;
SHARED float inside[Inside];
for (int i = thread; i < size; i += threads)
  inside[i] = begin + i < vocabulary ? WEIGHT(begin + i) : 0.0f;
group_barrier();
int drawn = 0;
if (thread == 0) drawn = begin + first_past(inside, size, chunk.rest).at;
"""
"""Expects sums, groups, GOAL and WEIGHT; `drawn` is the first thread's alone."""
