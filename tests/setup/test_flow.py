"""The set-up's steps: any interruption at any step comes to the same end."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mtplx_tui.setup import flow, kept
from mtplx_tui.setup.flow import (
    Offered,
    Place,
    Progress,
    Step,
    next_step,
    progress_from,
    progress_to_plain,
)


@dataclass(frozen=True)
class Person:
    """Somebody who gives the same answers whenever they are asked."""

    model: str
    is_here: bool
    wants_tour: bool
    keeps_download: bool
    wants_tuning: bool
    place: Place
    has_demo: bool

    def answer(self, step: Step, progress: Progress) -> Progress:
        do: dict[Step, Callable[[], Progress]] = {
            Step.MODEL: lambda: flow.choose(progress, self.model, is_here=self.is_here),
            Step.TALK: lambda: flow.answered(progress),
            Step.TOUR: lambda: flow.toured(progress, was_seen=self.wants_tour),
            Step.FETCH: lambda: (
                flow.fetched(progress)
                if self.keeps_download or not self.has_demo
                else flow.drop(progress, "demo")
            ),
            Step.TUNE: lambda: flow.tuned(progress, was_done=self.wants_tuning),
            Step.PLACE: lambda: flow.place(progress, self.place),
        }
        return do[step]()

    def next(self, progress: Progress) -> Step:
        return next_step(progress, has_demo=self.has_demo)


def person(seed: int) -> Person:
    chance = random.Random(seed)
    is_here, tour, keeps, tuning, has_demo = (chance.random() < 0.5 for _ in range(5))
    model = chance.choice(["demo", "owner/name", "/models/one"])
    place = chance.choice([Place.APP, Place.TERMINAL])
    return Person(model, is_here, tour, keeps, tuning, place, has_demo)


def gone_through(who: Person, *, cuts: random.Random | None = None) -> tuple[Progress, list[Step]]:
    """Go to the end; at a cut the process is gone before what it did is kept."""
    disk = json.dumps(progress_to_plain(Progress()))
    asked: list[Step] = []
    while True:
        progress = progress_from(json.loads(disk))
        step = who.next(progress)
        if step is Step.DONE:
            return progress, asked
        asked.append(step)
        assert len(asked) < 100
        after = who.answer(step, progress)
        if cuts is None or cuts.random() < 0.5:
            disk = json.dumps(progress_to_plain(after))


@pytest.mark.parametrize("seed", range(200))
def test_cut_off_anywhere_it_comes_to_the_same_end(seed: int) -> None:
    who = person(seed)
    whole, steps = gone_through(who)
    cut, asked = gone_through(who, cuts=random.Random(seed))
    assert cut == whole
    assert len(steps) == len(set(steps))
    # What was answered is never asked again, however often the rest was begun.
    assert list(dict.fromkeys(asked)) == steps
    assert [step for at, step in enumerate(asked) if step not in asked[:at]] == steps


def test_the_demo_is_talked_with_while_a_model_is_fetched() -> None:
    chosen = flow.choose(Progress(), "owner/name", is_here=False)
    assert next_step(chosen) is Step.TALK
    assert next_step(chosen, has_demo=False) is Step.FETCH
    seen = flow.toured(flow.answered(chosen), was_seen=True)
    assert next_step(seen) is Step.FETCH
    assert next_step(flow.fetched(seen)) is Step.TUNE


def test_another_model_is_tuned_anew_and_nothing_else_is_asked_again() -> None:
    done = Progress("demo", True, True, Offered.TAKEN, Offered.TAKEN, Place.APP)
    assert next_step(done) is Step.DONE
    assert flow.choose(done, "demo", is_here=True) == done
    assert next_step(flow.choose(done, "owner/name", is_here=True)) is Step.TUNE


def test_skipping_all_is_the_end() -> None:
    done = flow.skip_rest(Progress(), "demo", Place.APP)
    assert next_step(done) is Step.DONE
    assert done.model == "demo"


def test_what_came_or_went_meanwhile_is_taken_into_account() -> None:
    waiting = flow.choose(Progress(), "owner/name", is_here=False)
    assert flow.reconcile(waiting, is_found=True).is_here
    assert flow.reconcile(waiting, is_found=False) is waiting
    here = flow.fetched(waiting)
    assert next_step(flow.reconcile(here, is_found=False)) is Step.MODEL
    assert flow.reconcile(Progress(), is_found=False) == Progress()


def test_a_model_needs_a_name() -> None:
    with pytest.raises(ValueError, match="needs a name"):
        flow.choose(Progress(), "", is_here=True)


class TestOnDisk:
    def test_it_is_read_as_it_was_kept(self, tmp_path: Path) -> None:
        place = tmp_path / "state" / "setup.json"
        done = flow.skip_rest(Progress(), "ünï/cödé", Place.TERMINAL)
        assert kept.keep(place, done) == ""
        assert kept.read(place) == kept.Kept(done)

    @pytest.mark.parametrize(
        "rubbish",
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b"\xff\xfe",
            b'{"model": 3, "is_here": true, "has_answer": true}',
            b'{"model": "demo", "is_here": "yes", "has_answer": true}',
            b'{"model": "demo", "is_here": true, "has_answer": true, "tour": "maybe"}',
            b"[" * 60_000,
            b" " * 70_000,
        ],
        ids=range(10),
    )
    def test_rubbish_begins_anew_and_is_told(self, rubbish: bytes, tmp_path: Path) -> None:
        place = tmp_path / "setup.json"
        place.write_bytes(rubbish)
        found = kept.read(place)
        assert found.progress == Progress()
        assert found.problem.startswith(str(place))
        assert found.problem.endswith("the set-up begins anew")

    def test_a_folder_that_cannot_be_written_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        told = kept.keep(tmp_path / "file" / "setup.json", Progress())
        assert "can't be kept" in told
        assert kept.read(tmp_path / "nowhere") == kept.Kept(Progress())
