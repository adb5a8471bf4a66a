"""The draft's own LM head: fewer rows, fewer bits, and a law over the whole vocabulary."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from engine.model.draft_head import full_head, trimmed_head
from engine.model.trunk import Trunk
from tests.fakes import tiny

KEPT = [7, 2, 30, 2, 63, 64, -1]
ASCENDING = [2, 7, 30, 63]


@pytest.fixture
def trunk() -> Trunk:
    return tiny.trunk_and_head()[0]


def test_trimmed_logits_are_columns_of_the_full_ones(trunk: Trunk) -> None:
    hidden = mx.random.normal((3, 32), key=mx.random.key(1))
    head = trimmed_head(trunk, KEPT)
    assert head.columns == 4
    wanted = trunk.unembed(hidden)[:, mx.array(ASCENDING)]
    assert np.allclose(head.logits(hidden), wanted, atol=1e-5)


def test_columns_and_tokens_are_each_other(trunk: Trunk) -> None:
    head = trimmed_head(trunk, KEPT)
    assert np.array(head.tokens_at(mx.array([3, 0, 1]))).tolist() == [63, 2, 7]
    probs = mx.array([[0.1, 0.2, 0.3, 0.4], [1, 0, 0, 0]])
    wide = head.widened(probs)
    assert wide.shape == (2, 64)
    assert np.array_equal(wide[:, mx.array(ASCENDING)], probs)
    assert np.allclose(mx.sum(wide, axis=-1), 1)
    assert np.array_equal(head.narrowed(wide), probs)


def test_the_full_head_is_the_trunks_own(trunk: Trunk) -> None:
    head = full_head(trunk)
    hidden = mx.random.normal((1, 32), key=mx.random.key(2))
    assert head.columns == head.vocabulary == 64
    assert np.array_equal(head.logits(hidden), trunk.unembed(hidden))
    rows = mx.ones((1, 64))
    assert head.widened(rows) is rows


def test_rows_of_a_packed_lm_head_are_unpacked(trunk: Trunk) -> None:
    hidden = mx.random.normal((2, 32), key=mx.random.key(3))
    nn.quantize(trunk.model, group_size=32, bits=8)
    wanted = trunk.unembed(hidden)[:, mx.array(ASCENDING)]
    assert np.allclose(trimmed_head(trunk, KEPT).logits(hidden), wanted, atol=1e-4)


def test_fewer_bits_give_nearly_the_same_logits() -> None:
    rows = mx.random.normal((256, 64), key=mx.random.key(4))
    embedding = nn.Embedding(256, 64)
    embedding.weight = rows
    model = nn.Module()
    model.model = nn.Module()
    model.model.embed_tokens = embedding
    hidden = mx.random.normal((1, 64), key=mx.random.key(5))
    head = trimmed_head(Trunk(model), range(256), bits=8)
    error = np.abs(head.logits(hidden) - hidden @ rows.T).max()
    assert 0 < error < 0.2


def test_a_head_without_tokens_is_refused(trunk: Trunk) -> None:
    with pytest.raises(ValueError, match="at least one token"):
        trimmed_head(trunk, [64])
