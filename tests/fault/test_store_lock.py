"""Two owners of one database: the second is refused, with the path and the first one's pid."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from kcp.storage.interface import StoreError
from kcp.storage.sqlite import SQLiteStore

OPEN = """
import asyncio, sys
from pathlib import Path
from kcp.storage.sqlite import SQLiteStore
asyncio.run(SQLiteStore.open(Path(sys.argv[1])))
"""


async def test_a_second_process_is_refused_with_the_path_and_the_pid_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "kcp.db"
    async with await SQLiteStore.open(path):
        second = await asyncio.create_subprocess_exec(sys.executable, "-c", OPEN, str(path), stderr=asyncio.subprocess.PIPE)
        _, errors = await second.communicate()
    assert second.returncode == 1
    assert re.search(rf"StoreError: the database {path} is in use by another running server \(pid {os.getpid()}\)", errors.decode())


async def test_a_second_store_in_the_same_process_is_refused_until_the_first_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "kcp.db"
    first = await SQLiteStore.open(path)
    with pytest.raises(StoreError, match="in use by another running server"):
        await SQLiteStore.open(path)
    await first.close()
    async with await SQLiteStore.open(path) as second:
        assert await second.current_revision() == 1


async def test_a_failed_open_leaves_the_lock_free(tmp_path: Path) -> None:
    path = tmp_path / "kcp.db"
    path.write_text("not a database " * 1000)
    for _ in range(2):
        with pytest.raises(StoreError, match="not a database"):
            await SQLiteStore.open(path)
