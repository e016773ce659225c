"""The server of these tests, without and with workspaces."""

from collections.abc import AsyncIterator

import pytest
from tests.behaviour.builtin.world import World, make_world


@pytest.fixture(params=[False, True], ids=["single", "workspaces"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with make_world(has_workspaces=request.param) as made:
        yield made


@pytest.fixture
async def kcp_world() -> AsyncIterator[World]:
    async with make_world(has_workspaces=True) as made:
        yield made
