"""What some tests need of the machine: skipped without it, unless it is required to be there."""

from __future__ import annotations

import os

import pytest

VARIABLE = "MTPLX_TUI_REQUIRE"
"""Names what has to be there, a comma between two: chromium, cxx."""


def skip_without(name: str, tool: str | None, reason: str) -> pytest.MarkDecorator:
    """Return the mark of tests that need a tool; where it is required they run, and fail.

    Args:
        name: as the variable names it.
        tool: where it was found; None where it was not.
        reason: what the skip says.
    """
    is_required = name in os.environ.get(VARIABLE, "").split(",")
    return pytest.mark.skipif(tool is None and not is_required, reason=reason)
