"""The server that these tests speak to."""

from collections.abc import AsyncIterator

import pytest
from tests.behaviour.api.server import Api
from tests.behaviour.conformance.server import conforming


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with conforming() as running:
        yield running
