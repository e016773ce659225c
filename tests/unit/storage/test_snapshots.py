"""Snapshot files, and stores made from them.

Aspects: what is in them, damage of any kind, a source that is written to, revisions kept, refusals.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from tests.etcd import Etcd

from kcp.aio.clock import SystemClock
from kcp.storage.etcd.config import EtcdConfig
from kcp.storage.etcd.store import EtcdStore
from kcp.storage.interface import Compacted, KeyValue, Revision, Store, StoreError
from kcp.storage.memory import MemoryStore
from kcp.storage.snapshot.file import Header, Reader, SnapshotError, Summary, verify, write
from kcp.storage.snapshot.restore import to_etcd, to_sqlite
from kcp.storage.snapshot.sources import SQLiteSource, StoreSource
from kcp.storage.sqlite import SQLiteStore

P = b"/registry/core/configmaps/-/root/"
HEADER = Header(9, "2026-01-01T00:00:00Z", "test")


async def fill(store: Store) -> dict[bytes, int]:
    """Objects made, changed and deleted, so that revisions have gaps; what is live, and at which revision."""
    for number in range(20):
        revision = await store.create(P + b"%d" % number, b"v%d" % number)
        if number % 3 == 0:
            revision = await store.update(P + b"%d" % number, b"changed", revision)
        if number % 4 == 0:
            await store.delete(P + b"%d" % number)
    return {kv.key: kv.mod_revision for kv in (await store.list(b"/registry/")).items}


def files(directory: Path) -> list[str]:
    return sorted(file.name for file in directory.iterdir())


async def take(store: Store, path: Path) -> Summary:
    source = StoreSource(store, await store.current_revision())
    return await write(path, Header(source.revision, HEADER.created, "test"), source.pages())


async def test_a_snapshot_holds_what_is_live_at_its_revision_in_order(tmp_path: Path) -> None:
    store, path = MemoryStore(), tmp_path / "a.snapshot"
    live = await fill(store)
    summary = await take(store, path)
    reader = Reader(path)
    records = list(reader.records())
    reader.close()
    assert {kv.key: kv.mod_revision for kv in records} == live
    assert [kv.mod_revision for kv in records] == sorted(live.values())
    assert reader.summary == summary == verify(path)
    assert (summary.objects, summary.header.revision) == (len(live), await store.current_revision())


async def test_any_damage_is_found(tmp_path: Path) -> None:
    store, path = MemoryStore(), tmp_path / "a.snapshot"
    await fill(store)
    await take(store, path)
    whole = path.read_bytes()
    for position in range(10, len(whole), 7):
        for damaged in (whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :], whole[:position]):
            path.write_bytes(damaged)
            with pytest.raises(SnapshotError):
                verify(path)
    for text in (b"", b"not gzip", b"\x1f\x8b"):
        path.write_bytes(text)
        with pytest.raises(SnapshotError, match="is no snapshot"):
            verify(path)


async def test_a_source_that_fails_leaves_no_file(tmp_path: Path) -> None:
    async def failing() -> AsyncIterator[Sequence[KeyValue]]:
        yield [KeyValue(P + b"a", b"1", Revision(2), Revision(2))]
        raise Compacted(Revision(5))

    with pytest.raises(Compacted):
        await write(tmp_path / "a.snapshot", HEADER, failing())
    assert files(tmp_path) == []


async def test_a_database_is_read_at_one_revision_while_its_server_writes(tmp_path: Path) -> None:
    store = await SQLiteStore.open(tmp_path / "kcp.db")
    live = await fill(store)
    source = SQLiteSource(tmp_path / "kcp.db")
    await asyncio.gather(*(store.create(P + b"later-%d" % i, b"x") for i in range(50)))
    read = [kv for page in [page async for page in source.pages()] for kv in page]
    assert {kv.key: kv.mod_revision for kv in read} == live
    await source.close()
    await store.close()


async def test_a_database_made_from_a_snapshot_goes_on_where_it_was(tmp_path: Path) -> None:
    memory, path = MemoryStore(), tmp_path / "a.snapshot"
    live = await fill(memory)
    summary = await take(memory, path)
    reader = Reader(path)
    assert to_sqlite(reader, tmp_path / "new" / "kcp.db") == summary
    reader.close()
    store = await SQLiteStore.open(tmp_path / "new" / "kcp.db")
    assert {kv.key: kv.mod_revision for kv in (await store.list(b"/registry/")).items} == live
    assert await store.current_revision() == await memory.current_revision()
    with pytest.raises(Compacted):
        await store.list(P, revision=Revision(3))
    assert await store.create(P + b"new", b"1") == await memory.create(P + b"new", b"1")
    await store.close()
    with pytest.raises(StoreError, match="exists: move it away first"):
        to_sqlite(Reader(path), tmp_path / "new" / "kcp.db")


async def test_a_damaged_snapshot_makes_no_database(tmp_path: Path) -> None:
    memory, path = MemoryStore(), tmp_path / "a.snapshot"
    await fill(memory)
    await take(memory, path)
    path.write_bytes(path.read_bytes()[:-30])
    reader = Reader(path)
    with pytest.raises(SnapshotError, match="is damaged"):
        to_sqlite(reader, tmp_path / "kcp.db")
    reader.close()
    assert files(tmp_path) == ["a.snapshot"]


async def test_a_snapshot_of_an_etcd_made_from_a_snapshot_fills_the_next_one(tmp_path: Path) -> None:
    memory, live = MemoryStore(), {}
    live = await fill(memory)
    await take(memory, tmp_path / "0.snapshot")
    for number in range(2):
        etcd = Etcd(tmp_path / str(number))
        etcd.directory.mkdir()
        etcd.start()
        try:
            store = await EtcdStore.open(EtcdConfig(endpoints=etcd.endpoints), SystemClock())
            reader = Reader(tmp_path / f"{number}.snapshot")
            await to_etcd(reader, store)
            reader.close()
            assert (await take(store, tmp_path / f"{number + 1}.snapshot")).objects == len(live)
            await store.close()
        finally:
            etcd.stop()


async def test_an_etcd_made_from_a_snapshot_has_each_object_at_its_revision(tmp_path: Path) -> None:
    memory, path, etcd = MemoryStore(), tmp_path / "a.snapshot", Etcd(tmp_path).start()
    try:
        live = await fill(memory)
        await take(memory, path)
        store = await EtcdStore.open(EtcdConfig(endpoints=etcd.endpoints), SystemClock())
        reader, told = Reader(path), list[int]()
        await to_etcd(reader, store, told.append)
        reader.close()
        assert {kv.key: kv.mod_revision for kv in (await store.list(b"/registry/core/")).items} == live
        assert await store.current_revision() == await memory.current_revision() == told[-1]
        with pytest.raises(Compacted):
            await store.list(P, revision=Revision(3))
        with pytest.raises(StoreError, match="holds objects under this prefix already"):
            await to_etcd(Reader(path), store)
        await store.close()
    finally:
        etcd.stop()
