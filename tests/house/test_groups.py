"""Tests that share what is costly to make run in one process."""

from __future__ import annotations

import pytest


@pytest.mark.xdist_group("walls")
def test_a_group_of_tests_is_told_to_those_who_share_the_tests_out(
    request: pytest.FixtureRequest,
) -> None:
    """pytest-xdist names the group in a test's id, where pytest lets it."""
    if not hasattr(request.config, "workerinput"):
        pytest.skip("one process runs all tests")
    assert request.node.nodeid.endswith("@walls")
