"""Controllers whose mirror is older than what they wrote last: they do nothing twice beside their own status.

Aspects: steps of a recovery that has ended, a second automatic recovery of one cluster, two migrations of one workload, an API whose last
import seems gone. What is written to the object itself is guarded by its resourceVersion.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.behaviour.tmc.test_migration_crash_points import at_home, ends
from tests.behaviour.tmc.world import CLOCK, World, running, until, with_target

from kcp.aio.clock import VirtualClock
from kcp.aio.metrics import Meter
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.controller.events import EventRecorder
from kcp.controller.informer import Informer
from kcp.tmc.apis.imports import IMPORTS, NEGOTIATED
from kcp.tmc.apis.negotiation import NegotiationReconciler
from kcp.tmc.migration.model import MIGRATIONS
from kcp.tmc.model.kinds import READY, SYNC_TARGETS, SYNCER_READY
from kcp.tmc.recovery.controller import RecoveryReconciler
from kcp.tmc.recovery.model import RECOVERIES, Done, Recovery, Step, StrategyName
from kcp.tmc.recovery.trigger import Trigger

NODES = GVR("", "v1", "nodes")
IMPORT = {
    "location": "east", "schemaUpdateStrategy": "UpdateUnpublished", "groupVersion": {"group": "demo.example.io", "version": "v1"},
    "scope": "Namespaced", "plural": "queues", "singular": "queue", "kind": "Queue", "listKind": "QueueList",
    "openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object"}}}, "subResources": [],
}  # fmt: skip


@dataclass
class Spy:
    """A strategy that only says that it was asked."""

    steps: list[str] = field(default_factory=list)

    async def step(self, recovery: Recovery) -> Step:
        self.steps.append(recovery.key.name)
        return Done("well")

    def next_steps(self, recovery: Recovery, error: object) -> list[str]:
        return []


def mirror(*objects: JSONObject) -> Any:
    """What an informer shows: these, whatever the server has."""
    by_key = {meta.key(obj): obj for obj in objects}
    return SimpleNamespace(get=by_key.get, list=lambda **_: list(objects), has_synced=True)


def recorder(world: World) -> EventRecorder:
    return EventRecorder(lambda cluster: world.client, component="test", clock=CLOCK)


async def ended(world: World, name: str) -> JSONObject:
    spec = {"errorType": "SyncFailure", "clusterName": "nowhere"}
    await world.create(RECOVERIES, "Recovery", name, spec=spec)
    found: JSONObject = await until(
        lambda: world.client.resource(RECOVERIES).get(name), lambda obj: bool(meta.nested(obj, "status", "completionTime", default=""))
    )
    return found


async def test_a_recovery_that_has_ended_takes_no_further_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with with_target(tmp_path, monkeypatch) as world:
        obj = await ended(world, "r")
        status = {name: value for name, value in obj["status"].items() if name not in ("completionTime", "nextAttemptTime")}
        old = {**obj, "status": {**status, "state": "InProgress", "startTime": obj["status"].get("startTime")}}
        spy = Spy()
        strategies: Any = dict.fromkeys(StrategyName, spy)
        reconciler = RecoveryReconciler(mirror(old), strategies, lambda cluster: world.client, CLOCK, Meter(), recorder(world))
        await reconciler.reconcile(meta.key(obj))
        assert spy.steps == []
        await world.client.resource(RECOVERIES).delete("r")
        await reconciler.reconcile(meta.key(obj))
        assert spy.steps == [], "nor one that is gone"


async def test_a_cluster_has_one_automatic_recovery_whatever_the_mirror_has_not_heard_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with with_target(tmp_path, monkeypatch) as world:
        target = await world.client.resource(SYNC_TARGETS).get("east")
        for kind in (SYNCER_READY, READY):
            told = conditions.build(kind, conditions.FALSE, reason="ClusterUnreachable", message="gone", now="2026-01-01T00:00:00Z")
            conditions.set_condition(target, told)
        clock = VirtualClock()
        trigger = Trigger(lambda key: target, mirror(), lambda cluster: world.client, clock)
        await trigger.reconcile(meta.key(target))
        await clock.advance(1.0)  # names go by the second
        await trigger.reconcile(meta.key(target))
        listed = (await world.client.resource(RECOVERIES).list()).items
        assert len([r for r in listed if r["spec"].get("clusterName") == "east"]) == 1


async def test_an_api_is_not_withdrawn_because_a_mirror_has_no_import_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with with_target(tmp_path, monkeypatch) as world:
        await world.create(IMPORTS, "APIResourceImport", "queues.east.v1.demo.example.io", spec=IMPORT)
        held = await until(lambda: found(world), bool)
        reconciler = NegotiationReconciler(mirror(held).get, lambda key: [], lambda cluster: world.client, CLOCK)
        await reconciler.reconcile(meta.key(held))
        assert meta.uid(await found(world)) == meta.uid(held)
        await world.client.resource(IMPORTS).delete("queues.east.v1.demo.example.io")
        await until(lambda: found(world), lambda left: not left)


async def test_a_workload_is_moved_by_one_migration_whatever_the_mirror_has_not_heard_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Informer.list
    monkeypatch.setattr(Informer, "list", lambda self, **more: [] if self.gvr == MIGRATIONS else whole(self, **more))
    async with running(tmp_path, monkeypatch) as world:
        await at_home(world)
        west = world.clusters["west"].client().resource(NODES)
        for node in (await west.list()).items:
            await west.patch(meta.name(node), {"spec": {"unschedulable": True}})
        spec = {"workload": {"name": "shop"}, "from": "east", "to": "west"}
        await world.create(MIGRATIONS, "Migration", "first", namespace="default", spec=spec)
        await ends(world, "first", "Moving")
        await world.create(MIGRATIONS, "Migration", "second", namespace="default", spec=spec)
        await ends(world, "second", "Failed")
        second = await world.client.resource(MIGRATIONS).get("second", namespace="default")
        assert "Migration first moves it already" in second["status"]["message"]


async def found(world: World) -> JSONObject:
    """The NegotiatedAPIResource."""
    listed = (await world.client.resource(NEGOTIATED).list()).items
    return listed[0] if listed else {}
