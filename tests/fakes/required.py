"""What some tests need of the machine: skipped without it, unless it is required to be there."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

VARIABLE = "MTPLX_TUI_REQUIRE"
"""Names what has to be there, a comma between two: chromium, cxx, python3.11."""


def is_required(name: str) -> bool:
    """Tell whether tests that need this have to run."""
    return name in os.environ.get(VARIABLE, "").split(",")


def do_without(name: str, reason: str) -> NoReturn:
    """Skip a test that found out that it lacks something; where that is required, fail."""
    if is_required(name):
        pytest.fail(f"{name} is required: {reason}")
    pytest.skip(reason)


def skip_without(name: str, tool: str | None, reason: str) -> pytest.MarkDecorator:
    """Return the mark of tests that need a tool; where it is required they run, and fail.

    Args:
        name: as the variable names it.
        tool: where it was found; None where it was not.
        reason: what the skip says.
    """
    return pytest.mark.skipif(tool is None and not is_required(name), reason=reason)
