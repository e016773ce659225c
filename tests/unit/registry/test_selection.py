"""Selections of watches: an event is offered to those whom it may concern, however many others watch.

Aspects: other clusters, namespaces, names, labels, several labels of which one is common, fields, a namespace over all clusters; objects
that enter and leave by a field.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

import orjson
import pytest

from kcp.aio.clock import VirtualClock
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import WILDCARD, ClusterName
from kcp.apimachinery.selectors import FieldSelector, LabelSelector
from kcp.registry.backend import Scope
from kcp.registry.builtin import builtin_resources
from kcp.registry.resource import Resource
from kcp.registry.selection import select
from kcp.storage.item import Item
from kcp.storage.memory import MemoryStore
from kcp.storage.prefixcache import PrefixCache
from kcp.storage.watchcache import Subscription, WatchCache

ROOT = ClusterName("root")


@pytest.fixture(scope="module")
def pods() -> Resource:
    (found,) = builtin_resources([GroupResource("", "pods")])
    return found


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def objects(store: MemoryStore, pods: Resource) -> AsyncGenerator[PrefixCache, None]:
    cache = WatchCache(store, clock=VirtualClock())
    await cache.start()
    async with Supervisor() as supervisor:
        supervisor.spawn(cache.run(), name="watch cache")
        yield await cache.prefix(pods.storage_prefix)


def pod(node: str, phase: str = "Running") -> bytes:
    metadata = {"resourceVersion": "", "labels": {"app": "web", "part": "mine"}, "name": "web", "namespace": "default"}
    return orjson.dumps({"metadata": metadata, "spec": {"nodeName": node}, "status": {"phase": phase}})


def subscribe(objects: PrefixCache, scope: Scope, labels: str = "", fields: str = "") -> tuple[Subscription, list[Item]]:
    """With the objects that were held against the whole selection."""
    found = select(scope, LabelSelector.parse(labels) if labels else None, FieldSelector.parse(fields) if fields else None)
    looked_at: list[Item] = []
    matches = found.matches

    def counted(item: Item) -> bool:
        looked_at.append(item)
        return matches is None or matches(item)

    return objects.subscribe(found.prefix, after=1, matches=counted, name=found.name, traits=found.traits), looked_at


@pytest.mark.parametrize(
    ("cluster", "namespace", "labels", "fields"),
    [
        ("other-{}", "", "", ""),
        ("root", "other-{}", "", ""),
        ("root", "", "", "metadata.namespace=other-{}"),
        ("*", "other-{}", "", ""),
        ("root", "default", "", "metadata.name=other-{}"),
        ("*", "", "", "metadata.name=other-{}"),
        ("root", "default", "part=other-{}", ""),
        ("root", "default", "app=web,part=other-{}", ""),
        ("root", "default", "app in (web),part in (other-{})", ""),
        ("root", "default", "other-{}=yes", ""),
        ("root", "default", "part in (other-{},others)", ""),
        ("root", "default", "team,part!=other-{}", ""),
        ("*", "", "", "spec.nodeName=other-{}"),
        ("*", "", "", "spec.nodeName=other-{},status.phase!=Failed"),
        ("*", "", "", "status.phase=Running,spec.nodeName=other-{}"),
        ("root", "default", "app=web", "spec.nodeName=other-{}"),
    ],
)
async def test_an_event_is_not_offered_to_watchers_of_something_else(
    store: MemoryStore, objects: PrefixCache, pods: Resource, cluster: str, namespace: str, labels: str, fields: str
) -> None:
    others = [
        subscribe(
            objects, Scope(pods, ClusterName(cluster.format(i)), namespace.format(i)), labels.format(i), fields.format(i)
        )[1]
        for i in range(200)
    ]  # fmt: skip
    mine, _ = subscribe(objects, Scope(pods, ROOT, "default"))
    await store.create(pods.storage_prefix + b"root/default/web", pod("node"))
    assert len(await anext(mine)) == 1
    assert sum(map(len, others)) <= 1, "at most the first to come stands under what they have in common"


async def test_objects_enter_and_leave_by_the_value_of_a_field(store: MemoryStore, objects: PrefixCache, pods: Resource) -> None:
    here, _ = subscribe(objects, Scope(pods, WILDCARD), fields="spec.nodeName=here")
    unbound, _ = subscribe(objects, Scope(pods, WILDCARD), fields="spec.nodeName=")
    key = pods.storage_prefix + b"root/default/web"
    revision = await store.create(key, pod(""))
    for node in ("here", "there", "here"):
        revision = await store.update(key, pod(node), revision)
    await store.delete(key)
    for subscription, expected in ((here, ["ADDED", "DELETED", "ADDED", "DELETED"]), (unbound, ["ADDED", "DELETED"])):
        types: list[str] = []
        while len(types) < len(expected):
            types += [view.type for event in await anext(subscription) if (view := subscription.translate(event)) is not None]
        assert types == expected
        subscription.close()
    assert objects.statistics()["subscriptions"] == 0
