"""What is the SQLite store's own: shared syncs, checkpoints, freed space, quick opening, writes that outlive their writer."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from kcp.storage.interface import Revision, StoreError
from kcp.storage.sqlite import SQLiteStore
from kcp.storage.sqlitefile import SQLiteConfig
from kcp.storage.sqlitewriter import Batch

P = b"/registry/core/configmaps/-/root/"


async def test_writers_that_wait_together_share_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with await SQLiteStore.open(tmp_path / "kcp.db") as store:
        batches: list[int] = []
        submit = store._writer.submit

        def counting(batch: Batch) -> None:
            batches.append(len(batch.writes))
            submit(batch)

        monkeypatch.setattr(store._writer, "submit", counting)
        await asyncio.gather(*(store.create(P + b"%d" % i, b"x") for i in range(300)))
        assert batches == [300]


async def test_a_chain_of_writes_to_one_key_needs_no_sync_in_between(tmp_path: Path) -> None:
    """The second write is decided on the first one, which is not durable yet."""
    async with await SQLiteStore.open(tmp_path / "kcp.db") as store:
        results = await asyncio.gather(
            store.create(P + b"a", b"1"),
            store.update(P + b"a", b"2", Revision(2)),
            store.delete(P + b"a", Revision(3)),
            store.create(P + b"a", b"3"),
            store.create(P + b"a", b"4"),
            return_exceptions=True,
        )
        assert list(results[:4]) == [2, 3, 4, 5]
        assert isinstance(results[4], StoreError)
        kv = await store.get(P + b"a")
        assert kv is not None
        assert (kv.value, kv.create_revision, kv.mod_revision) == (b"3", 5, 5)


async def test_the_wal_is_checkpointed_while_writing_and_starts_over(tmp_path: Path) -> None:
    """The database outgrows its WAL while writes go on, however late the checkpoints come on a busy machine."""
    path = tmp_path / "kcp.db"
    wal = path.with_name("kcp.db-wal")
    async with await SQLiteStore.open(path, SQLiteConfig(checkpoint_pages=20)) as store:
        for i in range(400):
            await asyncio.gather(*(store.create(P + b"%d-%d" % (i, j), b"x" * 4_000) for j in range(50)))
            if i >= 20 and path.stat().st_size > 2 * wal.stat().st_size:
                return
        pytest.fail(f"after 80 MB of writes {path.stat().st_size} bytes are in the database, {wal.stat().st_size} in its WAL")


async def test_compaction_gives_space_back_to_the_file_system(tmp_path: Path) -> None:
    path = tmp_path / "kcp.db"
    store = await SQLiteStore.open(path)
    for i in range(20):
        await asyncio.gather(*(store.create(P + b"%d-%d" % (i, j), b"x" * 4_000) for j in range(100)))
    for i in range(20):
        await asyncio.gather(*(store.delete(P + b"%d-%d" % (i, j)) for j in range(100)))
    await store.close()
    before = path.stat().st_size
    store = await SQLiteStore.open(path)
    await store.compact(await store.current_revision())
    await store.close()
    assert path.stat().st_size < before / 10


async def test_a_write_outlives_the_task_that_asked_for_it(tmp_path: Path) -> None:
    async with await SQLiteStore.open(tmp_path / "kcp.db") as store:
        watch = store.watch(P, Revision(1))
        waiting = asyncio.ensure_future(anext(watch))
        writer = asyncio.ensure_future(store.create(P + b"a", b"1"))
        await asyncio.sleep(0)
        writer.cancel()
        assert [e.key for e in await waiting] == [P + b"a"]
        assert writer.cancelled()
        assert await store.get(P + b"a") is not None
        await watch.aclose()


async def test_writes_under_way_are_finished_by_close(tmp_path: Path) -> None:
    store = await SQLiteStore.open(tmp_path / "kcp.db")
    writers = [asyncio.ensure_future(store.create(P + b"%d" % i, b"x")) for i in range(100)]
    await asyncio.sleep(0)
    await store.close()
    assert sorted(await asyncio.gather(*writers)) == list(range(2, 102))
    async with await SQLiteStore.open(tmp_path / "kcp.db") as store:
        assert store.statistics()["keys"] == 100


async def test_reads_that_compaction_overtakes_try_again(tmp_path: Path) -> None:
    """Readers look the revision up in the index and the row up in a thread; in between the row may be superseded and compacted."""
    chance = random.Random(3)
    async with await SQLiteStore.open(tmp_path / "kcp.db") as store:
        for i in range(20):
            await store.create(P + b"%02d" % i, b"x")

        async def churn() -> None:
            for n in range(300):
                key = P + b"%02d" % chance.randrange(20)
                kv = await store.get(key)
                assert kv is not None
                revision = await store.update(key, b"%d" % n, kv.mod_revision)
                await store.compact(revision)

        async def read() -> None:
            for _ in range(200):
                assert len((await store.list(P)).items) == 20
                assert await store.get(P + b"%02d" % chance.randrange(20)) is not None

        async with asyncio.TaskGroup() as group:
            group.create_task(churn())
            for _ in range(3):
                group.create_task(read())


async def test_statistics_tell_size_and_load(tmp_path: Path) -> None:
    async with await SQLiteStore.open(tmp_path / "kcp.db") as store:
        await store.create(P + b"a", b"1")
        statistics = store.statistics()
    assert {k: v for k, v in statistics.items() if k != "bytes"} == {
        "revision": 2, "compacted": 0, "keys": 1, "watchers": 0, "queued_writes": 0,
    }  # fmt: skip
    assert statistics["bytes"] > 0
