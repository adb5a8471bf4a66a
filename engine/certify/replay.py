"""Known text through the trunk in chosen windows, to see what windows alone do to logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from engine.model.trunk import Trunk
from engine.protocol import MAX_DEPTH

__all__ = ["Window", "regrouped", "replayed_rows", "single_rows", "wide_rows"]


@dataclass(frozen=True, slots=True)
class Window:
    """One pass of the trunk."""

    tokens: tuple[int, ...]
    """The last token and the drafts."""
    kept: int
    """How many of its positions became part of the text."""


def single_rows(tokens: Sequence[int]) -> list[Window]:
    """Return the windows of plain decoding."""
    return [Window((token,), 1) for token in tokens]


def wide_rows(tokens: Sequence[int]) -> list[Window]:
    """Return the widest windows there are over a text that is known already."""
    widest = MAX_DEPTH + 1
    chunks = [tuple(tokens[at : at + widest]) for at in range(0, len(tokens), widest)]
    return [Window(chunk, len(chunk)) for chunk in chunks]


def regrouped(windows: Sequence[Window], text: Sequence[int]) -> list[Window]:
    """Return windows of the same widths over a text, all of it kept: what widths alone do.

    Nothing is rolled back in them, so that a fault of rolling back can't pass for what widths do.
    As many as the text fills; the last holds what is left of it.
    """
    begin, found = 0, []
    for window in windows:
        tokens = tuple(text[begin : begin + len(window.tokens)])
        if tokens:
            found.append(Window(tokens, len(tokens)))
        begin += len(tokens)
    return found


def replayed_rows(
    trunk: Trunk, prompt: Sequence[int], windows: Sequence[Window]
) -> NDArray[np.float32]:
    """Return the logits of every kept position.

    Args:
        trunk: the model.
        prompt: all of it but its last token, which begins the first window.
        windows: in order.

    Returns:
        float32 [sum of kept, vocabulary].
    """
    cache = trunk.make_cache()
    if prompt:
        mx.eval(trunk.forward(mx.array(list(prompt)), cache).logits)
        cache.commit(len(prompt))
    rows = []
    for window in windows:
        logits = trunk.forward(mx.array(window.tokens), cache).logits
        rows.append(np.array(logits[: window.kept].astype(mx.float32)))
        cache.commit(window.kept)
    return np.concatenate(rows)
