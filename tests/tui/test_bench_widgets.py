"""The bench's table and curve, as pure pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from mtplx_tui.bench import report
from mtplx_tui.bench.suite import Plan, Sweep
from mtplx_tui.marks import ASCII, UNICODE
from mtplx_tui.widgets.bench_curve import curve_page
from mtplx_tui.widgets.bench_table import change_page, table_page
from mtplx_tui.widgets.braille import Dots
from tests.bench.streams import answered
from tests.bench.test_report import answers
from tests.fakes.streams import MODEL


def rows(plan: Plan) -> list[report.Row]:
    sweep = Sweep(MODEL, plan)
    while commands := sweep.next():
        for event in answered(commands):
            sweep.take(event)
    return report.rows(sweep.answers)


ROWS = rows(Plan(depths=(*range(9), None), prompts=4))


def lines_of(found: Sequence[report.Row], size: tuple[int, int] = (90, 20)) -> list[str]:
    return curve_page(found, (), size, UNICODE).plain.split("\n")


@pytest.mark.parametrize("width", range(30, 210, 7))
def test_pages_keep_within_their_width(width: int) -> None:
    for marks in (UNICODE, ASCII):
        for page in (table_page(ROWS, width, marks), curve_page(ROWS, (), (width, 20), marks)):
            assert all(line.cell_length <= width for line in page.split("\n"))


def test_the_most_important_columns_stay_longest() -> None:
    heads = [table_page(ROWS, width, UNICODE).plain.split("\n")[0].split() for width in (30, 80)]
    assert heads[0] == ["depth", "x", "plain", "95", "%"]
    assert heads[1][-4:] == ["tok/cycle", "ms/cycle", "accepted", "%"]
    wide = table_page(ROWS, 134, UNICODE).plain
    for title in ("accepted %", "draft", "verify", "accept", "host"):
        assert title in wide


def test_acceptance_is_cut_at_whole_figures() -> None:
    shares = (1.0, 0.85, 0.75, 0.62, 0.5, 0.41, 0.33, 0.25)
    row = replace(ROWS[8], accepted=shares)
    wide, narrow = (table_page([row], width, UNICODE).plain for width in (134, 78))
    assert "100 85 75 62 50 41 33" in wide
    assert narrow.endswith(" 100 85 75 62 50")


def test_a_spread_of_one_answer_is_none() -> None:
    one = rows(Plan(depths=(0, 2), prompts=1))
    assert UNICODE.range not in table_page(one, 134, UNICODE).plain
    assert UNICODE.stem not in "\n".join(lines_of(one))


def test_what_is_faster_stands_higher_and_plain_stands_at_one() -> None:
    found = report.rows(answers(0.5))
    lines = lines_of(found)
    plain = next(at for at, line in enumerate(lines) if line.strip().startswith("1.00"))
    assert UNICODE.state in lines[plain]
    deep = next(at for at, line in enumerate(lines) if f"{UNICODE.state} 2.00" in line)
    assert deep < plain
    slow = lines_of(report.rows(answers(2.0)))
    below = next(at for at, line in enumerate(slow) if f"{UNICODE.state} 0.50" in line)
    assert below > next(at for at, line in enumerate(slow) if line.strip().startswith("1.00"))


def test_a_wider_spread_has_a_longer_stem() -> None:
    stems = ["\n".join(lines_of(report.rows(answers(0.5, w)))).count("│") for w in (0.0, 0.2)]
    assert stems[0] == 0 < stems[1]


def test_where_there_is_no_room_no_curve_is_drawn() -> None:
    assert curve_page(ROWS, (), (90, 6), UNICODE).plain == ""
    assert curve_page(ROWS, (), (30, 20), UNICODE).plain == ""
    assert curve_page([], (), (90, 20), UNICODE).plain == ""


def test_what_was_before_is_drawn_behind_and_explained() -> None:
    before = report.rows(answers(0.8))
    page = curve_page(report.rows(answers(0.5)), before, (90, 20), UNICODE).plain
    assert "● after   · before" in page
    assert page.count(UNICODE.dot) == 2


def test_changes_are_told_with_their_verdict() -> None:
    page = change_page(report.changes(answers(0.6), answers(0.5))).plain.split("\n")
    assert page[1].split()[:2] == ["0", "(tokens/s)"]
    assert page[2].split()[:2] == ["2", "+20.0%"]
    assert page[2].endswith("faster")
    assert "nothing in common" in change_page([]).plain


def test_a_line_of_dots_runs_from_end_to_end_and_is_cut_at_the_sheet() -> None:
    dots = Dots(4, 2)
    dots.line((-2.0, 1.99), (8.0, 1.99))
    assert dots.signs() == [(1, column, "⣀") for column in range(4)]
    assert dots.signs(is_plain=True) == [(1, column, ".") for column in range(4)]
