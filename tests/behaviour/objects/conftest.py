"""The server that these tests speak to."""

from collections.abc import AsyncIterator

import pytest
from tests.behaviour.objects.world import World, simulated


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with simulated() as running:
        yield running
