"""What the x-ray tells of a window, against float64 sums over the rows it was judged by."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np
import pytest

from engine.protocol import (
    Candidate,
    CycleDone,
    DraftDetail,
    Generate,
    Mode,
    Sampling,
    WindowDetail,
)
from engine.request import Request
from engine.speculation import cycle
from engine.speculation.cycle import CycleResult, read_prompt, run_cycle
from engine.speculation.draft import Draft
from engine.speculation.noise import Purpose, uniform
from engine.speculation.stream import Stream
from engine.speculation.xray import CANDIDATES, detail_of
from engine.wire import decode, encode
from tests.fakes import tiny

PROMPT = [5, 9, 2, 7, 11]
SEED = 77
CYCLES = 40
WARM = Sampling(0.8, 0.95, 0)
FLAT = Sampling(2.5, 1.0, 0)
"""Where drafts of a head with random weights are accepted now and then."""
SAMPLINGS = {"drawn": WARM, "truncated": Sampling(1.3, 1.0, 3), "likeliest": Sampling(0.3, 0.9, 0)}


@dataclass
class Seen:
    """One cycle: its rows in float64, the position of its first draft, what was told of it."""

    target: np.ndarray
    draft: np.ndarray
    first: int
    result: CycleResult
    detail: WindowDetail


def piece(token: int) -> str:
    return f"<{token}>"


def watched(
    monkeypatch: pytest.MonkeyPatch, mode: Mode, sampling: Sampling, depth: int = 3
) -> list[Seen]:
    """Run cycles of a tiny model; catch the rows as they go to the judge."""
    rows: list[tuple[np.ndarray, np.ndarray]] = []
    judge = cycle._verdict_of

    def watching(target: mx.array, drafted: Draft, *rest: object, **named: object) -> object:
        draft = np.zeros((0, target.shape[-1])) if drafted.probs is None else drafted.probs
        rows.append((np.array(target, np.float64), np.array(draft, np.float64)))
        return judge(target, drafted, *rest, **named)  # ty: ignore[invalid-argument-type]

    monkeypatch.setattr(cycle, "_verdict_of", watching)
    trunk, head = tiny.trunk_and_head()
    stream = Stream(trunk.make_cache(), head, SEED)
    stream.has_xray = True
    read_prompt(trunk, stream, PROMPT[:-1], PROMPT[-1])
    seen = []
    for _ in range(CYCLES):
        first = stream.position + 1
        result = run_cycle(trunk, stream, depth, sampling, mode)
        assert result.numbers is not None
        seen.append(Seen(*rows.pop(), first, result, detail_of(result.numbers, piece)))
    return seen


def tops(row: np.ndarray) -> list[tuple[int, float]]:
    """Return the likeliest tokens of a row, ties by lower id."""
    order = np.lexsort((np.arange(len(row)), -row))[:CANDIDATES]
    return [(int(token), float(row[token])) for token in order if row[token] > 0]


def assert_tops(told: tuple[Candidate, ...], row: np.ndarray) -> None:
    got = [(each.token, each.piece, each.prob) for each in told]
    want = tops(row)
    assert [each[:2] for each in got] == [(token, piece(token)) for token, _ in want]
    assert [each[2] for each in got] == pytest.approx([prob for _, prob in want], abs=1e-6)


def excess(target: np.ndarray, draft: np.ndarray, reach: float) -> np.ndarray:
    left = np.maximum(reach * target - draft, 0)
    return left / left.sum()


def reaches(seen: Seen) -> np.ndarray:
    """Return p_0 ... p_depth of the block rule."""
    reach = [1.0]
    for at, token in enumerate(seen.result.drafted):
        reach.append(min(1.0, reach[-1] * seen.target[at, token] / seen.draft[at, token]))
    return np.array(reach)


def chances(seen: Seen) -> list[float]:
    """Return h_1 ... h_depth of the block rule."""
    reach, depth = reaches(seen), len(seen.result.drafted)
    found = []
    for at in range(1, depth):
        left = np.maximum(reach[at] * seen.target[at] - seen.draft[at], 0).sum()
        whole = left + 1 - reach[at]
        found.append(left / whole if whole > 1e-12 else 1.0)
    return [*found, reach[depth]]


def wins(draft: DraftDetail) -> bool:
    """Whether the ratio rule's own numbers let a draft pass."""
    assert draft.uniform is not None
    return draft.uniform * draft.draft_prob < draft.target_prob


@pytest.mark.parametrize("name", SAMPLINGS)
@pytest.mark.parametrize("mode", list(Mode))
def test_probabilities_and_candidates_are_those_of_the_rows(
    monkeypatch: pytest.MonkeyPatch, mode: Mode, name: str
) -> None:
    for seen in watched(monkeypatch, mode, SAMPLINGS[name]):
        assert len(seen.detail.drafts) == seen.result.depth == 3
        for at, (token, draft) in enumerate(
            zip(seen.result.drafted, seen.detail.drafts, strict=True)
        ):
            assert draft.target_prob == pytest.approx(seen.target[at, token], abs=1e-7)
            assert draft.draft_prob == pytest.approx(seen.draft[at, token], abs=1e-7)
            assert_tops(draft.target_top, seen.target[at])
            assert_tops(draft.draft_top, seen.draft[at])


