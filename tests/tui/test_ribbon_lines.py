"""Where each token of the ribbon stands: marks, wrapping, wide signs, and what stands beneath."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from rich.cells import cell_len

from engine.protocol import CycleDone, Ended
from mtplx_tui.marks import ASCII, UNICODE, Marks
from mtplx_tui.widgets.ribbon_lines import (
    BONUS,
    PLAIN,
    RESIDUAL,
    Drafts,
    RibbonLines,
    kind_of,
    mark_of,
    shown,
)
from tests.fakes import streams

CONTROL = "a\x1b[31mb\x07\x00\x9b"


def cycle(
    emitted: Sequence[str],
    *,
    accepted: int = 0,
    rejected: Sequence[str] = (),
    ended: Ended | None = None,
) -> CycleDone:
    """Return a cycle that drafted what it accepted and then what was rejected."""
    depth = accepted + len(rejected)
    drafted = (*emitted[:accepted], *rejected)
    if ended is None:
        ended = Ended.RESIDUAL if rejected else Ended.BONUS if depth else Ended.PLAIN
    return CycleDone(
        request="r",
        cycle=0,
        depth=depth,
        drafted=tuple(range(depth)),
        drafted_pieces=drafted,
        accepted=accepted,
        emitted=tuple(range(len(emitted))),
        emitted_pieces=tuple(emitted),
        ended=ended,
        runs=(),
        draft_s=0.0,
        verify_s=0.0,
        accept_s=0.0,
        total_s=0.0,
    )


def laid(
    *cycles: CycleDone, width: int = 40, marks: Marks = UNICODE, has_drafts: bool = True
) -> RibbonLines:
    lines = RibbonLines(marks, width, has_drafts=has_drafts)
    lines.extend(cycles)
    return lines


def texts(lines: RibbonLines) -> list[str]:
    """Return what each line shows."""
    return ["".join(text for _, _, text in lines.placed(line)) for line in range(len(lines.starts))]


def plain(*pieces: str) -> list[CycleDone]:
    return [cycle([piece]) for piece in pieces]


class TestKinds:
    def test_an_accepted_draft_is_of_its_depth(self) -> None:
        made = cycle(["a", "b", "c"], accepted=2, rejected=["x"])
        assert [kind_of(made, index) for index in range(3)] == [1, 2, RESIDUAL]

    def test_the_token_after_drafts_that_were_all_accepted_is_the_bonus(self) -> None:
        assert kind_of(cycle(["a", "b"], accepted=1), 1) == BONUS

    def test_without_drafts_a_token_is_plain(self) -> None:
        assert kind_of(cycle(["a"]), 0) == PLAIN

    @pytest.mark.parametrize("ended", [Ended.STOP, Ended.LENGTH])
    def test_what_ended_the_run_does_not_change_a_kind(self, ended: Ended) -> None:
        assert kind_of(cycle(["a"], rejected=["x"], ended=ended), 0) == RESIDUAL
        assert kind_of(cycle(["a"], accepted=1, ended=ended), 0) == 1

    @pytest.mark.parametrize("marks", [UNICODE, ASCII])
    def test_every_kind_has_a_mark_of_its_own_one_cell_wide(self, marks: Marks) -> None:
        signs = [mark_of(kind, marks) for kind in range(RESIDUAL + 1)]
        assert len(set(signs)) == len(signs)
        assert {cell_len(sign) for sign in signs} == {1}


class TestShown:
    @pytest.mark.parametrize(
        ("piece", "expected"),
        [
            (" the", " the"),
            ("\n\n", "↵↵"),
            ("\ta", "⇥a"),
            (CONTROL, "a·[31mb···"),
            ("光", "光"),
            ("e\u0301", "e\u0301"),
            ("☀\ufe0f", "☀"),
            ("\u200b", "·"),
            ("\u202e", "·"),
            ("\ud800", "·"),
            ("", ""),
        ],
    )
    def test_a_piece_is_one_line_that_steers_nothing(self, piece: str, expected: str) -> None:
        assert shown(piece, UNICODE) == expected

    def test_ascii_marks_stand_for_control_characters(self) -> None:
        assert shown("\n\t\x1b", ASCII) == "~_?"


class TestMarks:
    def test_one_mark_stands_before_a_run_of_tokens_of_one_kind(self) -> None:
        assert texts(laid(*plain("The", " sky", " is"))) == ["⁰The sky is"]

    def test_each_change_of_kind_has_a_mark_behind_the_blanks(self) -> None:
        lines = laid(
            cycle(["The", " sky", " is"], accepted=2),
            cycle([" blue", "."], accepted=1, rejected=["x"]),
        )
        assert texts(lines) == ["¹The ²sky ⁺is ¹blue⁻."]

    def test_a_line_begins_with_a_mark_even_within_a_run(self) -> None:
        assert texts(laid(*plain("four", " four", " four"), width=11)) == ["⁰four four", "⁰four"]

    def test_the_stop_has_a_sign(self) -> None:
        lines = laid(cycle(["end", "<x>"], accepted=2, ended=Ended.STOP))
        assert texts(lines) == ["¹end²<x>■"]

    def test_a_stop_that_emitted_nothing_is_no_token(self) -> None:
        lines = laid(*plain("a"), cycle([], ended=Ended.STOP))
        assert texts(lines) == ["⁰a"]
        assert lines.taken == 2


class TestWrapping:
    def test_a_newline_ends_its_line(self) -> None:
        assert texts(laid(*plain("a", "\n", "b", ".\n\n", "c"))) == ["⁰a↵", "⁰b.↵↵", "⁰c"]

    def test_a_newline_within_a_piece_ends_nothing(self) -> None:
        assert texts(laid(*plain("a\nb", "c"))) == ["⁰a↵bc"]

    def test_a_line_is_filled_to_its_last_cell(self) -> None:
        assert texts(laid(*plain("aaaa", "bbbb", "c"), width=9)) == ["⁰aaaabbbb", "⁰c"]

    def test_the_blank_where_a_line_was_broken_is_pulled_in(self) -> None:
        assert texts(laid(*plain("aaaa", " bbb"), width=6)) == ["⁰aaaa", "⁰bbb"]

    def test_the_blank_after_a_newline_stays(self) -> None:
        assert texts(laid(*plain("a\n", "    b"))) == ["⁰a↵", "    ⁰b"]

    def test_a_wide_sign_takes_two_cells(self) -> None:
        assert texts(laid(*plain("青", "い", "光"), width=5)) == ["⁰青い", "⁰光"]

    def test_a_combining_sign_takes_none(self) -> None:
        assert texts(laid(*plain("e\u0301", "x", "y"), width=4)) == ["⁰e\u0301xy"]

    def test_a_token_wider_than_the_line_has_one_of_its_own(self) -> None:
        assert texts(laid(*plain("a", "x" * 30, "b"), width=10)) == ["⁰a", "⁰" + "x" * 30, "⁰b"]

    @pytest.mark.parametrize("width", [4, 9, 20, 33, 78, 200])
    @pytest.mark.parametrize("marks", [UNICODE, ASCII])
    def test_no_line_is_wider_than_the_ribbon(self, width: int, marks: Marks) -> None:
        cycles = streams.cycles_of(count=80)
        lines = laid(*cycles, width=width, marks=marks)
        for number, text in enumerate(texts(lines)):
            assert cell_len(text) <= width or len(lines.line(number)) == 1

    def test_a_column_tells_where_the_mark_of_a_token_stands(self) -> None:
        lines = laid(*streams.cycles_of(count=80), width=60)
        for number, text in enumerate(texts(lines)):
            for token, column, own in lines.placed(number):
                before = "".join(t for at, _, t in lines.placed(number) if at < token)
                blanks = len(own) - len(own.lstrip(" "))
                assert column == cell_len(before) + blanks
                assert text.startswith(before + own)

    def test_all_text_is_there_once(self) -> None:
        cycles = streams.cycles_of(count=60)
        pieces = [shown(p, UNICODE) for made in cycles for p in made.emitted_pieces]
        signs = str.maketrans("", "", "".join((*UNICODE.depths, "⁺⁻■ ")))
        want = "".join(pieces).translate(signs)
        assert "".join(texts(laid(*cycles, width=50))).translate(signs) == want


class TestDrafts:
    def test_the_rejected_draft_stands_beneath_the_token_in_its_place(self) -> None:
        lines = laid(cycle(["a", " b"], accepted=1, rejected=[" x", "\n", "  "]))
        assert lines.drafts == {1: Drafts(2, "x", ("↵", "␣"))}
        assert list(lines.rows) == [0, 1]

    def test_a_line_without_rejected_drafts_has_no_row_beneath(self) -> None:
        lines = laid(*plain("a\n", "b\n"), cycle(["c"], rejected=["x"]))
        assert list(lines.rows) == [0, 2, 4, 5]

    def test_hidden_drafts_take_no_row(self) -> None:
        lines = laid(cycle(["c"], rejected=["x"]), has_drafts=False)
        assert list(lines.rows) == [0]
        lines.rewrap(40, has_drafts=True)
        assert list(lines.rows) == [0, 1]

    def test_drafts_behind_a_stop_were_not_rejected(self) -> None:
        lines = laid(cycle(["a"], accepted=1, rejected=["x"], ended=Ended.STOP))
        assert lines.drafts == {}

    def test_a_rejected_draft_at_the_token_limit_is_shown(self) -> None:
        lines = laid(cycle(["a"], rejected=["x"], ended=Ended.LENGTH))
        assert lines.drafts == {0: Drafts(1, "x", ())}


class TestGrowing:
    @pytest.mark.parametrize("has_drafts", [True, False])
    @pytest.mark.parametrize("width", [7, 40, 118])
    def test_cycle_by_cycle_gives_the_same_layout_as_all_at_once(
        self, width: int, has_drafts: bool
    ) -> None:
        cycles = streams.cycles_of(count=120)
        whole = laid(*cycles, width=width, has_drafts=has_drafts)
        grown = RibbonLines(UNICODE, width, has_drafts=has_drafts)
        at, chance = 0, random.Random(1)
        while at < len(cycles):
            step = chance.randint(1, 5)
            grown.extend(cycles[at : at + step])
            at += step
        rewrapped = laid(*cycles, width=31, has_drafts=not has_drafts)
        rewrapped.rewrap(width, has_drafts=has_drafts)
        for other in (grown, rewrapped):
            assert (other.starts, list(other.rows)) == (whole.starts, list(whole.rows))
            assert texts(other) == texts(whole)

    def test_rows_before_the_first_changed_one_stay_as_they_are(self) -> None:
        lines = RibbonLines(UNICODE, 40, has_drafts=True)
        for made in streams.cycles_of(count=120):
            rows, before = list(lines.rows), texts(lines)
            first = lines.extend([made])
            kept = [code // 2 for code in rows[:first]]
            assert list(lines.rows[:first]) == rows[:first]
            now = texts(lines)
            assert [now[line] for line in kept] == [before[line] for line in kept]

    def test_only_the_last_line_may_change(self) -> None:
        lines = laid(*streams.cycles_of(count=120))
        last = list(lines.rows).index(2 * (len(lines.starts) - 1))
        assert lines.extend(plain("x")) == last


class TestRowsOfCycle:
    def test_they_are_the_rows_of_its_lines_with_those_beneath(self) -> None:
        lines = laid(
            *plain("a\n"), cycle(["b\n", "c"], accepted=1, rejected=["x"]), *plain("\n", "d")
        )
        assert list(lines.rows) == [0, 2, 4, 5, 6]
        assert lines.rows_of_cycle(0) == range(1)
        assert lines.rows_of_cycle(1) == range(1, 4)
        assert lines.rows_of_cycle(3) == range(4, 5)

    def test_a_cycle_that_emitted_nothing_has_none(self) -> None:
        lines = laid(*plain("a"), cycle([], ended=Ended.STOP))
        assert not lines.rows_of_cycle(1)

    def test_every_cycle_of_a_long_answer_is_found(self) -> None:
        cycles = streams.cycles_of(count=300)
        lines = laid(*cycles, width=50)
        for number in range(len(cycles)):
            rows = lines.rows_of_cycle(number)
            here = {lines.rows[row] // 2 for row in rows}
            want = {
                line
                for line in range(len(lines.starts))
                if any(lines.cycles[token] == number for token in lines.line(line))
            }
            assert here == want
