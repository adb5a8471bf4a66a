"""Which drafts of a window are accepted, and the token after them: one block judges and draws.

Chunks in which the target has nothing are passed over: neither a residual nor what the block rule
sums up can be above 0 there. The definition is the engine's own `token_rule` and `block_rule`,
which the caller compares this with.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx

from kernels import dialect
from kernels.dispatch import Backend
from kernels.drawing import DRAW, DRAWING, MOST_INSIDE, WARPS

__all__ = ["BODY", "HEADER", "MOST_DEPTH", "Judged", "judged"]

MOST_DEPTH = 8
"""Drafts of a window, at most."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Outcome of a window."""

    outcome: mx.array
    """uint32 [2]: how many drafts were accepted, and the token after them."""
    numbers: mx.array
    """float32 [2 depth + 1]: of the block rule, p_0 ... p_depth and h_1 ... h_depth."""


HEADER = (
    DRAWING
    + """
// What is left of a target's probability beyond the draft's; rounded once, wherever it is asked.
FUNCTION float excess(float target, float draft, float reach) {
  const float left = fused(reach, target, -draft);
  return left > 0.0f ? left : 0.0f;
}
"""
)
BODY = (
    """
constexpr int threads = 32 * Warps;
const int thread = warp * 32 + lane;
// target: [depth + 1, vocabulary]; chunk_sums: [depth + 1, chunks]; draft: [depth, vocabulary];
// drafted: [depth]; noise: what each draft is judged with, then what draws after i drafts
const int depth = noise_shape[0] / 2;
const int vocabulary = target_shape[1];
const int size = (vocabulary + 262143) / 262144 * 256;
const int chunks = (vocabulary + size - 1) / size;

SHARED float sums[32 * 32];
SHARED float groups[32];
int row = 0;
float reached = 1.0f;
bool is_whole = false;
const bool is_aligned = vocabulary % 4 == 0 && is_at<16>(target) && is_at<16>(draft);
#define WEIGHT(token) \\
  excess(target[static_cast<long>(row) * vocabulary + (token)], \\
         is_whole ? 0.0f : draft[static_cast<long>(row) * vocabulary + (token)], reached)
#define WEIGH \\
  group_barrier(); \\
  for (int i = thread; i < 32 * 32; i += threads) sums[i] = 0.0f; \\
  group_barrier(); \\
  for (int chunk = warp; chunk < chunks; chunk += Warps) { \\
    if (!(chunk_sums[row * chunks + chunk] > 0.0f)) continue; \\
    float sum = 0.0f; \\
    for (int first = chunk * size + 8 * lane; first < (chunk + 1) * size; first += 256) { \\
      const long at = static_cast<long>(row) * vocabulary + first; \\
      const Eight<float> targets = eight_of(target + at, vocabulary - first, is_aligned, 0.0f); \\
      const Eight<float> drafts = \\
          eight_of(draft + at, is_whole ? 0 : vocabulary - first, is_aligned, 0.0f); \\
      UNROLL for (int j = 0; j < 8; ++j) sum += excess(targets.at[j], drafts.at[j], reached); \\
    } \\
    sum = lane_sum(sum); \\
    if (lane == 0) sums[chunk] = sum; \\
  } \\
  meet(sums, groups, thread);

// The token rule takes the drafts before the first that fails, the block rule the longest run that
// passes.
int accepted = 0;
float reach[Most + 1], stop[Most + 1];
reach[0] = 1.0f;
for (int i = 0; i < depth; ++i) {
  const long at = static_cast<long>(i) * vocabulary + static_cast<int>(drafted[i]);
  const float target_at = target[at], draft_at = draft[at];
  if (!Block) {
    if (accepted == i && noise[i] * draft_at < target_at) accepted = i + 1;
    continue;
  }
  const float chance = reach[i] * target_at / draft_at;
  reach[i + 1] = chance < 1.0f ? chance : 1.0f;
}
if (Block) {
  for (int i = 1; i <= depth; ++i) {
    stop[i] = reach[i];
    if (i < depth) {
      row = i;
      reached = reach[i];
      WEIGH
      const float left = total_of(groups, 32);
      const float whole = left + 1.0f - reach[i];
      stop[i] = whole > 0.0f ? left / whole : 1.0f;
    }
    if (noise[i - 1] < stop[i]) accepted = i;
  }
  reached = reach[accepted];
  for (int i = thread; i <= 2 * depth; i += threads)
    numbers[i] = i <= depth ? reach[i] : stop[i - depth];
}

row = accepted;
is_whole = accepted == depth;
if (is_whole) reached = 1.0f;
WEIGH
if (!is_whole && !(total_of(groups, 32) > 0.0f)) {
  is_whole = true;
  reached = 1.0f;
  WEIGH
}
#define GOAL noise[depth + accepted] * total_of(groups, 32)
"""
    + DRAW
    + """
if (thread == 0) {
  outcome[0] = static_cast<unsigned int>(accepted);
  outcome[1] = static_cast<unsigned int>(drawn);
}
"""
)


def constants(warps: int, *, is_block: bool) -> dict[str, int]:
    """Return the constants of the body's template."""
    return {"Warps": warps, "Block": int(is_block), "Most": MOST_DEPTH, "Inside": MOST_INSIDE}


@functools.cache
def _kernel(where: Backend) -> dialect.Kernel:
    source = dialect.Source(
        "verdict",
        ("target", "chunk_sums", "draft", "drafted", "noise"),
        ("outcome", "numbers"),
        BODY,
        HEADER,
        is_of_blocks=True,
    )
    return dialect.build(where, source)


@functools.cache
def _kept(where: Backend, *, is_block: bool) -> Callable[..., list[mx.array]]:
    """Return the kernel's call as a graph: MLX else writes the source anew for each call."""

    def call(*inputs: mx.array) -> list[mx.array]:
        return dialect.run_blocks(
            _kernel(where),
            list(inputs),
            [*constants(WARPS, is_block=is_block).items()],
            (1, WARPS, 1),
            [((2,), mx.uint32), (inputs[-1].shape, mx.float32)],
        )

    return mx.compile(call)


def judged(
    where: Backend,
    target: tuple[mx.array, mx.array],
    draft: tuple[mx.array, mx.array] | None,
    noise: mx.array,
    *,
    is_block: bool,
) -> Judged:
    """Judge a window by the kernel.

    Args:
        where: METAL or CUDA.
        target: float32 [depth + 1, vocabulary], and the sums of its chunks.
        draft: float32 [depth, vocabulary] and uint32 [depth], the tokens drawn from it; None at
            depth 0.
        noise: float32 [2 depth + 1] in [0, 1): one number a draft that it is judged with, one a
            row that the token after so many drafts is drawn with.
        is_block: the block rule in place of the token rule; depth 1 or more.
    """
    probs, sums = target
    draft_probs, drafted = draft or (probs, noise)
    return Judged(*_kept(where, is_block=is_block)(probs, sums, draft_probs, drafted, noise))
