"""The search model: where a text stands, whatever its case and its blanks, and the way round."""

from __future__ import annotations

import pytest

from mtplx_tui.finding import Finding, Hit, find

PARTS = ["The sky is blue.", "Nothing", "SKY  above,\nsky below"]


def test_every_place_is_found_whatever_the_case() -> None:
    assert find("sky", PARTS).hits == (Hit(0, 4, 7), Hit(2, 0, 3), Hit(2, 12, 15))


def test_a_blank_stands_for_any_blanks_and_line_breaks() -> None:
    assert find("above, sky", PARTS).hits == (Hit(2, 5, 15),)
    assert find(" sky  above ", PARTS).hits == (Hit(2, 0, 10),)


@pytest.mark.parametrize("query", ["", "  ", "\n"])
def test_blanks_alone_find_nothing_and_say_nothing(query: str) -> None:
    assert find(query, PARTS).hits == ()
    assert find(query, PARTS).words() == ""


def test_signs_of_patterns_are_taken_for_themselves() -> None:
    assert find("a.c (", ["abc a.c ("]).hits == (Hit(0, 4, 9),)


def test_letters_whose_cases_differ_in_length_keep_their_places() -> None:
    assert find("STRASSE", ["İ Strasse"]).hits == (Hit(0, 2, 9),)
    assert find("光", ["青い光、光"]).hits == (Hit(0, 2, 3), Hit(0, 4, 5))


@pytest.mark.parametrize(
    ("near", "at"), [((0, 0), 0), ((0, 4), 0), ((0, 5), 1), ((2, 1), 2), ((2, 13), 2), ((9, 0), 2)]
)
def test_the_first_place_from_where_one_is_gets_marked(near: tuple[int, int], at: int) -> None:
    assert find("sky", PARTS, near).at == at


def test_stepping_goes_round_both_ways() -> None:
    finding = find("sky", PARTS)
    assert [finding.step(by).at for by in (1, 2, 3, -1)] == [1, 2, 0, 2]
    assert finding.step(1).words() == "2 of 3"


def test_nothing_found_is_said_and_can_be_stepped_through() -> None:
    finding = find("cloud", PARTS).step(1)
    assert finding.words() == "nothing found"
    assert finding.marked is None


def test_the_places_of_one_part() -> None:
    finding = find("sky", PARTS)
    assert [finding.of_part(part) for part in range(3)] == [
        (Hit(0, 4, 7),),
        (),
        (Hit(2, 0, 3), Hit(2, 12, 15)),
    ]
    assert Finding().of_part(0) == ()
