"""The law where only some tokens can be drafted: the others must come all the same."""

from __future__ import annotations

import mlx.core as mx
import pytest

from engine.model.draft_head import DraftHead
from engine.model.heads.demo import DemoHead
from engine.model.trunk import Trunk
from engine.protocol import Mode, Sampling
from engine.speculation.cycle import read_prompt, run_cycle
from engine.speculation.stream import Stream
from tests.conformance.test_engine_law import SAMPLING, VOCABULARY, decoded, engine_fit
from tests.conformance.toys import SUITE_P
from tests.fakes import tiny

DRAFTABLE = [1, 2, 4, 7]


@pytest.fixture
def model() -> tuple[Trunk, DemoHead]:
    return tiny.trunk_and_head(VOCABULARY, draftable=DRAFTABLE)


@pytest.mark.slow
@pytest.mark.parametrize("mode", [Mode.TOKEN, Mode.SEEDED])
def test_a_trimmed_draft_head_leaves_the_plain_law(
    model: tuple[Trunk, DemoHead], mode: Mode
) -> None:
    result = engine_fit(model, mode, 2000)
    assert result.p > SUITE_P, str(result)


@pytest.mark.slow
def test_a_draft_law_of_the_wrong_tokens_is_seen(
    model: tuple[Trunk, DemoHead], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Claims the same probabilities for the tokens next to those that were drafted."""
    true = DraftHead.widened
    monkeypatch.setattr(DraftHead, "widened", lambda self, probs: mx.roll(true(self, probs), 1, -1))
    assert engine_fit(model, Mode.TOKEN, 2000).p < SUITE_P


@pytest.mark.parametrize("sampling", [SAMPLING, Sampling(0.7, 0.9, 5), Sampling(0)])
def test_seeded_text_is_the_same_with_a_trimmed_draft_head(
    model: tuple[Trunk, DemoHead], sampling: Sampling
) -> None:
    texts = {
        tuple(decoded(model, 30, lambda _, d=depth: d, seed=5, mode=Mode.SEEDED, sampling=sampling))
        for depth in (0, 1, 3, 6)
    }
    assert len(texts) == 1


@pytest.mark.parametrize("mode", [Mode.TOKEN, Mode.SEEDED])
def test_only_kept_tokens_are_drafted(model: tuple[Trunk, DemoHead], mode: Mode) -> None:
    trunk, head = model
    stream = Stream(trunk.make_cache(), head, 1)
    read_prompt(trunk, stream, [1, 2, 3], 4)
    cycles = [run_cycle(trunk, stream, 4, SAMPLING, mode) for _ in range(20)]
    assert {token for cycle in cycles for token in cycle.drafted} == set(DRAFTABLE)
    assert {token for cycle in cycles for token in cycle.emitted} - set(DRAFTABLE)
