"""The compactor under virtual time: how much history stays."""

from __future__ import annotations

import pytest

from kcp.aio.clock import VirtualClock
from kcp.aio.supervisor import Supervisor
from kcp.storage.compaction import CompactionConfig, Compactor
from kcp.storage.interface import Revision, StoreFull
from kcp.storage.memory import MemoryStore
from kcp.storage.watchcache import WatchCache

KEY = b"/registry/core/configmaps/-/root/a"


async def write(store: MemoryStore, count: int) -> None:
    kv = await store.get(KEY)
    revision = kv.mod_revision if kv else await store.create(KEY, b"{}")
    for _ in range(count - (0 if kv else 1)):
        revision = await store.update(KEY, b"{}", revision)


async def test_history_is_kept_for_the_time_asked_and_then_forgotten() -> None:
    store, clock = MemoryStore(), VirtualClock()
    cache = WatchCache(store, clock=clock)
    await cache.start()
    compactor = Compactor(store, clock=clock, cache=cache, config=CompactionConfig(keep_s=300, interval_s=60))
    async with Supervisor() as supervisor:
        supervisor.spawn(cache.run(), name="watch cache")
        objects = await cache.prefix(b"/registry/core/configmaps/-/")
        await write(store, 10)  # revision 11 at second 0
        supervisor.spawn(compactor.run(), name="compactor")
        await clock.advance(1)
        await write(store, 5)
        await clock.advance(298)
        assert store.statistics()["compacted"] == 0
        await clock.advance(1)
        assert store.statistics()["compacted"] == 11
        assert objects.statistics()["history"] == 5
        await clock.advance(60)
        assert store.statistics()["compacted"] == 16


async def test_a_flood_of_revisions_is_forgotten_before_its_time() -> None:
    store, clock = MemoryStore(), VirtualClock()
    compactor = Compactor(store, clock=clock, config=CompactionConfig(keep_s=300, keep_revisions=100))
    await write(store, 250)
    assert await compactor.step() == 151
    assert store.statistics()["compacted"] == 151


async def test_memory_is_given_back_once_a_flood_is_forgotten_and_not_for_the_little_that_is_written_by_the_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[float] = []
    store, clock = MemoryStore(), VirtualClock()
    monkeypatch.setattr("kcp.storage.compaction.give_back", lambda: given.append(clock.monotonic()))
    cache = WatchCache(store, clock=clock)
    await cache.start()
    compactor = Compactor(store, clock=clock, cache=cache, config=CompactionConfig(keep_s=60, interval_s=30))
    async with Supervisor() as supervisor:
        supervisor.spawn(cache.run(), name="watch cache")
        await cache.prefix(b"/registry/core/configmaps/-/")
        supervisor.spawn(compactor.run(), name="compactor")
        await clock.advance(1)
        revision = await store.create(KEY, b"{}")
        for _ in range(3):
            revision = await store.update(KEY, bytes(2 << 20), revision)
        for _ in range(8):
            await clock.advance(30)
            revision = await store.update(KEY, b"{}", revision)
    assert len(given) == 1


async def test_an_idle_store_is_not_compacted() -> None:
    store, clock = MemoryStore(), VirtualClock()
    assert await Compactor(store, clock=clock).step() == 0


async def test_a_failed_compaction_is_logged_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    class Full(MemoryStore):
        is_full = True

        async def compact(self, revision: Revision) -> None:
            if self.is_full:
                raise StoreFull("no room")
            await super().compact(revision)

    store, clock = Full(), VirtualClock()
    compactor = Compactor(store, clock=clock, config=CompactionConfig(keep_revisions=5, interval_s=30))
    await write(store, 20)
    async with Supervisor() as supervisor:
        supervisor.spawn(compactor.run(), name="compactor")
        await clock.advance(1)
        assert "no room" in caplog.text
        store.is_full = False
        await clock.advance(30)
        assert store.statistics()["compacted"] == 16


async def test_the_compactor_ends_when_the_store_is_closed() -> None:
    store, clock = MemoryStore(), VirtualClock()
    async with Supervisor() as supervisor:
        task = supervisor.spawn(Compactor(store, clock=clock).run(), name="compactor")
        await clock.advance(1)
        await store.close()
        await clock.advance(30)
        assert task.done()
