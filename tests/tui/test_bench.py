"""The bench tab: an engine of made-up events under it, keys above."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.protocol import Cancel, Generate
from mtplx_tui.bench import report, results
from mtplx_tui.bench.runner import Stage
from mtplx_tui.bench.suite import Plan
from mtplx_tui.marks import ASCII, UNICODE
from mtplx_tui.screens.bench import depth_words, estimate
from mtplx_tui.view import EngineView
from mtplx_tui.widgets.bench_curve import BenchCurve
from tests.bench.streams import answered, in_turn
from tests.bench.test_report import answer
from tests.tui.bench_talk import BenchTalk, keep_earlier

SIZE = (120, 40)


@pytest.fixture
def talk(tmp_path: Path) -> BenchTalk:
    return BenchTalk(tmp_path)


async def test_enter_measures_at_all_depths_side_by_side(talk: BenchTalk) -> None:
    async with talk.at(*SIZE):
        await talk.press("f6", "enter")
        assert {command.depth for command in talk.asked} == {0, 1, 2, 3, 4, None}
        assert "prompt 1 of 8, chat" in talk.text("#bench-state")
        assert "bench: prompt 1 of 8" in talk.status()


async def test_table_and_curve_grow_with_each_cycle(talk: BenchTalk) -> None:
    async with talk.at(*SIZE):
        await talk.press("f6", "enter")
        assert not talk.screen.query_one("#bench-body").display
        await talk.runs(3)
        assert "auto" in talk.text("#bench-table")
        early = talk.text("#bench-curve")
        assert "auto" in early
        await talk.measures(3)
        assert "chat, 3 prompts" in talk.text("#bench-heading")
        assert talk.text("#bench-curve") != early


async def test_through_it_claims_nothing_from_two_prompts_and_keeps_the_result(
    talk: BenchTalk,
) -> None:
    async with talk.at(*SIZE):
        await talk.press("f6", "p", "p", "enter")
        await talk.measures(2)
        state = talk.text("#bench-state")
        assert "2 of 2 prompts" in state
        assert "too few prompts to say which depth is fastest: 2" in state
        (path,) = results.kept(talk.app.places.bench)
        assert len(report.read(path).answers) == 12


async def test_a_running_answer_goes_first(talk: BenchTalk) -> None:
    async with talk.at(*SIZE):
        await talk.ask("Why?")
        talk.starts()
        await talk.press("f6", "enter")
        assert "An answer goes first" in talk.text("#bench-state")
        assert len(talk.generates) == 1
        await talk.ends()
        assert len(talk.asked) == 6
        await talk.seen()
        assert "prompt 1 of 8" in talk.text("#bench-state")


async def test_escape_stops_at_once_and_whole_prompts_stay(talk: BenchTalk) -> None:
    async with talk.at(*SIZE):
        await talk.press("f6", "enter")
        await talk.measures(1)
        await talk.runs(3)
        await talk.press("escape")
        cancelled = {c.request for c in talk.app.sent if isinstance(c, Cancel)}
        assert cancelled == {command.request for command in talk.asked}
        assert "stopped · 1 of 8 prompts · kept" in talk.text("#bench-state")
        assert "chat, 1 prompt" in talk.text("#bench-heading")


async def test_a_dying_engine_is_told_and_what_was_measured_stays(talk: BenchTalk) -> None:
    async with talk.at(*SIZE):
        await talk.press("f6", "enter")
        await talk.measures(2)
        await talk.dies()
        await talk.seen()
        assert "the engine was ended by signal 9 · 2 of 8 prompts" in talk.text("#bench-state")
        assert "tok/cycle" in talk.text("#bench-table")
        assert "chat, 2 prompts" in talk.text("#bench-heading")
        await talk.press("enter")
        assert "the engine has stopped: ctrl+r starts it again" in talk.notices()


async def test_it_goes_on_in_another_tab_which_hears_nothing_of_it(talk: BenchTalk) -> None:
    async with talk.at(*SIZE):
        await talk.press("f6", "enter", "f3")
        view = talk.app.view
        await talk.measures(2)
        assert talk.app.view is view
        assert talk.app.errands.bench.sweep is not None
        assert talk.app.errands.bench.sweep.done == 2
        await talk.press("f6")
        assert "prompt 3 of 8" in talk.text("#bench-state")


async def test_in_a_batch_of_both_each_takes_its_own(talk: BenchTalk) -> None:
    async with talk.at(*SIZE):
        await talk.press("f6", "enter", "f2")
        await talk.ask("Why?")
        chat = talk.generates[-1]
        both = [*in_turn(talk.asked, 2), *answered([chat])]
        talk.app.feed(both)
        await talk.settle()
        assert [request.request for request in talk.app.view.requests] == [chat.request]
        assert talk.app.view.requests[0].done is not None
        assert talk.app.errands.bench.sweep is not None
        assert len(talk.app.errands.bench.sweep.so_far()) == 6


async def test_a_depth_chosen_meanwhile_changes_no_measurement(talk: BenchTalk) -> None:
    async with talk.at(*SIZE):
        await talk.press("f6", "enter")
        count = len(talk.app.sent)
        await talk.press("plus")
        assert len(talk.app.sent) == count


async def test_keys_choose_what_is_measured(talk: BenchTalk) -> None:
    async with talk.at(*SIZE):
        await talk.press("f6", "k", "d", "p", "t")
        assert "code" in talk.text("#bench-plan")
        assert "depths 0–2, auto" in talk.text("#bench-plan")
        await talk.press("enter")
        assert {command.depth for command in talk.asked} == {0, 1, 2, None}
        assert {command.max_tokens for command in talk.asked} == {100}
        assert "of 4, code" in talk.text("#bench-state")


async def test_kinds_are_shown_one_at_a_time(talk: BenchTalk) -> None:
    async with talk.at(*SIZE):
        await talk.press("f6", *["k"] * 5, "p", "p", "enter")
        await talk.measures(10)
        assert "5/5" in talk.text("#bench-heading")
        await talk.press("right")
        assert "1/5" in talk.text("#bench-heading")
        assert "chat" in talk.text("#bench-heading")


async def test_an_earlier_result_is_opened_and_closed(talk: BenchTalk) -> None:
    keep_earlier(talk.app.places.bench)
    async with talk.at(*SIZE):
        await talk.press("f6", "o", "enter")
        assert "demo, 2027-01-14 09:30" in talk.text("#bench-heading")
        assert "depth 3 is fastest" in talk.text("#bench-state")
        await talk.press("escape")
        assert talk.screen.query_one("#bench-nothing").display


async def test_an_opened_result_hides_how_the_newest_run_ended(talk: BenchTalk) -> None:
    keep_earlier(talk.app.places.bench)
    async with talk.at(*SIZE):
        await talk.press("f6", "enter")
        await talk.dies()
        await talk.seen()
        assert "signal 9 · 0 of 8 prompts · nothing kept" in talk.text("#bench-state")
        await talk.press("o", "enter")
        assert talk.text("#bench-state").startswith("depth 3 is fastest")


async def test_another_width_gives_other_columns(talk: BenchTalk) -> None:
    async with talk.at(200, 60):
        await talk.press("f6", "enter")
        await talk.measures(2)
        assert "verify" in talk.text("#bench-table")
        await talk.pilot.resize_terminal(80, 24)
        await talk.seen()
        assert "verify" not in talk.text("#bench-table")
        assert "x plain" in talk.text("#bench-table")


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "noise"), (0.8, "faster"), (1.3, "slower")])
async def test_two_results_are_compared(talk: BenchTalk, factor: float, verdict: str) -> None:
    keep_earlier(talk.app.places.bench, factor)
    async with talk.at(*SIZE):
        await talk.press("f6", "enter")
        await talk.measures(8)
        await talk.press("c", "enter")
        lines = talk.text("#bench-changes").splitlines()
        assert all(line.endswith(verdict) for line in lines[2:])
        assert lines[1].endswith("noise")
        assert "against demo, 2027-01-14 09:30" in talk.text("#bench-heading")
        await talk.press("escape")
        assert not talk.screen.query_one("#bench-changes").display


async def test_a_broken_result_is_told_and_nothing_changes(talk: BenchTalk) -> None:
    talk.app.places.bench.mkdir(parents=True)
    (talk.app.places.bench / "broken.json").write_text('{"bench": 1, "answers": 7}')
    async with talk.at(*SIZE):
        await talk.press("f6", "c")
        assert "measure first" in talk.notices()[-1]
        await talk.press("o", "enter")
        assert "is no result of this bench" in talk.notices()[-1]
        assert talk.screen.query_one("#bench-nothing").display


async def test_without_an_earlier_result_it_says_so(talk: BenchTalk) -> None:
    async with talk.at(*SIZE):
        await talk.press("f6", "o")
        assert talk.notices() == ["no earlier result is kept"]


async def test_leaving_the_app_keeps_what_was_measured(talk: BenchTalk) -> None:
    async with talk.at(*SIZE):
        await talk.press("f6", "enter")
        await talk.measures(1)
    assert talk.app.errands.bench.stage is Stage.STOPPED
    assert len(results.kept(talk.app.places.bench)) == 1


async def test_without_a_model_it_says_what_to_do(talk: BenchTalk) -> None:
    async with talk.at(*SIZE, model=None):
        await talk.press("f6", "enter")
        assert talk.notices() == ["no model is loaded: ctrl+o opens one"]
        assert not any(isinstance(command, Generate) for command in talk.app.sent)


async def test_without_unicode_it_is_drawn_in_plain_signs(talk: BenchTalk) -> None:
    talk.app.terminal = type(talk.app.terminal)("xterm", False, True, 16, False, False)
    async with talk.at(*SIZE):
        await talk.press("f6", "enter")
        await talk.measures(2)
        assert talk.text("#bench-curve").isascii()
        assert talk.text("#bench-table").isascii()
        assert talk.screen.query_one(BenchCurve).display


def test_an_estimate_is_what_all_answers_take_at_plain_speed() -> None:
    assert estimate(Plan(), EngineView(), []) == ""
    plain, deep = answer(0, 0, 2.0), answer(0, 3, 1.0)
    assert (plain.tokens_per_s, deep.tokens_per_s) == (50, 100)
    assert estimate(Plan(prompts=8, max_tokens=200), EngineView(), [plain, deep]) == "at most 4 min"
    assert estimate(Plan(prompts=1, max_tokens=50), EngineView(), [plain]) == "under a minute"


def test_depths_are_told_as_ranges() -> None:
    assert depth_words((0, 1, 2, None), UNICODE) == "0–2, auto"
    assert depth_words((0, None), ASCII) == "0, auto"
