"""Traces in the speculation tab: saved, replayed at any speed, laid side by side; and depths."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Input, Static

from engine.protocol import PROTOCOL_VERSION, CycleDone
from mtplx_tui.forecast import forecasts
from mtplx_tui.marks import ASCII, UNICODE, Marks
from mtplx_tui.replay import INSTANT
from mtplx_tui.screens.trace_pair import TracePair
from mtplx_tui.traces import read_trace, write_trace
from mtplx_tui.widgets.acceptance_bars import AcceptanceBars
from mtplx_tui.widgets.depth_forecast import DepthForecast, forecast_page
from mtplx_tui.widgets.heading import Heading
from mtplx_tui.widgets.ribbon import Ribbon
from tests.fakes import streams
from tests.tui.chat_talk import Talk
from tests.tui.test_speculation import rows_of, screen_of, text_of, watch
from tests.tui.test_speculation_panels import request_of


@pytest.fixture
def talk(tmp_path: Path) -> Talk:
    return Talk(tmp_path)


def put_trace(talk: Talk, name: str = "old.jsonl", seed: int = 8) -> Path:
    path = talk.app.places.traces / name
    write_trace(path, [*streams.loading(), *streams.answer("t1", seed=seed)])
    return path


async def replayed(talk: Talk, speed: float = INSTANT) -> None:
    """Open the trace there is, and let it come to its end."""
    await talk.press("o", "enter")
    replay = screen_of(talk).replay
    assert replay is not None
    replay.speed = speed
    await talk.until(lambda: replay.is_over)
    await talk.rest()


class TestSaving:
    async def test_a_saved_trace_is_the_answer_as_it_was_said(self, talk: Talk) -> None:
        events = streams.answer()
        async with talk.at(120, 40):
            ribbon = await watch(talk, events)
            rows = rows_of(ribbon)
            await talk.press("s")
            (path,) = talk.app.places.traces.iterdir()
            assert talk.notices() == [f"saved as {path}"]
            trace = read_trace(path)
            assert trace.note == ""
            assert trace.header.model == "demo"
            assert len(trace.events) == len(events) + 1
            await replayed(talk)
            assert rows_of(screen_of(talk).ribbon) == rows

    async def test_before_an_answer_there_is_nothing_to_save(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await talk.press("f3", "s", "c")
            assert [notice.split(" yet")[0] for notice in talk.notices()] == [
                "there is no answer to save",
                "there is no answer to compare",
            ]
            assert not talk.app.places.traces.exists()

    async def test_a_folder_that_cannot_be_written_is_told(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await watch(talk, streams.answer())
            talk.app.places.data.mkdir(parents=True, exist_ok=True)
            talk.app.places.traces.write_text("in the way")
            await talk.press("s")
            assert talk.notices()[0].startswith("trace not saved: ")


class TestReplaying:
    async def test_a_replay_drives_the_same_screen_and_leaves_the_engine_alone(
        self, talk: Talk
    ) -> None:
        put_trace(talk)
        async with talk.at(120, 40):
            await watch(talk, streams.answer()[:30])
            live = text_of(talk, AcceptanceBars)
            await replayed(talk)
            assert screen_of(talk).ribbon.lines.taken == 60
            assert text_of(talk, Heading).startswith("trace old.jsonl")
            assert text_of(talk, AcceptanceBars) != live
            await talk.plays(streams.answer()[30:])
            assert screen_of(talk).ribbon.lines.taken == 60
            await talk.press("escape")
            await talk.rest()
            assert screen_of(talk).replay is None
            assert "Why is the sky blue?" in text_of(talk, Heading)

    async def test_keys_change_the_speed_and_space_holds_it(self, talk: Talk) -> None:
        put_trace(talk)
        async with talk.at(120, 40):
            await talk.press("f3", "o", "enter", "comma", "comma")
            replay = screen_of(talk).replay
            assert replay is not None
            assert replay.speed == 0.25
            await talk.until(
                lambda: replay.view.newest is not None and len(replay.view.newest.cycles) > 0
            )
            await talk.press("space")
            assert replay.is_held
            await talk.press("space", *["full_stop"] * 9)
            assert (replay.is_held, replay.speed) == (False, INSTANT)
            await talk.until(lambda: replay.is_over)

    async def test_a_hidden_replay_stands_still(self, talk: Talk) -> None:
        put_trace(talk)
        async with talk.at(120, 40):
            await talk.press("f3", "o", "enter", "comma", "comma", "f2")
            assert talk.app.screen is not None
            ticking = talk.app._screen_stacks["speculation"][0]
            assert getattr(ticking, "_ticking", 1) is None

    async def test_a_cut_trace_is_shown_with_a_note(self, talk: Talk) -> None:
        path = put_trace(talk)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) * 6 // 10])
        async with talk.at(120, 40):
            await talk.press("f3")
            await replayed(talk)
            assert talk.notices()[0].startswith("old.jsonl: cut in line")
            assert screen_of(talk).ribbon.lines.taken > 5

    async def test_what_is_no_trace_is_one_notice_and_changes_nothing(self, talk: Talk) -> None:
        put_trace(talk).write_text('{"trace": 1}\n')
        async with talk.at(120, 40):
            ribbon = await watch(talk, streams.answer())
            await talk.press("o", "enter")
            assert talk.notices() == [
                f"old.jsonl is a trace of version 1; this program reads {PROTOCOL_VERSION}"
            ]
            assert screen_of(talk).replay is None
            assert ribbon.lines.taken == 60

    async def test_another_file_is_asked_for_by_its_path(self, talk: Talk, tmp_path: Path) -> None:
        path = tmp_path / "elsewhere.jsonl"
        write_trace(path, streams.answer("t1"))
        async with talk.at(120, 40):
            await talk.press("f3", "o", "enter", *"none", "enter")
            assert "can't be read" in talk.text_of(".dialog--error")
            talk.app.screen.query_one(Input).value = str(path)
            await talk.press("enter")
            assert screen_of(talk).replay is not None


class TestSideBySide:
    @pytest.mark.parametrize("size", [(80, 24), (120, 40)])
    async def test_both_answers_and_their_difference_are_shown(
        self, talk: Talk, size: tuple[int, int]
    ) -> None:
        put_trace(talk)
        async with talk.at(*size):
            await watch(talk, streams.answer())
            await talk.press("c", "enter")
            assert isinstance(talk.app.screen, TracePair)
            await talk.until(
                lambda: all(r.lines.taken == 60 for r in talk.app.screen.query(Ribbon))
            )
            text = str(talk.app.screen.query_one("#difference", Static).content)
            assert "they part at token" in text
            assert "tokens a second" in text
            await talk.press("pagedown", "down", "up", "escape")
            assert not isinstance(talk.app.screen, TracePair)


class TestDepths:
    @pytest.mark.parametrize("marks", [UNICODE, ASCII])
    @pytest.mark.parametrize("width", [58, 76, 118])
    def test_rows_tell_estimates_from_measurements(self, width: int, marks: Marks) -> None:
        request = request_of(*streams.answer())
        page = forecast_page(request, width, marks).plain.splitlines()
        known = forecasts(request)
        assert len(page) == 2 + len(known) == 11
        assert {len(line) for line in page[:-1]} == {len(page[0])}
        assert len(page[0]) <= width
        for line, each in zip(page[1:-1], known, strict=True):
            assert ("~" in line) == (not each.tokens_per_s.is_measured)
        measured = {each.depth for each in known if each.tokens_per_s.is_measured}
        assert {0, 3}.issubset(measured)
        assert 7 not in measured
        assert page[-1].startswith("against plain decoding: ")

    def test_without_plain_cycles_it_says_that_nothing_was_measured(self) -> None:
        cycles = [c for c in streams.answer() if not isinstance(c, CycleDone) or c.depth]
        assert forecast_page(request_of(*cycles), 76, UNICODE).plain.endswith("saving not measured")

    @pytest.mark.parametrize(("columns", "is_alone"), [(80, True), (120, True), (200, False)])
    async def test_p_shows_it_where_there_is_no_room_for_all(
        self, talk: Talk, columns: int, is_alone: bool
    ) -> None:
        async with talk.at(columns, 40 if columns < 200 else 60):
            await watch(talk, streams.answer())
            await talk.rest()
            forecast = talk.app.screen.query_one(DepthForecast)
            bars = talk.app.screen.query_one(AcceptanceBars)
            assert forecast.styles.display == ("none" if is_alone else "block")
            await talk.press("p")
            assert forecast.styles.display == "block"
            assert bars.styles.display == ("none" if is_alone else "block")
            assert "What each depth would give" in str(forecast.content)
