"""What admission remembers of namespaces."""

from __future__ import annotations

import sys

from kcp.aio.clock import VirtualClock
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.server.objects import NAMESPACES, BuiltinObjects
from kcp.storage.keyspace import object_key, resource_prefix
from kcp.storage.memory import MemoryStore
from kcp.storage.watchcache import WatchCache

CLUSTER = ClusterName("here")
KEY = object_key(resource_prefix(NAMESPACES), ObjectKey(CLUSTER, "", "default"))


async def test_a_namespace_is_decoded_once_and_forgotten_when_it_is_deleted() -> None:
    store, clock = MemoryStore(), VirtualClock()
    cache = WatchCache(store, clock=clock)
    await cache.start()
    objects = BuiltinObjects(cache)
    async with Supervisor() as supervisor:
        supervisor.spawn(cache.run(), name="watch cache")
        revision = await store.create(KEY, b'{"metadata":{"resourceVersion":"","name":"default"}}')
        found = await objects.namespace(CLUSTER, "default")
        assert found is not None
        assert await objects.namespace(CLUSTER, "default") is found
        held = sys.getrefcount(found)
        await cache.wait_revision(await store.delete(KEY, revision))
        assert sys.getrefcount(found) == held - 1
        assert await objects.namespace(CLUSTER, "default") is None
