"""Drafts that are bad on purpose are rejected as often as trunk and draft law differ, no less.

An engine that compares its drafts with themselves accepts all of them, and but for the text
nothing would show it.
"""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from engine.model.cache import Cache
from engine.model.head import Head
from engine.protocol import Mode, Sampling
from engine.speculation.cycle import run_cycle
from tests.conformance.decoding import LAST, PROMPT, VOCABULARY, Model, begun
from tests.fakes import tiny

CYCLES = 300
SIGMAS = 6
BAD = np.array([0.02, 0.4, 0.02, 0.02, 0.3, 0.02, 0.2, 0.02])
"""What is drafted from, whatever was said before."""
PLAIN = Sampling(1, 1, 0)


class BadHead:
    """A head that drafts from one law, always."""

    def __init__(self, head: Head) -> None:
        self._head = head
        self.draft_head = head.draft_head

    def make_cache(self) -> Cache:
        return self._head.make_cache()

    def forward(self, hidden: mx.array, tokens: mx.array, cache: Cache) -> mx.array:
        return self._head.forward(hidden, tokens, cache)

    def logits(self, recycled: mx.array) -> mx.array:
        return mx.broadcast_to(mx.log(mx.array(BAD, mx.float32)), (recycled.shape[1], VOCABULARY))


def with_bad_head() -> Model:
    trunk, head = tiny.trunk_and_head(VOCABULARY)
    return trunk, BadHead(head)


@pytest.fixture(scope="module")
def model() -> Model:
    return with_bad_head()


def plain_law(model: Model, *text: int) -> np.ndarray:
    """Return what plain decoding draws the next token from, in float64."""
    trunk, _ = model
    tokens = mx.array([*PROMPT, LAST, *text])
    logits = np.array(trunk.forward(tokens, trunk.make_cache()).logits[-1], np.float64)
    law = np.exp(logits - logits.max())
    return law / law.sum()


def chances(model: Model, mode: Mode) -> tuple[float, float]:
    """Return how likely one of two drafts or more is accepted, and how likely both are."""
    first = plain_law(model)
    second = np.stack([plain_law(model, token) for token in range(VOCABULARY)])
    if mode is Mode.TOKEN:
        kept = np.minimum(first, BAD)
        return float(kept.sum()), float(kept @ np.minimum(second, BAD).sum(axis=1))
    reach = np.minimum(1, first / BAD)
    both = np.minimum(1, reach[:, None] * second / BAD)
    return float(BAD @ reach), float(BAD @ both @ BAD)


@pytest.mark.parametrize("mode", [Mode.TOKEN, Mode.BLOCK])
def test_trap_23_bad_drafts_are_rejected_at_the_analytic_rate(model: Model, mode: Mode) -> None:
    accepted = np.array(
        [run_cycle(model[0], begun(model, seed), 2, PLAIN, mode).accepted for seed in range(CYCLES)]
    )
    for number, chance in enumerate(chances(model, mode), 1):
        spread = np.sqrt(chance * (1 - chance) / CYCLES)
        assert 0.05 < chance < 0.95
        assert abs((accepted >= number).mean() - chance) < SIGMAS * spread, (number, chance)


def test_trap_23_a_wrong_draft_is_never_accepted_greedily(model: Model) -> None:
    text: list[int] = []
    stream = begun(model, 1)
    wrong = 0
    for _ in range(20):
        result = run_cycle(model[0], stream, 3, Sampling(0), Mode.TOKEN)
        assert result.drafted == (int(BAD.argmax()),) * 3
        for token in result.emitted:
            assert token == int(plain_law(model, *text).argmax())
            text.append(token)
        wrong += 3 - result.accepted
    assert wrong > 20
