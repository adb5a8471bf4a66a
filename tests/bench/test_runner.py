"""The app's bench: when it begins, how it ends, what it keeps; an engine of made-up events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from engine.protocol import Cancel, Command, ErrorInfo, Event, Finish, Generate
from mtplx_tui.bench import report, results
from mtplx_tui.bench.runner import Runner, Stage
from mtplx_tui.bench.suite import Plan
from mtplx_tui.machine.guarding import GuardSetup
from mtplx_tui.machine.heat import heat_from_plain, heat_to_plain
from mtplx_tui.machine.sensors import Sensors
from mtplx_tui.machine.station import Station
from mtplx_tui.view import EngineState, EngineView
from tests.bench.streams import answered, cycle, done, in_turn, started
from tests.fakes.heat import warming
from tests.fakes.streams import MODEL, STARTED

READY = EngineView(state=EngineState.READY, engine=STARTED, model=MODEL)
BUSY = replace(READY, state=EngineState.GENERATING)
PLAN = Plan(depths=(0, 2), prompts=3, max_tokens=30)


class Bench:
    """A runner and the engine around it."""

    def __init__(self, folder: Path) -> None:
        self.sent: list[Command] = []
        self.can_send = True
        self.time = 0.0
        setup = GuardSetup("sysfs", str(folder), folder / "state", needs_root=False)
        self.station = Station(Sensors({}), setup, lambda: None)
        self.runner = Runner(
            self._send,
            folder,
            lambda: None,
            lambda: self.time,
            lambda: datetime(2027, 1, 15, 12, 30, 5),
            self.station,
        )

    def _send(self, command: Command) -> bool:
        if self.can_send:
            self.sent.append(command)
        return self.can_send

    @property
    def asked(self) -> list[Generate]:
        """The requests of the prompt at hand."""
        return [command for command in self.sent if isinstance(command, Generate)][-2:]

    def hear(self, events: Iterable[Event], view: EngineView = READY) -> list[Event]:
        others = self.runner.take(events)
        self.runner.look(view)
        return others

    def answer(self, prompts: int) -> None:
        for _ in range(prompts):
            self.hear(answered(self.asked))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "bench")


def test_an_idle_engine_is_asked_at_once_and_the_result_is_kept(bench: Bench) -> None:
    assert bench.runner.start(PLAN, READY) == ""
    assert [command.depth for command in bench.asked] == [0, 2]
    bench.answer(3)
    assert bench.runner.stage is Stage.DONE
    path = bench.runner.kept
    assert path is not None
    assert path.name == "2027-01-15-123005-demo.json"
    assert results.title(path) == "demo, 2027-01-15 12:30"
    result = report.read(path)
    assert len(result.answers) == 6
    assert result.about["made_at"] == "2027-01-15T12:30:05"
    assert results.kept(bench.runner.folder) == [path]


def test_a_result_tells_how_warm_the_machine_was(bench: Bench) -> None:
    seconds = warming(120)
    bench.station.take(next(seconds), is_generating=False)
    bench.runner.start(PLAN, READY)
    bench.answer(1)
    for snapshot in seconds:
        bench.station.take(snapshot, is_generating=True)
    bench.answer(2)
    assert bench.runner.kept is not None
    kept = heat_from_plain(report.read(bench.runner.kept).about["heat"])
    assert kept is not None
    assert kept.courses["CPU"].highest - kept.courses["CPU"].first > 20
    bench.station.take(next(warming(1)), is_generating=True)
    assert bench.runner.heat is not None
    assert heat_from_plain(heat_to_plain(bench.runner.heat)) == kept  # what came later is not in it


def test_running_answers_go_first(bench: Bench) -> None:
    assert bench.runner.start(PLAN, BUSY) == ""
    assert bench.runner.is_held
    assert bench.sent == []
    bench.runner.look(BUSY)
    assert bench.sent == []
    bench.runner.look(READY)
    assert len(bench.asked) == 2
    assert not bench.runner.is_held


def test_an_answer_asked_for_meanwhile_goes_before_the_next_prompt(bench: Bench) -> None:
    bench.runner.start(PLAN, READY)
    first = bench.asked
    bench.hear(answered(first), BUSY)
    assert bench.asked == first
    assert bench.runner.is_held
    bench.runner.look(READY)
    assert bench.asked != first


def test_only_its_own_events_are_taken(bench: Bench) -> None:
    bench.runner.start(PLAN, READY)
    chat = replace(bench.asked[0], request="a-chat")
    mixed = [started(chat), started(bench.asked[0]), STARTED, cycle(chat, 0)]
    assert bench.hear(mixed) == [started(chat), STARTED, cycle(chat, 0)]


def test_a_stop_is_at_once_and_keeps_whole_prompts(bench: Bench) -> None:
    bench.runner.start(PLAN, READY)
    bench.answer(1)
    at_hand = bench.asked
    bench.hear(in_turn(at_hand, 5))
    bench.runner.stop()
    assert bench.runner.stage is Stage.STOPPED
    assert bench.sent[-2:] == [Cancel(command.request) for command in at_hand]
    assert bench.runner.kept is not None
    assert {answer.prompt for answer in report.read(bench.runner.kept).answers} == {0}
    late = [cycle(at_hand[0], 6), *(done(command, Finish.CANCELLED) for command in at_hand)]
    assert bench.hear(late) == []
    assert bench.runner.stage is Stage.STOPPED


def test_after_a_stop_the_next_begins_with_requests_of_its_own(bench: Bench) -> None:
    bench.runner.start(PLAN, READY)
    old = bench.asked
    bench.runner.stop()
    assert bench.runner.kept is None
    bench.runner.start(PLAN, READY)
    new = bench.asked
    assert {command.request for command in old}.isdisjoint(command.request for command in new)
    bench.hear(done(command, Finish.CANCELLED) for command in old)
    assert bench.runner.stage is Stage.RUNNING


def test_a_dying_engine_ends_it_without_a_word_and_what_was_measured_stays(bench: Bench) -> None:
    bench.runner.start(PLAN, READY)
    bench.answer(2)
    count = len(bench.sent)
    bench.runner.engine_died(ErrorInfo("the engine was ended by signal 9", "restart it"))
    assert bench.runner.stage is Stage.FAILED
    assert bench.runner.note == "the engine was ended by signal 9"
    assert len(bench.sent) == count
    assert bench.runner.kept is not None
    assert len(report.read(bench.runner.kept).answers) == 4


def test_another_model_ends_it(bench: Bench) -> None:
    bench.runner.start(PLAN, READY)
    bench.hear([done(bench.asked[0], Finish.CANCELLED)])
    assert bench.runner.stage is Stage.FAILED
    assert "another model" in bench.runner.note


@pytest.mark.parametrize(
    ("state", "words"),
    [(EngineState.DEAD, "{app.restart}"), (EngineState.EMPTY, "{app.open_model}")],
)
def test_without_an_engine_or_a_model_it_says_what_to_do(
    bench: Bench, state: EngineState, words: str
) -> None:
    assert words in bench.runner.start(PLAN, EngineView(state=state))
    assert bench.runner.stage is Stage.IDLE
    bench.runner.start(PLAN, BUSY)
    bench.runner.look(EngineView(state=state))
    assert bench.runner.stage is Stage.FAILED
    assert words in bench.runner.note


def test_two_at_once_are_refused(bench: Bench) -> None:
    bench.runner.start(PLAN, READY)
    assert "{bench.back} stops it" in bench.runner.start(PLAN, READY)
    assert len(bench.sent) == 2


def test_an_engine_that_takes_no_command_ends_it(bench: Bench) -> None:
    bench.can_send = False
    bench.runner.start(PLAN, READY)
    assert bench.runner.stage is Stage.FAILED


def test_a_result_that_can_not_be_kept_is_told(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "bench").write_text("no folder")
    bench.runner.start(PLAN, READY)
    bench.answer(3)
    assert bench.runner.stage is Stage.DONE
    assert "not kept" in bench.runner.note
    assert bench.runner.kept is None


def test_what_is_left_is_told_from_what_it_took(bench: Bench) -> None:
    bench.runner.start(PLAN, READY)
    assert bench.runner.seconds_left is None
    bench.time = 10.0
    bench.hear(answered(bench.asked))
    assert bench.runner.seconds_left == pytest.approx(20.0)


def test_results_of_others_come_last_and_keep_their_name(tmp_path: Path) -> None:
    for name in ("zebra.json", "2027-01-15-123005-a.json", "2027-01-16-000000-b.json"):
        (tmp_path / name).write_text("{}")
    paths = results.kept(tmp_path)
    assert [path.stem for path in paths] == ["2027-01-16-000000-b", "2027-01-15-123005-a", "zebra"]
    assert results.title(paths[-1]) == "zebra"
    assert results.kept(tmp_path / "nothing") == []


def test_results_of_one_minute_are_told_apart() -> None:
    names = ("2027-01-15-123007-demo", "2027-01-15-123059-demo", "2027-01-15-123059-other", "zebra")
    told = results.titles([Path(f"{name}.json") for name in names])
    assert told[:2] == ["demo, 2027-01-15 12:30:07", "demo, 2027-01-15 12:30:59"]
    assert told[2:] == ["other, 2027-01-15 12:30", "zebra"]
