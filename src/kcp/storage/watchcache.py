"""Serves GET, LIST and WATCH from memory: one watch of the whole store feeds a cache per resource, made on first use.

Reads stay linearizable: `fresh` waits until everything acknowledged before the call is in the cache, which on embedded stores is one
comparison of numbers. All caches stand at the same revision between two awaits.
Before: `storage.sqlite`, `storage.memory`, `storage.etcd`. After: `registry`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

from kcp.aio.clock import Clock
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery.keys import ObjectKey
from kcp.storage.interface import (
    LATEST,
    Compacted,
    Event,
    FutureRevision,
    Revision,
    SlowConsumer,
    Store,
    StoreClosed,
    StoreError,
    StoreUnavailable,
    Unreadable,
)
from kcp.storage.item import Item, make_item
from kcp.storage.keyspace import ROOT_PREFIX, is_family, object_key, resource_of
from kcp.storage.prefixcache import History, PrefixCache
from kcp.storage.subscriptions import CacheEvent as CacheEvent
from kcp.storage.subscriptions import QueueLimits
from kcp.storage.subscriptions import Subscription as Subscription
from kcp.storage.subscriptions import translate as translate
from kcp.storage.wakeups import Wakeups

log = logging.getLogger(__name__)

_FILL_KEYS = 2_000
"""Objects listed per step while a cache is filled; other requests run in between."""

_CHANGES_S = 2.0
"""Time to read changes again for a first watch that begins earlier; after that it must list."""
_RETRY_S = 0.1
_MEND_AFTER_S = 5.0
"""Time between two tries to read a resource that cannot be decrypted; meanwhile its readers are told at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchCacheConfig:
    """Settings of the watch cache."""

    history_events: int = 10_000
    """Changes kept per resource; a watch that starts earlier is answered 410 Expired."""
    history_bytes: int = 16 << 20
    """The same in bytes of encoded objects."""
    queue_events: int = 10_000
    """Undelivered events at which a watcher is ended; it must list again."""
    queue_bytes: int = 16 << 20
    """The same in bytes of encoded objects."""


