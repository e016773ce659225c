"""The server that these tests speak to."""

from collections.abc import AsyncIterator

import pytest
from tests.behaviour.api.server import Api, serving


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with serving() as running:
        yield running
