"""What the machine's heat was while something ran: how traces and results of measurements keep it.

Pure: fed with samples. A stranger's file is read with care: what is no heat is none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from mtplx_tui.machine.history import FANS, POWER, TOKENS, Sample, fall_by_heat
from mtplx_tui.machine.readings import Group

__all__ = ["Heat", "HeatLog", "heat_from_plain", "heat_to_plain", "heat_words"]

ROWS = {**{str(group): "°C" for group in Group}, POWER: "W", FANS: "rpm"}
"""What is kept, in its order, with its unit."""
RECENT = 600
"""Samples that a slowdown is looked for in."""
MAX_TEXT = 200


@dataclass(frozen=True, slots=True)
class Course:
    """How one value went."""

    first: float
    highest: float
    last: float


@dataclass(frozen=True, slots=True)
class Heat:
    """See the module."""

    courses: Mapping[str, Course]
    """By row: a group's hottest sensor, the fastest fan, all power."""
    slow: str = ""
    """Why it was likely slowed down by heat; empty where it was not."""


class HeatLog:
    """Grows while something runs; its size does not."""

    def __init__(self) -> None:
        self._courses: dict[str, Course] = {}
        self._recent: list[Sample] = []
        self._slow = (0.0, "")
        """The worst there was."""

    def add(self, sample: Sample) -> None:
        """Take a second's values."""
        for row, value in sample.values.items():
            if row in ROWS:
                old = self._courses.get(row, Course(value, value, value))
                self._courses[row] = Course(old.first, max(old.highest, value), value)
        if TOKENS in sample.values:
            self._recent = [*self._recent[1 - RECENT :], sample]
            self._slow = max(self._slow, fall_by_heat(self._recent))

    @property
    def heat(self) -> Heat | None:
        """What it came to; None where no sensor said anything."""
        courses = {row: self._courses[row] for row in ROWS if row in self._courses}
        return Heat(courses, self._slow[1]) if courses else None


def heat_words(heat: Heat | None) -> str:
    """Return it in one line; empty where there is none."""
    if heat is None:
        return ""
    parts = [_course_words(row, course) for row, course in heat.courses.items()]
    return ", ".join([*parts, *([heat.slow] if heat.slow else [])])


def _course_words(row: str, course: Course) -> str:
    digits = 1 if row == POWER else 0
    figures = [f"{value:,.{digits}f}" for value in (course.first, course.highest)]
    return f"{row} {' to '.join(dict.fromkeys(figures))} {ROWS[row]}"


def heat_to_plain(heat: Heat) -> dict[str, object]:
    """Return it as one JSON object: first, highest and last by row."""
    courses = {
        row: [round(value, 1) for value in (c.first, c.highest, c.last)]
        for row, c in heat.courses.items()
    }
    return {"courses": courses, "slow": heat.slow}


def heat_from_plain(plain: object) -> Heat | None:
    """Return what `heat_to_plain` made; None where it is anything else."""
    if not isinstance(plain, dict) or not isinstance(plain.get("courses"), dict):
        return None
    given = plain["courses"]
    courses = {row: course for row in ROWS if (course := _course(given.get(row))) is not None}
    slow = plain.get("slow")
    return Heat(courses, slow[:MAX_TEXT] if isinstance(slow, str) else "") if courses else None


def _course(values: object) -> Course | None:
    if not isinstance(values, list) or len(values) != 3 or not all(map(_is_figure, values)):
        return None
    return Course(*values)


def _is_figure(value: object) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and abs(value) < 1e6