class WatchCache:
    """One per store. `start`, then run `run` as a supervised task."""

    def __init__(self, store: Store, *, clock: Clock, config: WatchCacheConfig | None = None) -> None:
        self._store = store
        self._clock = clock
        self._config = config or WatchCacheConfig()
        self._tasks = Supervisor("watch cache")
        self._revision = 0
        self._caches: dict[bytes, PrefixCache] = {}
        self._families: dict[bytes, PrefixCache] = {}
        """Those of `_caches` that hold all resources of one name; hardly anybody asks for one."""
        self._to_fill: set[bytes] = set()
        """What somebody has read a single object of, before its cache was there."""
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._ended: StoreError | None = None
        self._generation = 0
        """Counts restarts: a fill that spans one begins again."""

    async def start(self) -> None:
        """Find out where the store is. Nothing is read until somebody asks for a resource."""
        self._revision = await self._store.current_revision()

    async def run(self) -> None:
        """Follow the store until cancelled, or until it is closed."""
        try:
            while True:
                try:
                    await self._follow()
                except (SlowConsumer, Compacted):
                    await self._restart_when_possible()
        except StoreClosed:
            return
        finally:
            self._stop(StoreClosed("the watch cache has stopped"))
            await self._tasks.stop()

    async def _restart_when_possible(self) -> None:
        """A store that does not answer meanwhile is waited for: readers are told by their own requests."""
        while True:
            try:
                return await self._restart()
            except StoreUnavailable as error:
                log.warning("the watch cache cannot be filled again yet: %s", error)
                await self._clock.sleep(_RETRY_S)

    async def _follow(self) -> None:
        async with aclosing(self._store.watch(ROOT_PREFIX, Revision(self._revision), prev_values=False)) as batches:
            async for batch in batches:
                self._dispatch(batch)

    def _dispatch(self, batch: Sequence[Event]) -> None:
        caches, changed = self._caches, {}
        for event in batch:
            if event.is_progress:
                continue
            if (cache := caches.get(prefix := _resource_of(event.key))) is not None:
                cache.apply(event)
                changed[prefix] = cache
            if self._families and (cache := self._families.get(family := _family_of(event.key))) is not None:
                cache.apply(event)
                changed[family] = cache
        self._reached(batch[-1].revision)
        for cache in changed.values():
            cache.flush()

    def _reached(self, revision: int) -> None:
        self._revision = revision
        if self._waiters:
            waiting = self._waiters
            self._waiters = [entry for entry in waiting if entry[0] > revision]
            for wanted, waiter in waiting:
                if wanted <= revision and not waiter.done():
                    waiter.set_result(None)

    async def _restart(self) -> None:
        """The store's watch has a gap: list every resource anew at one revision; watchers list again (410 Expired)."""
        contents: dict[PrefixCache, dict[bytes, Item]] = {}
        self._generation += 1
        while True:
            revision = await self._store.current_revision()
            ready = [cache for cache in self._caches.values() if cache.is_ready]
            try:
                contents = {cache: items for cache in ready if (items := await self._list_readable(cache, revision)) is not None}
            except Compacted:
                await self._clock.sleep(_RETRY_S)
                continue
            if all(cache in contents for cache in self._caches.values() if cache.is_ready):
                break
        self._generation += 1
        for cache, items in contents.items():
            cache.end_subscriptions(Compacted(revision))
            cache.load(items, revision)
        self._reached(revision)

    async def _list_readable(self, cache: PrefixCache, revision: Revision) -> dict[bytes, Item] | None:
        """None of a resource that cannot be decrypted, which is lost then."""
        try:
            return (await self._list(cache, revision))[0]
        except Unreadable as fault:
            cache.lose(fault)
            return None

    def _stop(self, error: StoreError) -> None:
        self._ended = error
        for cache in self._caches.values():
            cache.end_subscriptions(error)
            cache.settled.set()
        for _, waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(error)
        self._waiters.clear()

    # --- freshness ---

    def revision(self) -> int:
        """What the cache has reached; every change up to here is in it."""
        return self._revision

    async def fresh(self) -> int:
        """Wait until the cache has everything acknowledged before the call; the revision it has reached."""
        target = self._store.current_revision_nowait()
        if target is None:
            target = await self._store.current_revision()
        if self._revision < target:
            await self.wait_revision(target)
        return self._revision

    async def wait_revision(self, revision: int) -> None:
        """Wait until the cache has reached `revision`.

        Raises: StoreClosed when the cache stops.
        """
        if self._revision >= revision:
            return
        if self._ended is not None:
            raise self._ended
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((revision, waiter))
        await waiter

    # --- caches ---

    def prefix_nowait(self, prefix: bytes) -> PrefixCache | None:
        """The cache of a resource if it is filled already."""
        cache = self._caches.get(prefix)
        return cache if cache is not None and cache.is_ready else None

    async def prefix(self, prefix: bytes, *, since: int = 0) -> PrefixCache:
        """The cache of a resource, or of a family of them (see `keyspace.resource_prefix`), filled on first use and shared.

        Args: since: a revision after which the changes are of interest; whoever asks first gets a history that reaches back to it, if the
        store's does.
        """
        while True:
            if self._ended is not None:
                raise self._ended
            cache = self._caches.get(prefix)
            if cache is None:
                return await self._make(prefix, since)
            if cache.is_ready:
                return cache
            if cache.fault is not None:
                return await self._mend(cache, cache.fault)
            await cache.settled.wait()
            if cache.fault is not None:
                raise cache.fault

    async def stored(self, prefix: bytes, key: ObjectKey) -> Item | None:
        """One object as the store has it, for a resource whose cache is not filled yet: with a million objects that takes seconds.

        The cache is filled meanwhile, for those who come later.
        """
        if self._ended is not None:
            raise self._ended
        if prefix not in self._caches and prefix not in self._to_fill:
            self._to_fill.add(prefix)
            self._tasks.spawn(self._fill_for_later(prefix), name="watch cache fill")
        found = await self._store.get(object_key(prefix, key))
        return make_item(key, found.value, found.mod_revision) if found is not None else None

    async def _fill_for_later(self, prefix: bytes) -> None:
        try:
            await self.prefix(prefix)
        except StoreError as error:
            log.info("%s: not read ahead: %s", prefix.decode(errors="replace"), error)  # who needs it tries again, and is told
        finally:
            self._to_fill.discard(prefix)

    async def _make(self, prefix: bytes, since: int) -> PrefixCache:
        config = self._config
        cache = self._caches[prefix] = PrefixCache(
            prefix,
            history=History(config.history_events, config.history_bytes),
            limits=QueueLimits(config.queue_events, config.queue_bytes),
            wakeups=Wakeups(self._clock, self._tasks),
            progress=self.revision,
        )
        if is_family(prefix):
            self._families[prefix] = cache
        try:
            return await self._fill_up(cache, since)
        finally:
            if not cache.is_ready and cache.fault is None:
                del self._caches[prefix]  # whoever waits for it tries again
                self._families.pop(prefix, None)

    async def _mend(self, cache: PrefixCache, fault: Unreadable) -> PrefixCache:
        """Fill a cache again in which something could not be decrypted: it may have been written anew, or the keys may be others now."""
        if self._clock.monotonic() < cache.mend_after_s:
            raise fault
        cache.reopen()
        try:
            return await self._fill_up(cache)
        finally:
            if not cache.is_ready:
                cache.lose(cache.fault or fault)

    async def _fill_up(self, cache: PrefixCache, since: int = 0) -> PrefixCache:
        try:
            if not (since and await self._fill_since(cache, since)):
                while not await self._fill(cache):
                    pass
            return cache
        except Unreadable as fault:
            cache.mend_after_s = self._clock.monotonic() + _MEND_AFTER_S
            cache.lose(fault)
            raise
        finally:
            cache.settled.set()

    async def _fill(self, cache: PrefixCache) -> bool:
        """False if the store's history moved on under it."""
        generation = self._generation
        try:
            items, revision = await self._list(cache, LATEST)
        except Compacted:
            return False
        await self.wait_revision(revision)  # else a reader could combine this content with an older revision
        if generation != self._generation:
            return False
        cache.load(items, revision)
        if cache.fault is not None:
            raise cache.fault
        cache.is_ready = True
        return True

    async def _fill_since(self, cache: PrefixCache, since: int) -> bool:
        """With what there was at an earlier revision, and the changes after it. False where that is too far back."""
        generation, target = self._generation, self._revision
        if not target - self._config.history_events <= since < target:
            return False
        try:
            items, _ = await self._list(cache, Revision(since))
            async with asyncio.timeout(_CHANGES_S):  # the revision reached need not be that of a change
                changes = await self._changes(cache.prefix, since, target)
        except (Compacted, FutureRevision, SlowConsumer, TimeoutError):
            return False
        if generation != self._generation:
            return False
        cache.load(items, since, changes)
        if cache.fault is not None:
            raise cache.fault
        cache.is_ready = True
        return True

    async def _changes(self, prefix: bytes, since: int, target: int) -> list[Event]:
        """Those of one resource after `since`, up to `target`, which the store has reached."""
        found: list[Event] = []
        async with aclosing(self._store.watch(ROOT_PREFIX, Revision(since), prev_values=False)) as batches:
            async for batch in batches:
                found += [event for event in batch if event.revision <= target and not event.is_progress and event.key.startswith(prefix)]
                if batch[-1].revision >= target:
                    break
        return found

    async def _list(self, cache: PrefixCache, revision: Revision) -> tuple[dict[bytes, Item], Revision]:
        items: dict[bytes, Item] = {}
        last = b""
        while True:
            page = await self._store.list(cache.prefix, after=last, limit=_FILL_KEYS, revision=revision)
            items.update(cache.make_items(page.items))
            if not page.remaining:
                return items, page.revision
            last, revision = page.items[-1].key, page.revision
            await self._clock.sleep(0)

    def compact(self, revision: int) -> int:
        """Forget changes at or before `revision` in every history. Returns the bytes of the objects in them."""
        return sum(cache.compact(revision) for cache in self._caches.values())

    def objects(self) -> list[tuple[str, int]]:
        """How many objects of each resource are held."""
        of_one = ((prefix, cache) for prefix, cache in self._caches.items() if prefix not in self._families)
        return [(str(resource_of(prefix)), cache.statistics()["objects"]) for prefix, cache in of_one]

    def held(self) -> int:
        """Objects and changes, of all resources together."""
        return sum(len(cache) + cache.statistics()["history"] for cache in self._caches.values())

    def statistics(self) -> dict[str, int]:
        per_cache = [cache.statistics() for cache in self._caches.values()]
        return {
            "revision": self._revision,
            "caches": len(self._caches),
            **{what: sum(s[what] for s in per_cache) for what in ("objects", "history", "subscriptions")},
        }


def _resource_of(key: bytes) -> bytes:
    """The resource prefix of a key: its first four segments; b"" for a key that has fewer."""
    end = len(ROOT_PREFIX) - 1
    for _ in range(3):
        end = key.find(b"/", end + 1)
        if end < 0:
            return b""
    return key[: end + 1]


def _family_of(key: bytes) -> bytes:
    """The family prefix of a key: its first three segments."""
    prefix = _resource_of(key)
    return prefix[: prefix.rfind(b"/", 0, -1) + 1]
