"""Tells who waits for it that a pod has changed: for logs that are followed and terminals that are attached.

One listener for all pods of a cluster, which costs nothing while nobody waits. Before: `podlogs`, `dialing`. After: the watch cache.
"""

from __future__ import annotations

import asyncio

from kcp.aio.clock import Clock
from kcp.aio.deadline import within
from kcp.apimachinery.gvk import GroupResource
from kcp.storage.keyspace import resource_prefix
from kcp.storage.subscriptions import CacheEvent
from kcp.storage.watchcache import WatchCache


class PodChanges:
    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str], set[asyncio.Event]] = {}

    @classmethod
    async def open(cls, cache: WatchCache) -> PodChanges:
        made = cls()
        (await cache.prefix(resource_prefix(GroupResource("", "pods")))).listen(made._changed)
        return made

    def _changed(self, event: CacheEvent) -> None:
        if self._waiting:
            key = event.item.key
            for waiting in self._waiting.get((key.namespace, key.name), ()):
                waiting.set()

    async def wait(self, namespace: str, name: str, clock: Clock, at_most_s: float) -> None:
        """Until the pod changes, or for so long."""
        changed = asyncio.Event()
        waiting = self._waiting.setdefault((namespace, name), set())
        waiting.add(changed)
        try:
            await within(clock, at_most_s, _until(changed))
        except TimeoutError:
            return  # it is time to look again
        finally:
            waiting.discard(changed)
            if not waiting:
                self._waiting.pop((namespace, name), None)


async def _until(changed: asyncio.Event) -> None:
    await changed.wait()
