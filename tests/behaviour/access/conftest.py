"""A whole kcp server in process, without a socket; one for all tests of a module, which only look at it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.behaviour.exports.market import Market

from kcp.aio.clock import SystemClock
from kcp.server.compose import run_server
from kcp.server.options import Options


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[Market]:
    async with run_server(Options(root_directory=tmp_path / ".kcp", in_memory=True), clock=SystemClock(), with_socket=False) as running:
        made = Market(running)
        await made.open()
        yield made
