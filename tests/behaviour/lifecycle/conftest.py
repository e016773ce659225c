"""A whole kcp server in process, without a socket, with the workspace that its types stand in."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.behaviour.lifecycle.town import Town

from kcp.aio.clock import SystemClock
from kcp.server.compose import run_server
from kcp.server.options import Options


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    async with run_server(Options(root_directory=tmp_path / ".kcp", in_memory=True), clock=SystemClock(), with_socket=False) as running:
        made = Town(running)
        await made.open()
        yield made
