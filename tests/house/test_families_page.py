"""docs/families.md says of every family what the table says."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.verdict.families import Family
from engine.verdict.family_table import FAMILIES

PAGE = (Path(__file__).parents[2] / "docs" / "families.md").read_text("utf-8")
NAMED = [family for family in FAMILIES if family.model_types]


@pytest.mark.parametrize("family", NAMED, ids=lambda family: family.name)
def test_the_page_tells_a_familys_contract(family: Family) -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith(f"| {family.name} |")]
    assert len(rows) == 1
    cells = [cell.strip() for cell in rows[0].strip("|").split("|")]
    assert cells[1] == ", ".join(f"`{kind}`" for kind in family.model_types)
    assert cells[2:5] == [family.concat, family.hidden, family.recycle]
    assert cells[5] == ("1 + w" if family.norm == "one_plus" else "w")
    assert cells[7] == (family.cannot_run or "drafts")
