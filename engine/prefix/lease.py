"""One request's part in the prefixes that are kept: what it took over, and where it leaves more."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from engine.prefix.cache import PrefixCache, Reuse
from engine.prefix.held import can_go_back_anywhere
from engine.speculation.stream import Stream

__all__ = ["STRIDE", "Lease"]

STRIDE = 2048
"""Tokens between two places in a long prompt."""
_LEAST = 64
"""Tokens that a place of its own saves, or it is not worth the pass that ends there."""


class Lease:
    """See the module.

    Args:
        cache: of the model.
        stream: of the request; it has read nothing yet.
        text: the prompt.
    """

    def __init__(self, cache: PrefixCache, stream: Stream, text: tuple[int, ...]) -> None:
        self._cache = cache
        self._stream = stream
        self.reuse: Reuse = cache.begin(stream, text)
        self._place = self.reuse.place
        self._is_open = True
        self._last = len(text) - 1

    def places(self, joints: Sequence[int]) -> list[int]:
        """Return where the reading of the prompt has to stop, ascending; its end is the last.

        Args:
            joints: places that later prompts are likely to share, ascending.
        """
        wanted = set(range(STRIDE, self._last, STRIDE))
        if not can_go_back_anywhere(self._stream):
            wanted.update(joint for joint in joints if joint < self._last)
        kept = [self.reuse.reused]
        for place in sorted(wanted):
            if place - kept[-1] >= _LEAST:
                kept.append(place)
        return [*itertools.islice(kept, 1, None), self._last]

    def keep(self, text: tuple[int, ...]) -> None:
        """Leave the request's state for later ones, at the place it has come to.

        Args:
            text: all its tokens so far.
        """
        self._place = self._cache.keep(
            self._stream, text, self._place, is_continued=self.reuse.is_continued
        )

    def close(self, text: tuple[int, ...] = ()) -> None:
        """End the part: with a last state where the text is given, without where it is not."""
        if not self._is_open:
            return
        self._is_open = False
        if text:
            self.keep(text)
        self._cache.release(self._place)
