"""What a window was judged by, read off beside the verdict: only for who asks.

Takes the arrays the verdict was made of and adds the likeliest tokens of each distribution; the
host waits for them where it waits for the verdict. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx

from engine.model.arrays import integers, reals
from engine.protocol import Candidate, DraftDetail, WindowDetail
from engine.speculation.acceptance import Verdict
from engine.speculation.draft import Draft
from engine.speculation.noise import CycleNoise
from engine.speculation.sampling import likeliest

__all__ = ["WindowNumbers", "WindowXray", "detail_of"]

CANDIDATES = 5
"""Likeliest tokens told of each distribution."""


@dataclass(frozen=True, slots=True)
class WindowNumbers:
    """What a window was judged by, in plain numbers."""

    target_probs: tuple[float, ...]
    """Of each draft."""
    draft_probs: tuple[float, ...]
    uniforms: tuple[float, ...]
    """That judged each draft; empty where none did."""
    reach: tuple[float, ...]
    """The block rule's p_1 ...; empty under other rules."""
    chances: tuple[float, ...]
    """The block rule's h_1 ...; empty under other rules."""
    next_prob: float
    next_uniform: float | None
    tops: tuple[tuple[tuple[int, float], ...], ...]
    """Likeliest tokens and probabilities: of each target row, of each draft row, and of what the
    last token was drawn from."""


class WindowXray:
    """The arrays of one window, not waited for yet.

    Args:
        target_probs: float32 [depth + 1, vocabulary].
        drafted: of the window.
        verdict: of the window.
        noise: of the cycle.
        is_seeded: whether the target's own draws were the judge, and no uniform number.
    """

    def __init__(
        self,
        target_probs: mx.array,
        drafted: Draft,
        verdict: Verdict,
        noise: CycleNoise,
        *,
        is_seeded: bool,
    ) -> None:
        if verdict.next_probs is None:
            raise ValueError("a verdict that nobody asked for its distribution")
        depth = drafted.tokens.shape[0]
        self._depth, self._noise, self._is_seeded = depth, noise, is_seeded
        rows = [target_probs[:depth], verdict.next_probs[None]]
        if drafted.probs is not None:
            rows.insert(1, drafted.probs)
        probs = mx.concatenate(rows)
        drafts = mx.concatenate([drafted.tokens] * (1 if drafted.probs is None else 2))
        tokens = mx.concatenate([drafts, verdict.token.reshape(1).astype(mx.uint32)])
        ids = likeliest(probs, CANDIDATES)
        self._count = ids.shape[-1]
        own = mx.take_along_axis(probs, tokens[:, None], axis=-1)
        top = mx.take_along_axis(probs, ids, axis=-1)
        parts = [own.reshape(-1), top.reshape(-1)]
        if verdict.chances is not None:
            parts += [verdict.chances.reach[1:], verdict.chances.stop]
        self.arrays = (mx.concatenate(parts), ids.reshape(-1))

    def read(self, accepted: int) -> WindowNumbers:
        """Return the numbers, once the arrays are there.

        Args:
            accepted: drafts of the window that were.
        """
        values, ids = reals(self.arrays[0]), integers(self.arrays[1])
        depth, rows = self._depth, len(ids) // self._count
        own, values = values[:rows], values[rows:]
        pairs = list(zip(ids, values, strict=False))
        chances = values[len(ids) :]
        following = reals(self._noise.following())
        return WindowNumbers(
            target_probs=own[:depth],
            draft_probs=own[depth:-1],
            uniforms=() if self._is_seeded or not depth else reals(self._noise.accept()),
            reach=chances[:depth],
            chances=chances[depth:],
            next_prob=own[-1],
            next_uniform=None if self._is_seeded else following[accepted],
            tops=tuple(
                tuple(pair for pair in pairs[at : at + self._count] if pair[1] > 0)
                for at in range(0, len(ids), self._count)
            ),
        )


def detail_of(numbers: WindowNumbers, piece: Callable[[int], str]) -> WindowDetail:
    """Return a window's numbers as the event carries them.

    Args:
        numbers: of the window.
        piece: what a token alone reads as.
    """
    tops = [
        tuple(Candidate(token, piece(token), prob) for token, prob in row) for row in numbers.tops
    ]
    depth = len(numbers.target_probs)
    drafts = tuple(
        DraftDetail(
            target_prob=numbers.target_probs[at],
            draft_prob=numbers.draft_probs[at],
            uniform=numbers.uniforms[at] if numbers.uniforms else None,
            reach=numbers.reach[at] if numbers.reach else None,
            chance=numbers.chances[at] if numbers.chances else None,
            target_top=tops[at],
            draft_top=tops[depth + at],
        )
        for at in range(depth)
    )
    return WindowDetail(drafts, numbers.next_prob, numbers.next_uniform, tops[-1])
