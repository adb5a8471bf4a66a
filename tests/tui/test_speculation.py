"""The speculation tab as a person uses it: keys pressed while recorded events go by."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
from textual.widgets import Static

from engine.protocol import CycleDone, DepthSet, Ended, Event, SetDepth
from mtplx_tui.marks import UNICODE
from mtplx_tui.screens.speculation import SpeculationScreen
from mtplx_tui.widgets.acceptance_bars import AcceptanceBars
from mtplx_tui.widgets.cycle_detail import CycleDetail
from mtplx_tui.widgets.depth_legend import DepthLegend
from mtplx_tui.widgets.heading import Heading
from mtplx_tui.widgets.ribbon import Ribbon
from mtplx_tui.widgets.ribbon_lines import RibbonLines
from tests.fakes import streams
from tests.tui.chat_talk import Talk

QUESTION = "Why is the sky blue?"
HALF = 40


@pytest.fixture
def talk(tmp_path: Path) -> Talk:
    return Talk(tmp_path)


def first_half() -> list[Event]:
    return streams.answer()[:HALF]


def second_half() -> list[Event]:
    return streams.answer()[HALF:]


def cycles_in(events: list[Event]) -> list[CycleDone]:
    return [event for event in events if isinstance(event, CycleDone)]


async def watch(talk: Talk, events: Sequence[Event]) -> Ribbon:
    """Ask, have the events happen, and open the tab."""
    await talk.ask(QUESTION)
    await talk.plays(events)
    await talk.press("f3")
    return screen_of(talk).ribbon


def screen_of(talk: Talk) -> SpeculationScreen:
    screen = talk.app.screen
    assert isinstance(screen, SpeculationScreen)
    return screen


def text_of(talk: Talk, kind: type[Static]) -> str:
    return str(screen_of(talk).query_one(kind).content)


def rows_of(ribbon: Ribbon) -> list[str]:
    """Return the rows of the ribbon that are in sight."""
    return [ribbon.render_line(y).text.rstrip() for y in range(ribbon.size.height)]


def all_rows(ribbon: Ribbon, events: list[Event]) -> list[str]:
    """Return every row of an answer, laid out for this ribbon by itself."""
    lines = RibbonLines(UNICODE, ribbon.lines.width, has_drafts=False)
    lines.extend(cycles_in(events))
    return [
        "".join(text for _, _, text in lines.placed(line)).rstrip()
        for line in range(len(lines.starts))
    ]


class TestShowing:
    async def test_before_anything_was_asked_it_tells_how_to_read_what_will_come(
        self, talk: Talk
    ) -> None:
        async with talk.at(120, 40):
            await talk.press("f3")
            page = talk.text_of("#nothing")
            assert "Ask something in Chat (F2)" in page
            assert "the draft that was rejected" in page
            assert not screen_of(talk).ribbon.display

    async def test_without_a_model_it_says_which_key_opens_one(self, talk: Talk) -> None:
        async with talk.at(120, 40, model=None):
            await talk.press("f3")
            assert "ctrl+o opens one" in talk.text_of("#nothing")

    async def test_a_model_without_a_head_says_why(self, talk: Talk) -> None:
        async with talk.at(120, 40, model=streams.PLAIN_MODEL):
            await talk.press("f3")
            assert "not supported yet" in talk.text_of("#nothing")
            assert text_of(talk, DepthLegend) == "⁰plain 0"

    async def test_tokens_read_before_the_tab_was_opened_are_there(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            ribbon = await watch(talk, streams.answer())
            await talk.press("d")
            assert rows_of(ribbon)[: len(all_rows(ribbon, streams.answer()))] == all_rows(
                ribbon, streams.answer()
            )

    async def test_tokens_appear_as_they_come(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            ribbon = await watch(talk, first_half())
            await talk.press("d")
            for event in second_half():
                await talk.plays([event])
            whole = all_rows(ribbon, streams.answer())
            assert rows_of(ribbon)[: len(whole)] == whole

    async def test_the_counts_are_those_of_the_cycles(self, talk: Talk) -> None:
        events = streams.answer()
        async with talk.at(120, 40):
            await watch(talk, events)
            cycles = cycles_in(events)
            reached = sum(c.depth >= 1 for c in cycles)
            accepted = sum(c.accepted >= 1 for c in cycles)
            assert f"{accepted}/{reached}" in text_of(talk, AcceptanceBars)
            residuals = sum(0 < c.depth > c.accepted < len(c.emitted) for c in cycles)
            assert f"⁻residual {residuals}" in text_of(talk, DepthLegend)

    async def test_the_heading_tells_question_options_and_state(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await watch(talk, first_half())
            assert text_of(talk, Heading).startswith(QUESTION)
            assert "demo · token rule · seed 7" in text_of(talk, Heading)
            assert text_of(talk, Heading).endswith("live")
            await talk.plays(second_half())
            await talk.press("f2", "f3")
            assert "finished" in text_of(talk, Heading)

    async def test_model_text_is_never_markup_nor_steers_the_terminal(self, talk: Talk) -> None:
        pieces = ["[bold]x[/]", "\x1b[2J", "[@click=app.exit]y", "\r"]
        async with talk.at(120, 40):
            cycles = streams.plain_cycles("r1", pieces)
            ribbon = await watch(talk, [streams.started(), *cycles])
            assert rows_of(ribbon)[0] == "⁰[bold]x[/]·[2J[@click=app.exit]y·"

    async def test_rejected_drafts_stand_beneath_struck_through(self, talk: Talk) -> None:
        cycle = streams.cycles_of(count=1)[0]
        made = replace(
            cycle,
            depth=2,
            accepted=1,
            ended=Ended.RESIDUAL,
            drafted_pieces=(" the", " red"),
            emitted_pieces=(" the", " sky"),
            emitted=(1, 2),
        )
        async with talk.at(120, 40):
            ribbon = await watch(talk, [streams.started(), made])
            assert rows_of(ribbon)[:2] == [" ¹the ⁻sky", "      ²‹red›"]
            struck = [
                s.text
                for s in ribbon.render_line(1)
                if s.style is not None and s.style.strike is True
            ]
            assert struck == ["red"]
            await talk.press("d")
            assert rows_of(ribbon)[:2] == [" ¹the ⁻sky", ""]

    async def test_each_depth_has_its_colour_and_no_two_kinds_look_alike(self, talk: Talk) -> None:
        cycle = streams.cycles_of(count=1)[0]
        pieces = tuple(f" {letter}" for letter in "abcdefghi")
        made = replace(
            cycle,
            depth=8,
            accepted=8,
            drafted_pieces=pieces[:8],
            emitted_pieces=pieces,
            emitted=tuple(range(9)),
        )
        rejected = replace(
            cycle, depth=1, accepted=0, drafted_pieces=(" x",), emitted_pieces=(" j",), emitted=(1,)
        )
        events = [streams.started(), made, rejected, *streams.plain_cycles("r1", [" k"])]
        async with talk.at(120, 40):
            ribbon = await watch(talk, events)
            looks = [segment.style for segment in ribbon.render_line(0) if segment.text.strip()]
            assert len(looks) == 11
            assert len(set(looks)) == 11
            for depth in range(1, 9):
                style = looks[depth - 1]
                wanted = talk.app.theme_variables[f"depth-{depth}"]
                assert style is not None
                assert style.color is not None
                assert style.color.get_truecolor().hex.lower() == wanted.lower()


class TestPausing:
    async def test_a_paused_view_is_frozen_while_events_go_on(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            ribbon = await watch(talk, first_half())
            await talk.press("space")
            rows, counts = rows_of(ribbon), text_of(talk, AcceptanceBars)
            await talk.plays(second_half())
            await talk.rest()
            assert rows_of(ribbon) == rows
            assert text_of(talk, AcceptanceBars) == counts
            assert len(cycles_in(second_half())) > 10
            assert f"{len(cycles_in(second_half()))} behind" in text_of(talk, CycleDetail)
            assert text_of(talk, Heading).endswith("paused")

    @pytest.mark.parametrize("key", ["space", "end", "escape"])
    async def test_going_on_live_shows_all_that_came_meanwhile(self, talk: Talk, key: str) -> None:
        async with talk.at(120, 40):
            ribbon = await watch(talk, first_half())
            await talk.press("space")
            await talk.plays(second_half())
            await talk.press(key)
            assert ribbon.lines.taken == len(cycles_in(streams.answer()))
            assert not screen_of(talk).query_one(CycleDetail).display

    async def test_left_and_right_walk_cycle_by_cycle(self, talk: Talk) -> None:
        cycles = len(cycles_in(first_half()))
        async with talk.at(120, 40):
            await watch(talk, first_half())
            seen = []
            for key in ("left", "left", "right", "right", "right", "home", "left", "h", "l"):
                await talk.press(key)
                seen.append(text_of(talk, CycleDetail).split(" of ")[0].split()[-1])
            want = [cycles - 1, cycles - 2, cycles - 1, cycles, cycles, 1, 1, 1, 2]
            assert seen == [str(number) for number in want]

    async def test_the_cycle_stood_at_is_marked_and_in_sight(self, talk: Talk) -> None:
        async with talk.at(80, 24):
            ribbon = await watch(talk, streams.answer(count=400))
            for keys in (["home"], ["right"] * 3, ["end", "left"]):
                await talk.press(*keys)
                selected = screen_of(talk)._walk.selected
                assert selected is not None
                rows = ribbon.lines.rows_of_cycle(selected)
                top = ribbon.scroll_offset.y
                assert top <= rows.start
                assert rows.stop <= top + ribbon.size.height
                marked = ribbon._paint("selected").bgcolor
                backgrounds = {
                    s.style.bgcolor
                    for s in ribbon.render_line(rows.start - top)
                    if s.style is not None
                }
                assert marked in backgrounds

    async def test_a_click_on_a_token_opens_its_cycle(self, talk: Talk) -> None:
        async with talk.at(120, 40) as driven:
            ribbon = await watch(talk, first_half())
            for token, column, _ in ribbon.lines.placed(0):
                await driven.pilot.click(Ribbon, offset=(column, 0))
                await talk.settle()
                number = ribbon.lines.cycles[token] + 1
                assert f"paused at cycle {number} of" in text_of(talk, CycleDetail)
                if number > 3:
                    break


class TestAnswers:
    async def test_brackets_go_to_other_answers(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            for count, question in ((30, "One?"), (50, "Two?"), (40, "Three?")):
                await talk.ask(question)
                await talk.plays(streams.answer(count=count))
            await talk.press("f3")
            seen = []
            for key in ("[", "[", "[", "]", "]"):
                await talk.press({"[": "left_square_bracket", "]": "right_square_bracket"}[key])
                seen.append(
                    (text_of(talk, Heading).split("  ")[1], screen_of(talk).ribbon.lines.taken)
                )
            assert seen == [("Two?", 50), ("One?", 30), ("One?", 30), ("Two?", 50), ("Three?", 40)]
            assert text_of(talk, Heading).startswith("‹ 3/3 ›")

    async def test_a_new_answer_takes_the_place_of_a_finished_one(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            ribbon = await watch(talk, streams.answer())
            await talk.press("f2")
            await talk.ask("And at night?")
            await talk.plays(streams.answer(count=9))
            await talk.press("f3")
            assert ribbon.lines.taken == 9
            assert "And at night?" in text_of(talk, Heading)


class TestDepth:
    @pytest.mark.parametrize(
        ("keys", "depths"),
        [
            (["plus"], [4]),
            (["minus"], [2]),
            (["alt+up", "alt+up"], [4, 5]),
            (["alt+down"] * 4, [2, 1, 0, 0]),
            (["plus"] * 6, [4, 5, 6, 7, 8, 8]),
        ],
    )
    async def test_keys_change_the_depth_sent_to_the_engine(
        self, talk: Talk, keys: list[str], depths: list[int]
    ) -> None:
        async with talk.at(120, 40):
            await watch(talk, streams.answer()[:20])
            await talk.press(*keys)
            sent = [command for command in talk.app.sent if isinstance(command, SetDepth)]
            assert sent == [SetDepth(talk.generates[-1].request, depth) for depth in depths]

    async def test_the_status_bar_shows_the_depth_once_the_engine_has_it(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await watch(talk, streams.answer()[:20])
            assert "depth 3 ·" in talk.status()
            await talk.press("plus")
            assert "depth 3 ·" in talk.status()
            await talk.plays([DepthSet("r1", 4)])
            assert "depth 4 ·" in talk.status()

    async def test_between_answers_the_depth_is_the_next_ones(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await talk.press("f3", "plus", "plus")
            await talk.rest()
            assert "depth 2 ·" in talk.status()
            assert "² 0" in text_of(talk, DepthLegend)
            await talk.press("f2")
            await talk.ask(QUESTION)
            assert talk.generates[-1].depth == 2
            assert not [command for command in talk.app.sent if isinstance(command, SetDepth)]

    async def test_a_model_without_a_head_says_that_depth_does_nothing(self, talk: Talk) -> None:
        async with talk.at(120, 40, model=streams.PLAIN_MODEL):
            await talk.press("f3", "plus")
            assert talk.notices() == ["this model has no head: it decodes plainly"]


class TestScrolling:
    async def test_it_follows_the_newest_token(self, talk: Talk) -> None:
        async with talk.at(80, 24):
            ribbon = await watch(talk, streams.answer(count=200)[:90])
            assert ribbon.scroll_offset.y == ribbon.max_scroll_y > 0
            await talk.plays(streams.answer(count=200)[90:150])
            assert ribbon.scroll_offset.y == ribbon.max_scroll_y

    async def test_page_keys_scroll_and_new_tokens_leave_the_place(self, talk: Talk) -> None:
        async with talk.at(80, 24):
            ribbon = await watch(talk, streams.answer(count=200)[:90])
            end = ribbon.scroll_offset.y
            await talk.press("pageup")
            assert ribbon.scroll_offset.y == end - (ribbon.size.height - 1)
            await talk.press("up")
            place, rows = ribbon.scroll_offset.y, rows_of(ribbon)
            await talk.plays(streams.answer(count=200)[90:150])
            assert (ribbon.scroll_offset.y, rows_of(ribbon)) == (place, rows)
            await talk.press("pagedown", "down")
            assert ribbon.scroll_offset.y == end
            await talk.press("end")
            assert ribbon.scroll_offset.y == ribbon.max_scroll_y > end

    async def test_a_resize_keeps_the_token_at_the_top(self, talk: Talk) -> None:
        async with talk.at(120, 40) as driven:
            ribbon = await watch(talk, streams.answer(count=400))
            await talk.press("pageup", "pageup")
            top = ribbon._token_at(ribbon.scroll_offset.y)
            assert top is not None
            for size in ((90, 30), (200, 60), (120, 40)):
                await driven.pilot.resize_terminal(*size)
                await talk.settle()
                line = ribbon.lines.line(ribbon.lines.rows[ribbon.scroll_offset.y] // 2)
                assert (
                    ribbon.lines.cycles[line[0]]
                    <= ribbon.lines.cycles[top]
                    <= ribbon.lines.cycles[line[-1]]
                )

    async def test_a_resize_while_following_goes_on_following(self, talk: Talk) -> None:
        async with talk.at(120, 40) as driven:
            ribbon = await watch(talk, streams.answer(count=400))
            for size in ((80, 24), (200, 60)):
                await driven.pilot.resize_terminal(*size)
                await talk.settle()
                assert ribbon.scroll_offset.y == ribbon.max_scroll_y > 0

    async def test_a_resize_keeps_the_cycle_stood_at_in_sight(self, talk: Talk) -> None:
        async with talk.at(120, 40) as driven:
            ribbon = await watch(talk, streams.answer(count=400))
            await talk.press(*["left"] * 30)
            selected = screen_of(talk)._walk.selected
            assert selected is not None
            for size in ((80, 24), (200, 60)):
                await driven.pilot.resize_terminal(*size)
                await talk.settle()
                rows = ribbon.lines.rows_of_cycle(selected)
                assert ribbon.scroll_offset.y <= rows.start
                assert rows.stop <= ribbon.scroll_offset.y + ribbon.size.height


class TestHidden:
    async def test_a_hidden_tab_does_nothing_and_is_up_to_date_when_it_comes_back(
        self, talk: Talk
    ) -> None:
        async with talk.at(120, 40):
            ribbon = await watch(talk, first_half())
            await talk.press("f2")
            taken = ribbon.lines.taken
            with counted(Ribbon, "show") as shows, counted(AcceptanceBars, "show") as bars:
                await talk.plays(second_half())
                assert (shows, bars, ribbon.lines.taken) == ([], [], taken)
            await talk.press("f3")
            assert ribbon.lines.taken == len(cycles_in(streams.answer()))
            assert "finished" in text_of(talk, Heading)
            assert ribbon.scroll_offset.y == ribbon.max_scroll_y

    async def test_a_pause_outlives_a_look_at_another_tab(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            ribbon = await watch(talk, first_half())
            await talk.press("space", "left", "f2")
            await talk.plays(second_half())
            await talk.press("f3")
            assert ribbon.lines.taken == len(cycles_in(first_half()))
            assert text_of(talk, Heading).endswith("paused")


class TestCost:
    """With 100,000 tokens a batch costs what its own rows cost."""

    TOKENS = 100_000

    def cycles(self) -> list[CycleDone]:
        """Return cycles of five tokens each, of which the chat sees nothing."""
        pieces = (streams.pieces_of(streams.TEXT) * 600)[: self.TOKENS]
        shape = replace(streams.cycles_of(count=1)[0], depth=4, accepted=4, ended=Ended.BONUS)
        shape = replace(shape, runs=(), emitted=(1, 2, 3, 4, 5))
        return [
            replace(shape, cycle=at // 5, emitted_pieces=tuple(pieces[at : at + 5]))
            for at in range(0, self.TOKENS, 5)
        ]

    async def test_a_batch_lays_and_paints_only_what_changed(self, talk: Talk) -> None:
        cycles = self.cycles()
        async with talk.at(120, 40):
            ribbon = await watch(talk, [streams.started(depth=4), *cycles[:-40]])
            assert len(ribbon.lines.texts) == self.TOKENS - 200
            with (
                counted(Ribbon, "_paint_tokens") as painted,
                counted(RibbonLines, "_take") as taken,
                counted(RibbonLines, "rewrap") as rewraps,
            ):
                before = len(ribbon.lines.rows)
                for at in range(-40, 0):
                    await talk.plays([cycles[at]])
                grown = len(ribbon.lines.rows) - before
            assert len(taken) == 40
            assert len(painted) <= 40 + grown
            assert rewraps == []

    async def test_walking_and_scrolling_paint_only_what_comes_into_sight(self, talk: Talk) -> None:
        cycles = self.cycles()
        async with talk.at(120, 40):
            ribbon = await watch(talk, [streams.started(depth=4), *cycles])
            height = ribbon.size.height
            with counted(Ribbon, "_paint_tokens") as painted:
                await talk.press("left", "left", "home")
            assert len(painted) <= 2 * height
            with counted(Ribbon, "_paint_tokens") as painted:
                await talk.press("end", "pageup")
            assert len(painted) <= 2 * height


@contextmanager
def counted(owner: type, name: str) -> Generator[list[tuple[object, ...]]]:
    """Note the calls of a method, and make them all the same."""
    calls: list[tuple[object, ...]] = []
    method = getattr(owner, name)

    def noting(self: object, *arguments: object, **options: object) -> object:
        calls.append(arguments)
        return method(self, *arguments, **options)

    with patch.object(owner, name, noting):
        yield calls
