"""Servers over a fake engine."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.server.talk import Place, serving


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    """A server with the options it has by default."""
    async with serving() as made:
        yield made
