"""When watchers are woken.

Aspects: a few at once; many in portions; changes gather during the pause; one in the pause that looks by itself; queues bounded in bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from kcp.aio.clock import VirtualClock, settle
from kcp.aio.supervisor import Supervisor
from kcp.storage.interface import SlowConsumer
from kcp.storage.memory import MemoryStore
from kcp.storage.watchcache import Subscription, WatchCache, WatchCacheConfig

P = b"/registry/core/configmaps/-/"
VALUE = b'{"metadata":{"resourceVersion":"","name":"a"}}'


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def cache(store: MemoryStore, clock: VirtualClock) -> AsyncGenerator[WatchCache, None]:
    cache = WatchCache(store, clock=clock, config=WatchCacheConfig(queue_bytes=1_000))
    await cache.start()
    async with Supervisor() as supervisor:
        supervisor.spawn(cache.run(), name="watch cache")
        yield cache


class Watchers:
    """Each notes how many changes it got each time it was woken."""

    def __init__(self, cache: WatchCache) -> None:
        self.cache = cache
        self.taken: list[list[int]] = []

    async def start(self, group: asyncio.TaskGroup, count: int) -> list[asyncio.Task[None]]:
        objects = await self.cache.prefix(P)
        tasks = []
        for _ in range(count):
            self.taken.append([])
            tasks.append(group.create_task(_take(objects.subscribe(P, after=self.cache.revision()), self.taken[-1])))
        await settle()
        return tasks

    @property
    def woken(self) -> int:
        return sum(1 for taken in self.taken if taken)


async def _take(subscription: Subscription, taken: list[int]) -> None:
    async for batch in subscription:
        taken.append(len(batch))


async def test_a_few_watchers_are_woken_by_each_change(store: MemoryStore, cache: WatchCache) -> None:
    watchers = Watchers(cache)
    async with asyncio.TaskGroup() as group:
        tasks = await watchers.start(group, 10)
        for name in (b"a", b"b", b"c"):
            await store.create(P + b"root/ns/" + name, VALUE)
            await settle()
        assert watchers.taken == [[1, 1, 1]] * 10
        for task in tasks:
            task.cancel()


async def test_many_watchers_get_the_changes_of_a_burst_together(store: MemoryStore, cache: WatchCache, clock: VirtualClock) -> None:
    watchers = Watchers(cache)
    async with asyncio.TaskGroup() as group:
        tasks = await watchers.start(group, 200)
        for name in (b"a", b"b", b"c", b"d"):
            await store.create(P + b"root/ns/" + name, VALUE)
            await settle()
        assert watchers.taken == [[1]] * 200, "the first change comes at once"
        await clock.advance(0.02)
        assert watchers.taken == [[1, 3]] * 200
        await clock.advance(0.02)
        await store.create(P + b"root/ns/e", VALUE)
        await settle()
        assert watchers.taken == [[1, 3, 1]] * 200, "after a quiet time there is no pause"
        for task in tasks:
            task.cancel()


async def test_very_many_watchers_are_woken_in_portions(store: MemoryStore, cache: WatchCache, clock: VirtualClock) -> None:
    watchers = Watchers(cache)
    async with asyncio.TaskGroup() as group:
        tasks = await watchers.start(group, 600)
        await store.create(P + b"root/ns/a", VALUE)
        await settle()
        assert watchers.woken == 256
        await clock.advance(0.02)
        assert watchers.woken == 512
        await clock.advance(0.02)
        assert watchers.taken == [[1]] * 600
        for task in tasks:
            task.cancel()


async def test_a_watcher_that_looks_by_itself_during_the_pause_misses_nothing(
    store: MemoryStore, cache: WatchCache, clock: VirtualClock
) -> None:
    watchers = Watchers(cache)
    objects = await cache.prefix(P)
    async with asyncio.TaskGroup() as group:
        tasks = await watchers.start(group, 100)
        own = objects.subscribe(P, after=cache.revision())
        await store.create(P + b"root/ns/a", VALUE)
        assert len(await anext(own)) == 1
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await anext(own)
        await store.create(P + b"root/ns/b", VALUE)
        await settle()
        assert len(await anext(own)) == 1, "what is there is given without waiting"
        waiting = group.create_task(anext(own))
        await settle()
        await store.create(P + b"root/ns/c", VALUE)
        await clock.advance(0.02)
        assert len(waiting.result()) == 1
        for task in tasks:
            task.cancel()


async def test_what_waits_for_a_watcher_is_bounded_in_bytes(
    store: MemoryStore, cache: WatchCache, caplog: pytest.LogCaptureFixture
) -> None:
    objects = await cache.prefix(P)
    slow, idle = objects.subscribe(P, after=1), objects.subscribe(P, after=1, name="other")
    for number in range(3):
        await store.create(P + b"root/ns/%d" % number, VALUE + b" " * 400)
        await cache.fresh()
    with pytest.raises(SlowConsumer, match=r"3 undelivered events, 1\d\d\d bytes"):
        await anext(slow)
    assert "does not keep up" in caplog.text
    assert idle.progress(), "nothing waits for it"
