"""The law from the outside: `generate` with drafts against `generate` without."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.checks import check
from tests.conformance.sequences import compared

COMPLETIONS = 500
"""Of each kind; `benchmarks/sequences_gtest.py` runs 20,000."""


@pytest.mark.slow
def test_completions_with_drafts_have_the_law_of_completions_without(tmp_path: Path) -> None:
    check(
        "generate --mode block --depth 4 against --depth 0, first 3 tokens",
        lambda _: compared(tmp_path, COMPLETIONS, "block"),
    )
