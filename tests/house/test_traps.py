"""Every trap of docs/families.md has a test that carries its number, or a reason to have none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "families.md").read_text("utf-8")
ROWS = re.findall(r"^\| (\d+b?) \| [^|]+ \| ([^|]+) \|$", PAGE, re.MULTILINE)
NUMBERS = {*map(str, range(1, 31)), "8b"}


def numbers_in(name: str) -> set[str]:
    """Return the numbers of traps that the tests of a file carry in their names."""
    text = (TESTS / name).read_text("utf-8")
    found = re.findall(r"def test_trap_((?:\d+b?_)+)", text)
    return {number for match in found for number in match.strip("_").split("_")}


def test_the_page_lists_all_of_them() -> None:
    assert [number for number, _ in ROWS] == sorted(
        NUMBERS, key=lambda number: (int(number.strip("b")), number)
    )


@pytest.mark.parametrize(("number", "where"), ROWS, ids=[number for number, _ in ROWS])
def test_a_trap_has_its_tests(number: str, where: str) -> None:
    files = re.findall(r"`([^`]+)`", where)
    assert files or where.startswith("does not apply: ")
    assert all(number in numbers_in(name) for name in files)