@pytest.mark.parametrize("name", SAMPLINGS)
def test_the_uniforms_are_those_of_the_cycle_and_decide_as_the_token_rule_did(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for seen in watched(monkeypatch, Mode.TOKEN, SAMPLINGS[name]):
        accepted, number = seen.result.accepted, seen.result.cycle
        for at, draft in enumerate(seen.detail.drafts):
            assert draft.uniform == uniform(SEED, number, seen.first + at, Purpose.ACCEPT)
            assert (draft.reach, draft.chance) == (None, None)
        passes = [wins(draft) for draft in seen.detail.drafts]
        assert all(passes[:accepted])
        assert accepted == 3 or not passes[accepted]
        purpose = Purpose.BONUS if accepted == 3 else Purpose.RESIDUAL
        assert seen.detail.next_uniform == uniform(SEED, number, seen.first + accepted, purpose)


def test_the_last_tokens_row_is_the_residual_or_the_bonus_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    endings = set()
    for seen in watched(monkeypatch, Mode.TOKEN, FLAT):
        at = seen.result.accepted
        endings.add(at == 3)
        row = seen.target[3] if at == 3 else excess(seen.target[at], seen.draft[at], 1.0)
        assert_tops(seen.detail.next_top, row)
        last = seen.result.emitted[-1]
        assert seen.detail.next_prob == pytest.approx(row[last], abs=1e-6)
        drawn_by, end = seen.detail.next_uniform, np.cumsum(row)[last]
        assert drawn_by is not None
        assert end - row[last] - 1e-6 <= drawn_by <= end + 1e-6
    assert endings == {True, False}


def test_the_block_rules_numbers_are_its_own_and_decide_as_it_did(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    longer_runs = 0
    for seen in watched(monkeypatch, Mode.BLOCK, FLAT):
        reach, drafts = reaches(seen), seen.detail.drafts
        assert [draft.reach for draft in drafts] == pytest.approx(reach[1:], abs=1e-5)
        assert [draft.chance for draft in drafts] == pytest.approx(chances(seen), abs=1e-4)
        passes = [
            draft.uniform is not None and draft.chance is not None and draft.uniform < draft.chance
            for draft in drafts
        ]
        accepted = max([at + 1 for at, has_passed in enumerate(passes) if has_passed], default=0)
        assert seen.result.accepted == accepted
        longer_runs += not all(passes[:accepted])
        row = seen.target[3]
        if accepted < 3:
            row = excess(seen.target[accepted], seen.draft[accepted], reach[accepted])
        assert_tops(seen.detail.next_top, row)
    assert longer_runs, "no run passed over a failed one: the test would not tell the rules apart"


def test_in_seeded_mode_no_uniform_judges_and_the_row_is_the_targets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for seen in watched(monkeypatch, Mode.SEEDED, WARM):
        assert [draft.uniform for draft in seen.detail.drafts] == [None] * 3
        assert seen.detail.next_uniform is None
        assert_tops(seen.detail.next_top, seen.target[seen.result.accepted])


@pytest.mark.parametrize("mode", list(Mode))
def test_plain_decoding_tells_the_row_its_token_was_drawn_from(
    monkeypatch: pytest.MonkeyPatch, mode: Mode
) -> None:
    for seen in watched(monkeypatch, mode, WARM, depth=0):
        assert seen.detail.drafts == ()
        assert_tops(seen.detail.next_top, seen.target[0])
        assert seen.detail.next_prob == pytest.approx(seen.target[0, seen.result.emitted[0]])


@pytest.mark.parametrize("mode", list(Mode))
def test_looking_changes_nothing_that_is_said(mode: Mode) -> None:
    def said(*, has_xray: bool) -> list[int]:
        trunk, head = tiny.trunk_and_head()
        stream = Stream(trunk.make_cache(), head, SEED)
        stream.has_xray = has_xray
        read_prompt(trunk, stream, PROMPT[:-1], PROMPT[-1])
        return [t for _ in range(9) for t in run_cycle(trunk, stream, 3, WARM, mode).emitted]

    assert said(has_xray=True) == said(has_xray=False)


def test_nothing_is_told_unless_someone_asks() -> None:
    trunk, head = tiny.trunk_and_head()
    stream = Stream(trunk.make_cache(), head, SEED)
    read_prompt(trunk, stream, PROMPT[:-1], PROMPT[-1])
    assert run_cycle(trunk, stream, 3, WARM, Mode.TOKEN).numbers is None


def test_a_request_tells_it_from_the_next_cycle_on_until_it_is_asked_no_more() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz <>|\n"
    model = tiny.loaded(tiny.vocabulary_of(letters))
    request = Request(Generate("r", (), raw="hello", depth=2, max_tokens=60, sampling=WARM), model)
    told = []
    for number in range(8):
        request.set_detail(is_on=3 <= number < 6)
        cycles = [event for event in request.advance() if isinstance(event, CycleDone)]
        told += [(each.detail is not None, each) for each in cycles]
    assert [is_told for is_told, _ in told] == [False] * 2 + [True] * 3 + [False] * 2
    for _, each in told[2:5]:
        assert each.detail is not None
        assert len(each.detail.drafts) == each.depth == 2
        assert all(top.piece in letters for top in each.detail.next_top)
        assert decode(encode([each])) == [each]
