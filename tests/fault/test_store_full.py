"""A full disk: writes are refused with StoreFull, reads and watches go on, and writing works again once there is room."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import aclosing
from pathlib import Path

import pytest

from kcp.storage.interface import KeyExists, Revision, RevisionMismatch, StoreFull
from kcp.storage.sqlite import SQLiteStore
from kcp.storage.sqlitefile import SQLiteConfig

PREFIX = b"/registry/core/configmaps/-/root/"
QUOTA = SQLiteConfig(max_bytes=1 << 20)
LARGE = b"x" * 10_000


async def fill(store: SQLiteStore) -> int:
    """Write until the store is full; how many objects fitted."""
    for count in range(1_000):
        try:
            await store.create(PREFIX + b"%05d" % count, LARGE)
        except StoreFull:
            return count
    raise AssertionError("the store never became full")


async def set_quota(store: SQLiteStore, path: Path, pages: int) -> None:
    """Give the disk more room, or less, while the store runs."""
    del path
    await store._writer.run(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchone())


async def test_a_full_disk_refuses_writes_and_goes_on_serving_reads(tmp_path: Path) -> None:
    async with await SQLiteStore.open(tmp_path / "kcp.db", QUOTA) as store:
        count = await fill(store)
        assert count > 20
        revision = await store.current_revision()
        assert revision == count + 1, "a refused write took a revision"
        assert len((await store.list(PREFIX)).items) == count
        assert (await store.get(PREFIX + b"00000")) is not None
        assert await store.get(PREFIX + b"%05d" % count) is None
        with pytest.raises(KeyExists):
            await store.create(PREFIX + b"00000", b"x")
        with pytest.raises(RevisionMismatch):
            await store.delete(PREFIX + b"00000", Revision(99_999))


async def test_writing_works_again_once_there_is_room_and_no_event_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "kcp.db"
    async with await SQLiteStore.open(path, QUOTA) as store:
        count = await fill(store)
        async with aclosing(store.watch(PREFIX, Revision(1))) as batches:
            seen = [e.revision for e in await anext(batches)]
            await set_quota(store, path, 10_000)
            more = [await store.create(PREFIX + b"more%d" % i, LARGE) for i in range(50)]
            while len(seen) < count + 50:
                seen += [e.revision for e in await anext(batches)]
        assert seen == list(range(2, count + 52))
        assert more == list(range(count + 2, count + 52))
    async with await SQLiteStore.open(path) as store:
        assert len((await store.list(PREFIX)).items) == count + 50


async def test_compaction_makes_room_in_a_full_store(tmp_path: Path) -> None:
    async with await SQLiteStore.open(tmp_path / "kcp.db", QUOTA) as store:
        await fill(store)
        for i in range(20):
            await store.delete(PREFIX + b"%05d" % i)
        revision = await store.current_revision()
        await store.compact(revision)
        for i in range(15):
            assert await store.create(PREFIX + b"%05d" % i, LARGE) == revision + i + 1


async def test_a_large_write_does_not_refuse_the_small_ones_beside_it(tmp_path: Path) -> None:
    async with await SQLiteStore.open(tmp_path / "kcp.db", QUOTA) as store:
        values = [b"small"] * 30 + [b"x" * 2_000_000] + [b"small"] * 30 + [b"x" * 3_000_000]
        results = await asyncio.gather(*(store.create(PREFIX + b"%d" % i, v) for i, v in enumerate(values)), return_exceptions=True)
        assert [i for i, r in enumerate(results) if isinstance(r, StoreFull)] == [30, 61]
        assert sorted(r for r in results if isinstance(r, int)) == list(range(2, 62))
        assert len((await store.list(PREFIX)).items) == 60


async def test_writes_queued_behind_a_failed_batch_are_decided_again(tmp_path: Path) -> None:
    """The first batch fails; a chain of writes to the same key stands behind it, decided on what that batch would have written."""
    path = tmp_path / "kcp.db"
    async with await SQLiteStore.open(path, QUOTA) as store:
        base = await store.create(PREFIX + b"a", b"1")
        too_large = [asyncio.ensure_future(store.update(PREFIX + b"a", b"x" * 2_000_000, base))]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        behind = [
            asyncio.ensure_future(store.update(PREFIX + b"a", b"2", base)),  # refused as long as the large one counts
            asyncio.ensure_future(store.create(PREFIX + b"b", b"1")),
            asyncio.ensure_future(store.create(PREFIX + b"b", b"2")),
        ]
        results = await asyncio.gather(*too_large, *behind, return_exceptions=True)
        assert isinstance(results[0], StoreFull)
        assert results[1:3] == [base + 1, base + 2]
        assert isinstance(results[3], KeyExists)
        assert [kv.value for kv in (await store.list(PREFIX)).items] == [b"2", b"1"]


async def test_an_error_other_than_full_is_reported_with_the_path(tmp_path: Path) -> None:
    path = tmp_path / "kcp.db"
    async with await SQLiteStore.open(path) as store:
        await store.create(PREFIX + b"a", b"1")
        await store._writer.run(lambda db: db.execute("PRAGMA query_only = 1"))
        with pytest.raises(Exception, match=r"cannot write to .*kcp\.db: attempt to write a readonly database"):
            await store.create(PREFIX + b"b", b"1")
        await store._writer.run(lambda db: db.execute("PRAGMA query_only = 0"))
        assert await store.create(PREFIX + b"b", b"1") == 3
    assert sqlite3.connect(path).execute("SELECT count(*) FROM log").fetchone() == (2,)
