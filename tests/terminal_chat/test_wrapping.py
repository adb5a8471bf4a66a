"""Streamed text in a terminal ends its lines at blanks, and loses or adds nothing else."""

from __future__ import annotations

import random

import pytest
from rich.cells import cell_len

from mtplx_tui.terminal_chat.wrapping import Wrapping

PROSE = "The sky appears blue because of a process called scattering, which is strongest for blue."


def wrapped(text: str, columns: int, size: int = 3) -> str:
    """Return a text as it is written when it comes in parts of so many signs."""
    wrapping = Wrapping(lambda: columns)
    parts = [text[at : at + size] for at in range(0, len(text), size)]
    return "".join([*map(wrapping.add, parts), wrapping.rest()])


@pytest.mark.parametrize("size", [1, 3, 7, 200])
@pytest.mark.parametrize("columns", [13, 20, 40, 80])
def test_prose_is_broken_at_blanks_alone(columns: int, size: int) -> None:
    written = wrapped(PROSE, columns, size)
    assert written.replace("\n", " ") == PROSE
    lines = written.split("\n")
    assert all(len(line) <= columns for line in lines)
    # And no earlier than it must.
    firsts = [line.split()[0] for line in lines[1:]]
    assert all(len(f"{a} {b}") > columns for a, b in zip(lines, firsts, strict=False))


def test_a_line_may_be_filled_to_its_last_cell() -> None:
    assert wrapped("abcd efgh ij", 9) == "abcd efgh\nij"
    assert wrapped("abcd efgh\nij", 9) == "abcd efgh\nij"


def test_the_texts_own_lines_stay_and_begin_anew() -> None:
    assert wrapped("one two\n\n- three four\n", 9) == "one two\n\n- three\nfour\n"


@pytest.mark.parametrize(
    "code",
    [
        "```python\nprint('a much longer line of code')\n```\n",
        "~~~\na much longer line\n~~~\n",
        "1. so:\n   ```\n   a much longer line\n   ```\n",
        "    a much longer line\n",
        "\ta much longer line\n",
        "| a | much longer row |\n|---|---|\n",
    ],
)
def test_code_and_tables_keep_their_lines(code: str) -> None:
    written = wrapped(f"{code}words after it\n", 10)
    assert written == f"{code}words\nafter it\n"


def test_what_is_longer_than_a_line_is_left_to_the_terminal() -> None:
    address = "https://example.org/" + "x" * 50
    assert wrapped(f"see {address} there", 20) == f"see\n{address} there"
    assert wrapped(f"{address} afterwards", 20) == f"{address}\nafterwards"


def test_ideographs_end_lines_but_not_before_a_full_stop() -> None:
    assert wrapped("空が青い理由。です", 12) == "空が青い理\n由。です"
    assert wrapped("see 空が青い", 8) == "see 空が\n青い"


def test_ideographs_are_not_held_back_to_the_end_of_the_line() -> None:
    wrapping = Wrapping(lambda: 80)
    assert wrapping.add("空が青い") == "空が青"


def test_a_word_is_written_with_the_blank_behind_it() -> None:
    wrapping = Wrapping(lambda: 80)
    assert [wrapping.add(part) for part in ("The", " sky", " is", "\n")] == [
        "",
        "The",
        " sky",
        " is\n",
    ]


def test_where_the_width_is_not_known_nothing_is_broken() -> None:
    assert wrapped(PROSE * 3, 0) == PROSE * 3


def test_a_width_that_changes_counts_from_then_on() -> None:
    width = 40
    wrapping = Wrapping(lambda: width)
    first = wrapping.add("one two three four ")
    width = 20
    assert first + wrapping.add("five six ") + wrapping.rest() == "one two three four\nfive six"


def test_whatever_comes_nothing_is_lost_and_no_word_is_broken() -> None:
    chance = random.Random(7)
    signs = [
        "a",
        "bc",
        " ",
        "  ",
        "\n",
        "\t",
        "`",
        "```",
        "|",
        "漢",
        "。",
        "é",
        "👩",
        "-",
        "x" * 30,
    ]
    for _ in range(400):
        text = "".join(chance.choice(signs) for _ in range(60))
        columns = chance.choice([1, 5, 17, 80])
        written = wrapped(text, columns, chance.choice([1, 2, 5]))
        assert "".join(written.split()) == "".join(text.split())
        if "|" in text or "`" in text or "\t" in text or "    " in text:
            continue
        for line in written.split("\n"):
            assert cell_len(line.rstrip()) <= columns or len(line.split()) == 1 or "x" * 30 in line
