"""What was found, for a person and for a program."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import groupby

from mtplx_tui.doctor.check import Check, Severity, counts, worst_first
from mtplx_tui.wording import showable

__all__ = ["as_json", "as_text", "headline", "is_well"]

MARKS = {
    Severity.OK: "ok",
    Severity.NOTE: "note",
    Severity.WARNING: "warning",
    Severity.ERROR: "ERROR",
}
_LABEL = 20


def is_well(checks: Iterable[Check]) -> bool:
    """Whether there is no error."""
    return all(check.severity is not Severity.ERROR for check in checks)


def headline(checks: Sequence[Check]) -> str:
    """Return how it stands in one line."""
    found = counts(checks)
    errors, warnings = found[Severity.ERROR], found[Severity.WARNING]
    if not errors and not warnings:
        return f"all is well: {len(checks)} checks"
    said = [_some(errors, "error")] if errors else []
    said += [_some(warnings, "warning")] if warnings else []
    return f"{' and '.join(said)} in {len(checks)} checks"


def _some(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def as_json(checks: Sequence[Check], version: str) -> dict[str, object]:
    """Return all of it as one JSON object."""
    return {
        "mtplx_tui": version,
        "is_well": is_well(checks),
        "counts": {str(severity): count for severity, count in counts(checks).items()},
        "checks": [{**asdict(check), "severity": str(check.severity)} for check in checks],
    }


def as_text(checks: Sequence[Check], width: int) -> str:
    """Return a page: the problems with their remedies first, then everything by group."""
    lines = [headline(checks)]
    for check in worst_first(checks):
        lines += ["", *_problem(check, width)]
    for group, members in groupby(checks, key=lambda check: check.group):
        lines += ["", group]
        lines += [line for check in members for line in _row(check, width)]
    return showable("\n".join(lines))


def _problem(check: Check, width: int) -> list[str]:
    lines = [f"{MARKS[check.severity]}: {check.name}"]
    lines += _wrapped("found", check.found, width)
    lines += _wrapped("", ", ".join(check.own), width) if check.own else []
    lines += _wrapped("expected", check.expected, width)
    return lines + _wrapped("remedy", check.remedy, width)


def _wrapped(label: str, text: str, width: int) -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()) or "-",
        max(width, 40),
        initial_indent=f"  {label:<9} ",
        subsequent_indent=" " * 12,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _row(check: Check, width: int) -> list[str]:
    indent = " " * (2 + 8 + _LABEL + 1)
    first = f"  {MARKS[check.severity]:<8}{check.name:<{_LABEL}} "
    lines = textwrap.wrap(
        " ".join(check.found.split()) or "-",
        max(width, 60),
        initial_indent=first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    if check.severity is Severity.NOTE and check.remedy:
        lines += textwrap.wrap(
            f"({check.remedy})",
            max(width, 60),
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines
