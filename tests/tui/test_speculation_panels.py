"""The panels of the speculation tab as text: acceptance, anatomy, one cycle, legend, heading."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import reduce

import pytest
from textual.content import Content

from engine.protocol import CycleDone, Ended, Event
from mtplx_tui.marks import ASCII, UNICODE, Marks
from mtplx_tui.view import EngineView, Log, RequestView, apply
from mtplx_tui.widgets.acceptance_bars import acceptance_page, depths_of
from mtplx_tui.widgets.cycle_anatomy import RECENT, anatomy_page, times_of, times_of_all
from mtplx_tui.widgets.cycle_detail import detail_page
from mtplx_tui.widgets.depth_legend import Tally, legend_line
from mtplx_tui.widgets.heading import Ends, heading_line
from mtplx_tui.widgets.tab_bar import TABS, tab_line
from tests.fakes import streams

WIDTHS = (38, 58, 76, 118)


def request_of(*events: Event) -> RequestView:
    view = reduce(apply, events, EngineView())
    assert view.newest is not None
    return view.newest


def counted(reached_at: tuple[int, ...], accepted_at: tuple[int, ...], depth: int) -> RequestView:
    pad = (0,) * (8 - len(reached_at))
    return RequestView("r", depth=depth, reached_at=reached_at + pad, accepted_at=accepted_at + pad)


def timed(*seconds: float, tokens: int = 2) -> CycleDone:
    """Return a cycle of these seconds: draft, verify, accept, total."""
    draft_s, verify_s, accept_s, total_s = seconds
    return replace(
        streams.cycles_of(count=1)[0],
        emitted=tuple(range(tokens)),
        draft_s=draft_s,
        verify_s=verify_s,
        accept_s=accept_s,
        total_s=total_s,
    )


def style_at(content: Content, text: str) -> set[str]:
    """Return the styles that a part of a content has."""
    start = content.plain.index(text)
    return {str(span.style) for span in content.spans if span.start <= start < span.end}


class TestAcceptance:
    def test_a_row_has_share_counts_and_interval(self) -> None:
        page = acceptance_page(counted((55, 49), (49, 36), 2), 60, UNICODE).plain.splitlines()
        assert page[0].split() == ["Acceptance", "at", "each", "depth", "accepted", "95", "%"]
        assert page[1].split()[0] == "¹"
        assert page[1].split()[2:] == ["89", "%", "49/55", "78–95"]
        assert page[2].split()[2:] == ["73", "%", "36/49", "60–84"]

    def test_the_bar_is_as_long_as_the_share_and_the_thin_line_ends_at_the_interval(self) -> None:
        row = acceptance_page(counted((40,), (20,), 1), 77, UNICODE).plain.splitlines()[1]
        cells = 48
        assert row.count("━") == cells // 2
        page = acceptance_page(counted((40,), (20,), 1), 77, UNICODE)
        thin = [
            span.end - span.start
            for span in page.spans
            if page.plain[span.start] == "─" and str(span.style) == "$depth-1"
        ]
        assert thin == [round(cells * 0.652) - cells // 2]

    def test_a_depth_that_is_drafted_to_but_not_reached_has_a_row(self) -> None:
        page = acceptance_page(counted((3,), (0,), 3), 60, UNICODE).plain.splitlines()
        assert len(page) == 4
        assert page[3].endswith("not reached")

    def test_a_depth_judged_before_keeps_its_row_when_the_depth_goes_down(self) -> None:
        assert depths_of(counted((9, 5, 2), (5, 2, 1), 1)) == 3

    def test_plain_decoding_says_that_it_drafts_nothing(self) -> None:
        page = acceptance_page(RequestView("r"), 60, UNICODE).plain
        assert page.splitlines()[1] == "plain decoding drafts nothing"

    @pytest.mark.parametrize("width", WIDTHS)
    @pytest.mark.parametrize("marks", [UNICODE, ASCII])
    def test_columns_end_where_their_titles_end(self, width: int, marks: Marks) -> None:
        request = counted((99_999, 90_000, 1), (98_765, 1, 1), 3)
        page = acceptance_page(request, width, marks).plain.splitlines()
        assert {len(line) for line in page} == {len(page[0])}
        assert len(page[0]) <= width
        assert page[0].rstrip().endswith("95 %")


class TestAnatomy:
    def test_the_host_has_what_the_other_parts_leave(self) -> None:
        times = times_of([timed(0.004, 0.010, 0.001, 0.016), timed(0.006, 0.012, 0.001, 0.020)])
        assert times is not None
        assert times.parts_ms == pytest.approx((5, 11, 1, 1))
        assert times.total_ms == pytest.approx(18)
        assert times.tokens_per_cycle == 2
        assert times.tokens_per_s == pytest.approx(4 / 0.036)

    def test_clocks_that_disagree_give_no_negative_host_time(self) -> None:
        times = times_of([timed(0.01, 0.01, 0.01, 0.029)])
        assert times is not None
        assert times.parts_ms[3] == 0

    def test_of_no_cycles_there_is_no_mean(self) -> None:
        assert times_of([]) is None
        assert times_of_all(RequestView("r")) is None

    def test_the_sums_of_the_view_give_the_means_of_its_cycles(self) -> None:
        request = request_of(*streams.answer())
        whole, each = times_of_all(request), times_of(list(request.cycles))
        assert whole is not None
        assert each is not None
        assert whole.parts_ms == pytest.approx(each.parts_ms)
        assert whole.tokens_per_s == pytest.approx(each.tokens_per_s)

    def test_rows_tell_milliseconds_of_the_last_cycles_and_of_all(self) -> None:
        old = [timed(0.002, 0.010, 0.001, 0.014)] * 10
        new = [timed(0.004, 0.020, 0.001, 0.026)] * RECENT
        request = request_of(streams.started(), *old, *new)
        page = anatomy_page(request, None, 60, UNICODE).plain.splitlines()
        assert page[0].split()[-3:] == ["last", "32", "all"]
        assert [line.split()[0] for line in page[1:5]] == ["draft", "verify", "accept", "host"]
        assert [line.split()[-2:] for line in page[1:6]] == [
            ["4.0", "3.5"],
            ["20.0", "17.6"],
            ["1.0", "1.0"],
            ["1.0", "1.0"],
            ["26.0", "23.1"],
        ]
        assert page[6].split()[-2:] == ["2.00", "2.00"]
        assert page[7].split()[-2:] == ["76.9", "86.4"]

    def test_a_chosen_cycle_stands_in_place_of_the_last_ones(self) -> None:
        slow = timed(0.040, 0.05, 0.001, 0.1)
        request = request_of(streams.started(), slow, *[timed(0.004, 0.01, 0.001, 0.016)] * 9)
        page = anatomy_page(request, 0, 60, UNICODE).plain.splitlines()
        assert page[0].split()[-2:] == ["this", "all"]
        assert page[1].split()[-2] == "40.0"

    def test_graphs_that_had_to_be_built_are_counted_where_there_are_any(self) -> None:
        new = timed(0.04, 0.1, 0.001, 0.16)
        cycles = [replace(new, graphs_built=2), *[timed(0.004, 0.01, 0.001, 0.016)] * RECENT]
        request = request_of(streams.started(), *cycles)
        page = anatomy_page(request, None, 60, UNICODE).plain.splitlines()
        assert page[-1].split() == ["graphs", "built", "0", "2"]
        page = anatomy_page(request, 0, 60, UNICODE).plain.splitlines()
        assert page[-1].split() == ["graphs", "built", "2", "2"]
        request = request_of(streams.started(), *cycles[1:])
        assert "graphs" not in anatomy_page(request, None, 60, UNICODE).plain

    @pytest.mark.parametrize("width", WIDTHS)
    def test_bars_follow_each_other_and_fill_the_width(self, width: int) -> None:
        request = request_of(streams.started(), timed(0.005, 0.01, 0.003, 0.02))
        page = anatomy_page(request, None, width, UNICODE).plain.splitlines()
        assert {len(line) for line in page} == {len(page[0])}
        spans = [(line.index("█"), line.rindex("█") + 1) for line in page[1:5]]
        assert spans[0][0] == 8
        assert spans[-1][1] == min(width - 16, 56)
        assert [end for _, end in spans[:-1]] == [start for start, _ in spans[1:]]
        assert spans[1][1] - spans[1][0] == pytest.approx((min(width - 16, 56) - 8) / 2, abs=1)

    def test_a_part_too_short_for_a_cell_is_still_seen(self) -> None:
        request = request_of(streams.started(), timed(0.0, 0.1, 0.0001, 0.1002))
        page = anatomy_page(request, None, 60, UNICODE).plain.splitlines()
        assert "█" not in page[1]
        assert "▏" not in page[1]
        assert "▏" in page[3]


class TestDetail:
    CYCLE = replace(
        streams.cycles_of(count=1)[0],
        cycle=31,
        depth=4,
        drafted_pieces=(" the", "\n", "\x1b", "  "),
        accepted=1,
        emitted=(1, 2),
        emitted_pieces=(" the", " 光"),
        ended=Ended.RESIDUAL,
    )

    def test_it_tells_where_it_is_what_was_drafted_and_what_came_of_it(self) -> None:
        assert detail_page(self.CYCLE, 59, 27, UNICODE).plain.splitlines() == [
            "‖ paused at cycle 32 of 59, 27 behind · 1 of 4 drafts accepted",
            "drafted  ¹the ✓  ²‹↵› ✗  ³· ·  ⁴␣ ·",
            "emitted  ¹the  ⁻光   one rejected: the residual",
        ]

    def test_the_rejected_draft_alone_is_struck_through(self) -> None:
        page = detail_page(self.CYCLE, 59, 0, UNICODE)
        assert "strike" in style_at(page, "‹↵›")
        assert "$depth-1" in style_at(page, "the ✓")
        assert sum("strike" in str(span.style) for span in page.spans) == 1

    def test_plain_decoding_has_no_drafts(self) -> None:
        cycle = streams.plain_cycles("r", ["a"])[0]
        assert detail_page(cycle, 1, 0, ASCII).plain.splitlines() == [
            "= paused at cycle 1 of 1 - no drafts",
            "drafted  nothing",
            "emitted  0a   no draft: one token from the trunk",
        ]

    def test_a_stop_that_emitted_nothing_says_so(self) -> None:
        cycle = replace(self.CYCLE, emitted=(), emitted_pieces=(), ended=Ended.STOP)
        page = detail_page(cycle, 32, 0, UNICODE).plain.splitlines()
        assert page[2] == "emitted  nothing   the answer ends here"


class TestLegend:
    def test_it_counts_each_kind_of_token_and_what_was_rejected(self) -> None:
        cycles = streams.cycles_of(count=50)
        tally = Tally()
        tally.follow(request_of(streams.started(), *cycles))
        shares = {depth: tally.kinds[depth] for depth in range(1, 9) if tally.kinds[depth]}
        line = legend_line(tally, 0, 118, UNICODE).plain
        signs = "".join(f"   {UNICODE.depths[depth]} {count}" for depth, count in shares.items())
        assert line.startswith(f"accepted{signs}   ⁺bonus ")
        assert sum(tally.kinds) == sum(len(c.emitted) for c in cycles)
        assert tally.rejected == sum(c.accepted < c.depth for c in cycles)
        for depth in range(1, 9):
            emitted = sum(min(c.accepted, len(c.emitted)) >= depth for c in cycles)
            assert tally.kinds[depth] == emitted

    def test_each_cycle_is_looked_at_once(self) -> None:
        cycles = streams.cycles_of(count=50)
        tally, whole = Tally(), Tally()
        log = Log[CycleDone]()
        for cycle in cycles:
            log = log.appended(cycle)
            tally.follow(RequestView("r", cycles=log))
        whole.follow(RequestView("r", cycles=log))
        assert (tally.kinds, tally.rejected) == (whole.kinds, whole.rejected)

    def test_another_answer_is_counted_from_its_start(self) -> None:
        tally, fresh = Tally(), Tally()
        tally.follow(request_of(*streams.answer("a", 40)))
        tally.follow(request_of(*streams.answer("b", 9)))
        fresh.follow(request_of(*streams.answer("b", 9)))
        assert tally == fresh

    def test_an_older_moment_of_the_same_answer_is_counted_anew(self) -> None:
        cycles = streams.cycles_of("r1", 40)
        tally, fresh = Tally(), Tally()
        tally.follow(request_of(streams.started(), *cycles))
        tally.follow(request_of(streams.started(), *cycles[:9]))
        fresh.follow(request_of(streams.started(), *cycles[:9]))
        assert tally == fresh

    def test_words_go_before_figures_do(self) -> None:
        tally = Tally()
        tally.follow(request_of(*streams.answer()))
        wide, narrow = (legend_line(tally, 3, width, UNICODE).plain for width in (118, 60))
        assert "bonus" in wide
        assert "bonus" not in narrow
        assert len(narrow) <= 60
        assert re.findall("[0-9]+", narrow) == re.findall("[0-9]+", wide)

    def test_no_number_is_ever_cut(self) -> None:
        tally = Tally()
        tally.follow(request_of(*streams.answer()))
        whole = re.findall("[0-9]+", legend_line(tally, 3, 118, UNICODE).plain)
        for width in range(60):
            line = legend_line(tally, 3, width, UNICODE).plain
            shown = re.findall("[0-9]+", line)
            assert len(line) <= width
            assert shown == whole[: len(shown)]

    def test_depths_to_come_are_named_before_anything_was_accepted(self) -> None:
        assert "³ 0" in legend_line(Tally(), 3, 118, UNICODE).plain

    def test_plain_decoding_has_nothing_but_plain_tokens(self) -> None:
        tally = Tally()
        cycles = streams.plain_cycles("r1", ["a", "b"])
        tally.follow(request_of(streams.started(depth=0), *cycles))
        assert legend_line(tally, 0, 118, UNICODE).plain == "⁰plain 2"


class TestHeading:
    ENDS = Ends(Content("a question"), Content("live"), Content("how it is drawn"))

    def test_the_aside_is_there_where_there_is_room(self) -> None:
        assert (
            heading_line(self.ENDS, 40, UNICODE).plain == "a question        how it is drawn   live"
        )
        assert heading_line(self.ENDS, 30, UNICODE).plain == "a question                live"

    def test_the_left_end_is_cut_and_the_cut_is_marked(self) -> None:
        assert heading_line(self.ENDS, 12, UNICODE).plain == "a que…  live"

    def test_a_long_question_does_not_push_the_aside_out_of_a_wide_line(self) -> None:
        ends = replace(self.ENDS, left=Content("why " * 50))
        line = heading_line(ends, 90, UNICODE).plain
        assert line.endswith("…  how it is drawn   live")
        assert len(line) == 90


@pytest.mark.parametrize("width", [26, 29, 33, 34, 40])
def test_no_figure_of_the_anatomy_is_cut_where_it_is_tight(width: int) -> None:
    slow = replace(timed(0.04, 0.1, 0.001, 0.16), graphs_built=2)
    request = request_of(streams.started(), slow, *streams.cycles_of(count=9))
    page = anatomy_page(request, None, width, UNICODE).plain.splitlines()
    assert page[-1].startswith("graphs")
    assert max(map(len, page)) <= width
    assert ("all" in page[0]) == (width >= 34)


@pytest.mark.parametrize("width", [60, 72, 76, 80, 120])
@pytest.mark.parametrize("active", [tab for tab, _ in TABS])
def test_every_tab_has_its_key_in_the_line(active: str, width: int) -> None:
    line = tab_line(active, width)
    assert line.cell_length <= width
    assert all(f"F{number}" in line.plain for number in range(2, 8))
    assert dict(TABS)[active] in line.plain
