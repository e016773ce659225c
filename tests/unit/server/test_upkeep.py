"""How long history is kept, as flags say it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kcp.aio.clock import SystemClock
from kcp.server.compose import run_server
from kcp.server.options import Options, UpkeepOptions


@pytest.mark.parametrize(("seconds", "runs"), [(300.0, True), (0.0, False)])
async def test_history_is_forgotten_unless_that_is_turned_off(tmp_path: Path, seconds: float, runs: bool) -> None:
    options = Options(root_directory=tmp_path, in_memory=True, upkeep=UpkeepOptions(compaction_interval_s=seconds))
    async with run_server(options, clock=SystemClock(), with_socket=False):
        assert any("compaction" in task.get_name() for task in asyncio.all_tasks()) is runs


def test_faults_are_named() -> None:
    (fault,) = Options(upkeep=UpkeepOptions(defragment_interval_s=-1)).problems()
    assert fault == "--etcd-defragment-interval: must not be negative"
