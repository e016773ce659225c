"""How quick the stores and the watch cache are: durable writes, dispatch to watchers, opening.

.venv/bin/python benchmarks/storage.py [--seconds 3] [--directory /var/tmp]
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import uvloop

from kcp.aio.clock import SystemClock
from kcp.aio.supervisor import Supervisor
from kcp.storage.interface import Store
from kcp.storage.memory import MemoryStore
from kcp.storage.sqlite import SQLiteStore
from kcp.storage.watchcache import WatchCache

PREFIX = b"/registry/core/configmaps/-/"
VALUE = orjson.dumps(
    {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"resourceVersion": "", "name": "a", "namespace": "default", "labels": {"app": "web"}},
        "data": {"x": "y" * 850},
    }
)


async def write(store: Store, cache: WatchCache, writers: int, seconds: float) -> tuple[float, float, float]:
    """Creates per second until each is durable and in the watch cache; p50 and p99 in milliseconds."""
    took: list[float] = []
    until = time.perf_counter() + seconds

    async def one(writer: int) -> None:
        i, now = 0, time.perf_counter()
        while now < until:
            revision = await store.create(PREFIX + b"root/default/%d-%d-%d" % (writers, writer, i), VALUE)
            await cache.wait_revision(revision)
            i, before, now = i + 1, now, time.perf_counter()
            took.append(now - before)
            if isinstance(store, MemoryStore):
                await asyncio.sleep(0)

    started = time.perf_counter()
    await asyncio.gather(*(one(n) for n in range(writers)))
    elapsed = time.perf_counter() - started
    took.sort()
    return len(took) / elapsed, took[len(took) // 2] * 1e3, took[len(took) * 99 // 100] * 1e3


async def dispatch(cache: WatchCache, store: Store, idle: int, matching: int, events: int) -> float:
    """Events per second that reach `matching` watchers while `idle` others, of other clusters, do not match."""
    objects = await cache.prefix(PREFIX)
    after = cache.revision()
    others = [objects.subscribe(PREFIX + b"other-%d/" % i, after=after) for i in range(idle)]
    subscriptions = [objects.subscribe(PREFIX + b"bench/", after=after) for _ in range(matching)]

    async def drain(subscription: object) -> None:
        count = 0
        async for batch in subscription:  # type: ignore[attr-defined]
            for event in batch:
                assert event.plain().frame
            count += len(batch)
            if count == events:
                return

    draining = [asyncio.ensure_future(drain(s)) for s in subscriptions]
    started = time.perf_counter()
    for i in range(events):
        await store.create(PREFIX + b"bench/default/%d-%d-%d" % (idle, matching, i), VALUE)
        if i % 64 == 63:
            await cache.fresh()
    await asyncio.gather(*draining)
    elapsed = time.perf_counter() - started
    for subscription in (*others, *subscriptions):
        subscription.close()
    return events * matching / elapsed


@asynccontextmanager
async def cached(store: Store) -> AsyncIterator[WatchCache]:
    cache = WatchCache(store, clock=SystemClock())
    await cache.start()
    async with Supervisor() as supervisor:
        supervisor.spawn(cache.run(), name="watch cache")
        await cache.prefix(PREFIX)
        yield cache
    await store.close()


async def main(seconds: float, directory: Path) -> None:
    print(
        f"{platform.machine()}, CPython {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {len(VALUE)} byte values, {directory}"
    )
    for name in ("memory", "sqlite"):
        for writers in (1, 64):
            with tempfile.TemporaryDirectory(dir=directory) as folder:
                store: Store = MemoryStore() if name == "memory" else await SQLiteStore.open(Path(folder) / "kcp.db")
                async with cached(store) as cache:
                    rate, p50, p99 = await write(store, cache, writers, seconds)
                print(f"{name:7} {writers:3} writers, durable and in the cache {rate:9,.0f} /s   p50 {p50:6.2f} ms   p99 {p99:6.2f} ms")
    store = MemoryStore()
    async with cached(store) as cache:
        for idle, matching in ((1, 1), (100, 1), (10_000, 1), (0, 100)):
            rate = await dispatch(cache, store, idle, matching, 5_000)
            print(f"watch   {idle:6} idle watchers, {matching:3} matching {rate:14,.0f} events/s")
    await opening(directory)


async def opening(directory: Path, keys: int = 100_000) -> None:
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        path = Path(folder) / "kcp.db"
        async with await SQLiteStore.open(path) as store:
            for start in range(0, keys, 500):
                await asyncio.gather(*(store.create(PREFIX + b"root/default/%d" % i, VALUE) for i in range(start, start + 500)))
        started = time.perf_counter()
        store = await SQLiteStore.open(path)
        opened = time.perf_counter()
        async with cached(store) as cache:
            filled = time.perf_counter()
            gets = 5_000
            for i in range(gets):
                await store.get(PREFIX + b"root/default/%d" % i)
            got = time.perf_counter()
            assert len(await cache.prefix(PREFIX)) == keys
        fill_s, get_us = filled - opened, (got - filled) / gets * 1e6
        print(f"sqlite  open with {keys:,} keys {opened - started:.2f} s, fill the cache {fill_s:.2f} s, get {get_us:.0f} µs")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()))
    arguments = parser.parse_args()
    uvloop.run(main(arguments.seconds, arguments.directory))
