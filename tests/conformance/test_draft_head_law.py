"""The law where only some tokens can be drafted: the others must come all the same."""

from __future__ import annotations

import mlx.core as mx
import pytest

from engine.model.draft_head import DraftHead
from engine.model.heads.pair import PairHead
from engine.model.trunk import Trunk
from engine.protocol import Mode, Sampling
from engine.speculation import draft
from engine.speculation.cycle import read_prompt, run_cycle
from engine.speculation.sampling import RowRules, target_distribution
from engine.speculation.stream import Stream
from tests.conformance.decoding import SAMPLING, VOCABULARY, decoded
from tests.conformance.test_engine_law import engine_fit
from tests.conformance.toys import SUITE_P
from tests.fakes import tiny

DRAFTABLE = [1, 2, 4, 7]


@pytest.fixture
def model() -> tuple[Trunk, PairHead]:
    return tiny.trunk_and_head(VOCABULARY, draftable=DRAFTABLE)


@pytest.mark.parametrize(
    "mode",
    [Mode.TOKEN, *(pytest.param(m, marks=pytest.mark.slow) for m in (Mode.BLOCK, Mode.SEEDED))],
)
def test_a_trimmed_draft_head_leaves_the_plain_law(
    model: tuple[Trunk, PairHead], mode: Mode
) -> None:
    result = engine_fit(model, mode, 600, 7)
    assert result.p > SUITE_P, str(result)


def test_a_draft_law_of_the_wrong_tokens_is_seen(
    model: tuple[Trunk, PairHead], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Claims the same probabilities for the tokens next to those that were drafted."""
    true = DraftHead.widened
    monkeypatch.setattr(DraftHead, "widened", lambda self, probs: mx.roll(true(self, probs), 1, -1))
    assert engine_fit(model, Mode.TOKEN, 600, 8).p < SUITE_P


@pytest.mark.parametrize("sampling", [SAMPLING, Sampling(0.7, 0.9, 5), Sampling(0)])
def test_seeded_text_is_the_same_with_a_trimmed_draft_head(
    model: tuple[Trunk, PairHead], sampling: Sampling
) -> None:
    texts = {
        tuple(decoded(model, 30, lambda _, d=depth: d, seed=5, mode=Mode.SEEDED, sampling=sampling))
        for depth in (0, 1, 3, 6)
    }
    assert len(texts) == 1


@pytest.mark.parametrize("mode", [Mode.TOKEN, Mode.SEEDED])
def test_only_kept_tokens_are_drafted(model: tuple[Trunk, PairHead], mode: Mode) -> None:
    trunk, head = model
    stream = Stream(trunk.make_cache(), head, 1)
    read_prompt(trunk, stream, [1, 2, 3], 4)
    cycles = [run_cycle(trunk, stream, 4, SAMPLING, mode) for _ in range(20)]
    assert {token for cycle in cycles for token in cycle.drafted} == set(DRAFTABLE)
    assert {token for cycle in cycles for token in cycle.emitted} - set(DRAFTABLE)


def test_a_grammar_that_no_drafted_token_fits_leaves_a_law_to_draft_from(
    model: tuple[Trunk, PairHead],
) -> None:
    draft_head = model[1].draft_head
    allowed = mx.array([[token == 0 for token in range(VOCABULARY)]])
    rules = draft.narrowed(RowRules(allowed=allowed), draft_head)
    probs = target_distribution(mx.zeros((1, len(DRAFTABLE))), SAMPLING, rules)
    assert mx.allclose(probs, mx.full((1, 4), 0.25)).item()
    some = mx.array([[token in (0, 2) for token in range(VOCABULARY)]])
    rules = draft.narrowed(RowRules(allowed=some), draft_head)
    probs = target_distribution(mx.zeros((1, len(DRAFTABLE))), SAMPLING, rules)
    assert mx.allclose(probs, mx.array([[0, 1.0, 0, 0]])).item()
