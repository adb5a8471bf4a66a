"""What was learnt of depth is kept per model and machine, and warms the next request."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.profiles import Profiles, kind_of
from engine.protocol import Generate, HeadInfo, ModelInfo, Sampling
from engine.request import Request
from engine.speculation.depth import DepthPolicy, DepthProfile
from tests.fakes import tiny

RATIOS = (1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8)
SURE = (0.0, *(0.07,) * 8)
LEARNT = DepthProfile(RATIOS, (0.7,) * 8, SURE)
MODEL = ModelInfo(
    *("demo", "/models/demo", "llama", 1, 1, "none", 64, 512),
    *(HeadInfo("demo", 1, 1), "", Sampling(), True, 0.1),
)


def test_a_kept_profile_is_there_for_the_next_engine(tmp_path: Path) -> None:
    Profiles(tmp_path, MODEL, "cpu").keep("warm", LEARNT, 50)
    again = Profiles(tmp_path, MODEL, "cpu")
    assert again.is_measured
    assert again.of("warm") == LEARNT
    assert again.of("greedy") == LEARNT
    assert [path.name for path in again.path.parent.iterdir()] == [again.path.name]


def test_measured_costs_are_there_before_any_request(tmp_path: Path) -> None:
    Profiles(tmp_path, MODEL, "cpu").measured(RATIOS)
    again = Profiles(tmp_path, MODEL, "cpu")
    assert again.is_measured
    known = again.of("warm")
    assert known.ratios == pytest.approx(RATIOS, rel=0.02)
    assert known.doubts[0] == 0
    assert min(known.doubts[1:]) > 0.15


def test_an_answer_outweighs_what_was_measured_while_the_model_was_loaded(tmp_path: Path) -> None:
    profiles = Profiles(tmp_path, MODEL, "cpu")
    profiles.measured((1.0, *(2.0,) * 8))
    profiles.keep("warm", LEARNT, 50)
    assert profiles.of("warm").ratios == pytest.approx(RATIOS, rel=0.06)
    assert profiles.of("warm").doubts == SURE


def test_an_answer_of_one_depth_undoes_nothing_that_another_learnt(tmp_path: Path) -> None:
    """Both began from what the load measured; the one that tried no other depth ends last."""
    profiles = Profiles(tmp_path, MODEL, "cpu")
    wrong = (1.0, *(2.0,) * 8)
    profiles.measured(wrong)
    profiles.keep("warm", LEARNT, 50)
    profiles.keep("warm", DepthProfile(wrong, (0.7,) * 8, (0.0, *(0.25,) * 8)), 200)
    assert profiles.of("warm").ratios == pytest.approx(RATIOS, rel=0.12)


def test_a_full_disk_costs_the_profile_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "depth").write_text("no folder")
    profiles = Profiles(tmp_path, MODEL, "cpu")
    profiles.measured(RATIOS)
    profiles.keep("warm", LEARNT, 50)
    assert profiles.of("warm") == LEARNT


def test_another_machine_knows_nothing(tmp_path: Path) -> None:
    Profiles(tmp_path, MODEL, "cpu").keep("warm", LEARNT, 50)
    other = Profiles(tmp_path, MODEL, "gpu")
    assert not other.is_measured
    assert other.of("warm") == DepthProfile()


def test_one_request_moves_acceptance_by_its_length(tmp_path: Path) -> None:
    profiles = Profiles(tmp_path, MODEL, "cpu")
    profiles.keep("warm", LEARNT, 50)
    profiles.keep("warm", DepthProfile(RATIOS, (0.1,) * 8, SURE), 100)
    assert profiles.of("warm").accepted[0] == pytest.approx(0.4)


def test_kinds_are_kept_apart(tmp_path: Path) -> None:
    profiles = Profiles(tmp_path, MODEL, "cpu")
    profiles.keep(kind_of(Sampling(0)), LEARNT, 50)
    profiles.keep(kind_of(Sampling(0.6)), DepthProfile(RATIOS, (0.2,) * 8, SURE), 50)
    assert profiles.of("greedy").accepted[0] == 0.7
    assert profiles.of("warm").accepted[0] == 0.2
    assert kind_of(Sampling(0.5)) == "cool"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"ratios": [1], "doubts": [0], "accepted": {}}',
        b'{"ratios": [1,1,1,1,1,1,1,1,1], "accepted": {}}',
        b'{"ratios": [1,1,1,1,1,1,1,1,NaN], "doubts": [0,0,0,0,0,0,0,0,0], "accepted": {}}',
        b'{"ratios": [1,1,1,1,1,1,1,1,1], "doubts": [0,0,0,0,0,0,0,0,"x"], "accepted": {}}',
        b'{"ratios": [1,1,1,1,1,1,1,1,1], "doubts": [0,0,0,0,0,0,0,0,0], "accepted": {"warm": 1}}',
    ],
)
def test_a_broken_file_counts_as_nothing_known_and_is_written_anew(
    tmp_path: Path, content: bytes
) -> None:
    profiles = Profiles(tmp_path, MODEL, "cpu")
    profiles.path.parent.mkdir()
    profiles.path.write_bytes(content)
    broken = Profiles(tmp_path, MODEL, "cpu")
    assert not broken.is_measured
    broken.keep("warm", LEARNT, 1)
    assert Profiles(tmp_path, MODEL, "cpu").of("warm") == LEARNT


def test_every_cycle_is_learnt_before_anyone_asks_what_was(monkeypatch: pytest.MonkeyPatch) -> None:
    taught: list[int] = []
    monkeypatch.setattr(DepthPolicy, "learn", lambda _, depth, *__, **___: taught.append(depth))
    command = Generate("r", (), raw="hello", depth=2, max_tokens=200)
    request = Request(command, tiny.loaded(tiny.vocabulary_of_bytes()))

    def advance_to(cycle: int) -> None:
        while request.cycles < cycle:
            request.advance()

    advance_to(3)
    request.set_depth(None)
    assert taught == [2] * 3
    advance_to(4)
    assert len(taught) == 4
    request.set_depth(1)
    advance_to(7)
    request.learnt()
    assert taught[4:] == [1] * 3
