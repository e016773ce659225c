"""What a resource of a view does when something changes: how much it reads and aggregates, what watchers get, and that nothing grows.

Work is counted, not timed: objects aggregated, and words of one cluster about one object that are read.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from random import Random

import orjson
import pytest

from kcp.aio.clock import VirtualClock, settle
from kcp.aio.metrics import Meter
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.storage.interface import Revision
from kcp.storage.keyspace import object_key, resource_prefix
from kcp.storage.memory import MemoryStore
from kcp.storage.prefixcache import History, PrefixCache
from kcp.storage.subscriptions import QueueLimits
from kcp.storage.wakeups import Wakeups
from kcp.storage.watchcache import WatchCache
from kcp.tmc.health.states import Status
from kcp.tmc.model.names import STATE_LABEL, STATE_SYNC, STATUS_ANNOTATION
from kcp.tmc.overview.instances import Kind, Target
from kcp.tmc.overview.resourceview import About, ResourceView
from kcp.tmc.overview.spec import Policy

DEPLOYMENTS = GroupResource("apps", "deployments")
PREFIX = resource_prefix(DEPLOYMENTS)
HISTORY = 200


@dataclass
class Scene:
    store: MemoryStore
    cache: WatchCache
    supervisor: Supervisor
    targets: dict[str, Target] = field(default_factory=dict)
    revisions: dict[str, Revision] = field(default_factory=dict)

    async def view(self, clusters: int) -> ResourceView:
        self.targets = {f"c{n:04}": Target(f"c{n:04}", f"c{n:04}", {}) for n in range(clusters)}
        about = About(
            Kind(DEPLOYMENTS, "Deployment", has_status=True), Policy(), lambda: self.targets, lambda _item: True,
        )  # fmt: skip
        clock = VirtualClock()
        own = PrefixCache(
            PREFIX, history=History(HISTORY, 1 << 20), limits=QueueLimits(1000, 1 << 20), wakeups=Wakeups(clock, self.supervisor),
            progress=lambda: made.revision(),
        )  # fmt: skip
        made = ResourceView(about, await self.cache.prefix(PREFIX), self.cache, own, clock, lambda: None, PREFIX + b"ws/", Meter())
        made.source.listen(lambda event: made.touch((event.item.key,)))
        made.begin()
        await made.settle()
        return made

    async def put(self, name: str, ready: dict[str, int], *, status: dict[str, object] | None = None) -> None:
        """A Deployment of one replica on each of these clusters. Args: status: what they report, if not just how many are ready."""
        labels = {STATE_LABEL + cluster: STATE_SYNC for cluster in ready}
        told = {c: status or {"readyReplicas": n, "availableReplicas": n, "updatedReplicas": 1} for c, n in ready.items()}
        marks = {STATUS_ANNOTATION + c: json.dumps(found) for c, found in told.items()}
        metadata = {"resourceVersion": "", "name": name, "namespace": "d", "labels": labels, "annotations": marks, "generation": 1}
        value = orjson.dumps({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"replicas": 1}})
        key = object_key(PREFIX, ObjectKey(ClusterName("ws"), "d", name))
        held = self.revisions.get(name)
        self.revisions[name] = await (self.store.update(key, value, held) if held else self.store.create(key, value))
        await self.cache.fresh()


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    store = MemoryStore()
    cache = WatchCache(store, clock=VirtualClock())
    await cache.start()
    async with Supervisor() as supervisor:
        supervisor.spawn(cache.run(), name="watch cache")
        yield Scene(store, cache, supervisor)


@pytest.mark.parametrize("clusters", [10, 1000])
async def test_one_change_costs_the_same_whatever_the_number_of_clusters(scene: Scene, clusters: int) -> None:
    for number in range(30):
        await scene.put(f"w{number}", {f"c{n % clusters:04}": 1 for n in range(number, number + 3)})
    view = await scene.view(clusters)
    before = replace(view.work)
    await scene.put("w7", {"c0007": 0, "c0008": 1, "c0009": 1})
    await view.settle()
    assert (view.work.aggregated - before.aggregated, view.work.read - before.read) == (1, 1)


@pytest.mark.parametrize("copies", [10, 300])
async def test_of_an_object_on_many_clusters_only_the_word_that_changed_is_read(scene: Scene, copies: int) -> None:
    ready = {f"c{n:04}": 1 for n in range(copies)}
    await scene.put("wide", ready)
    view = await scene.view(copies)
    before = replace(view.work)
    await scene.put("wide", {**ready, "c0003": 0})
    await view.settle()
    assert (view.work.aggregated - before.aggregated, view.work.read - before.read) == (1, 1)


async def test_a_dead_cluster_costs_its_own_objects_only(scene: Scene) -> None:
    for number in range(100):
        await scene.put(f"w{number:03}", {f"c{number * 10:04}": 1})
    view = await scene.view(1000)
    assert view.health == {Status.HEALTHY: 100}
    before = replace(view.work)
    for number in range(300):
        key = f"c{number:04}"
        scene.targets = {**scene.targets, key: replace(scene.targets[key], trouble="no heartbeat")}
        view.touch_target(key)
    await view.settle()
    assert view.work.aggregated - before.aggregated == 30
    assert view.work.read == before.read
    assert +view.health == {Status.HEALTHY: 70, Status.UNKNOWN: 30}


async def test_watchers_get_each_object_of_a_failed_cluster_at_a_revision_of_its_own(scene: Scene) -> None:
    for number in range(20):
        await scene.put(f"w{number}", {"c0000": 1})
    view = await scene.view(1)
    subscription = view.cache.subscribe(PREFIX, after=view.revision())
    scene.targets = {"c0000": replace(scene.targets["c0000"], trouble="no heartbeat")}
    view.touch_target("c0000")
    await view.settle()
    events = await anext(subscription)
    revisions = [event.revision for event in events]
    assert len(events) == 20
    assert revisions == sorted(set(revisions))
    assert view.revision() >= revisions[-1]
    middle = view.cache.subscribe(PREFIX, after=revisions[9])
    assert len(await anext(middle)) == 10, "a watch may begin in the midst of it"


async def test_status_that_changes_all_the_time_is_aggregated_once_for_all_who_look_later(scene: Scene) -> None:
    await scene.put("busy", {"c0000": 1})
    view = await scene.view(1)
    before = replace(view.work)
    for turn in range(500):
        await scene.put("busy", {"c0000": turn % 2})
    assert view.waiting == 1
    await view.settle()
    assert view.work.aggregated - before.aggregated == 1
    for turn in range(3 * HISTORY):
        await scene.put("busy", {"c0000": turn % 2})
        await view.settle()
    assert view.cache.statistics() == {"objects": 1, "history": HISTORY, "subscriptions": 0}


async def test_what_changes_nothing_that_is_shown_is_no_event(scene: Scene) -> None:
    await scene.put("web", {"c0000": 1})
    view = await scene.view(1)
    revision = view.cache.last_change
    await scene.put("web", {"c0000": 1})
    await view.settle()
    assert view.cache.last_change == revision


async def test_what_is_deleted_or_placed_elsewhere_leaves_nothing_behind(scene: Scene) -> None:
    await scene.put("web", {"c0000": 1})
    await scene.put("api", {"c0000": 1})
    view = await scene.view(2)
    await scene.put("api", {"c0001": 1})
    await scene.store.delete(object_key(PREFIX, ObjectKey(ClusterName("ws"), "d", "web")))
    await scene.cache.fresh()
    await settle()
    await view.settle()
    assert [item.key.name for item in view.cache.scan(PREFIX)] == ["api"]
    assert view.by_target == {"c0001": {ObjectKey(ClusterName("ws"), "d", "api")}}
    assert +view.health == {Status.HEALTHY: 1}


async def test_a_status_that_makes_no_sense_harms_its_own_object_only(scene: Scene) -> None:
    await scene.put("odd", {"c0000": "many"})  # type: ignore[dict-item]
    await scene.put("web", {"c0000": 1})
    view = await scene.view(1)
    found = {item.key.name: item.decode() for item in view.cache.scan(PREFIX)}
    assert +view.health == {Status.HEALTHY: 1, Status.UNKNOWN: 1}
    assert "invalid literal" in next(iter(view.problems.values()))[0]
    assert "invalid literal" in found["odd"]["metadata"]["annotations"]["tmc.kcp.io/aggregate"]
    await scene.put("odd", {"c0000": 1}, status={"readyReplicas": 10**30})
    await view.settle()
    assert "exceeds 64-bit" in next(iter(view.problems.values()))[0]
    await scene.put("odd", {"c0000": 1})
    await view.settle()
    assert +view.health == {Status.HEALTHY: 2}
    assert view.problems == {}


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_stands_in_a_status_the_view_goes_on(scene: Scene, seed: int) -> None:
    chance = Random(seed)
    view = await scene.view(3)
    for number in range(60):
        status = {name: _anything(chance, 3) for name in chance.sample(_NAMES, 4)}
        await scene.put(f"w{number % 7}", {f"c{n:04}": 1 for n in range(3)}, status=status)
        await view.settle()
    assert len(view.cache) == sum(view.health.values()) == min(60, 7)


_NAMES = ("readyReplicas", "replicas", "availableReplicas", "conditions", "observedGeneration", "phase", "loadBalancer", "updatedReplicas")


def _anything(chance: Random, depth: int) -> object:
    plain = [None, True, -1, 10**30, 1.5, "", "x", [], {}, [None], {"type": 3}, [{"type": "Available", "status": 1}]]
    if depth and chance.random() < 0.4:
        return [_anything(chance, depth - 1)] if chance.random() < 0.5 else {chance.choice(_NAMES): _anything(chance, depth - 1)}
    return chance.choice(plain)
