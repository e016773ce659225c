"""Migrations of other workloads than Deployments: StatefulSets, Jobs, CronJobs, and a kind that only a StatusRule knows.

Aspects: live, snapshot and halt-resume, and the way back; what is never in two clusters at once; what goes along; refusals that name the
field and say what to do instead.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.tmc.test_api_imports import QUEUES, crd
from tests.behaviour.tmc.test_migration_crash_points import ends
from tests.behaviour.tmc.world import QUIET, World, running, until

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Invalid
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.exports.names import BINDINGS
from kcp.tmc.apis.imports import NEGOTIATED
from kcp.tmc.migration.model import MIGRATIONS
from kcp.tmc.model.kinds import NAMESPACES, PLACEMENTS, STATUS_RULES, SYNC_TARGETS
from kcp.tmc.model.moves import MOVE_ANNOTATION, pins
from kcp.tmc.model.names import SPEC_DIFF_ANNOTATION, keys_with
from kcp.tmc.syncer.importer import CRDS

STATEFUL_SETS, JOBS, CRON_JOBS = GVR("apps", "v1", "statefulsets"), GVR("batch", "v1", "jobs"), GVR("batch", "v1", "cronjobs")
CONFIG_MAPS = GVR("", "v1", "configmaps")
NAMES = {STATEFUL_SETS: "StatefulSet", JOBS: "Job", CRON_JOBS: "CronJob", QUEUES: "Queue"}
PODS = {"containers": [{"name": "main", "image": "nginx"}]}
LABELS = {"app": "x"}
STATEFUL: JSONObject = {
    "replicas": 2, "serviceName": "x", "selector": {"matchLabels": LABELS}, "template": {"metadata": {"labels": LABELS}, "spec": PODS},
}  # fmt: skip
JOB: JSONObject = {"template": {"spec": {**PODS, "restartPolicy": "Never"}}}
SPECS: dict[GVR, JSONObject] = {
    STATEFUL_SETS: STATEFUL, JOBS: JOB, CRON_JOBS: {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": JOB}}, QUEUES: {"length": 3},
}  # fmt: skip
RULE = {"group": QUEUES.group, "kind": "Queue", "health": "object.status.open == true"}


@asynccontextmanager
async def at_home(directory: Path, patch: pytest.MonkeyPatch, *, queues: bool = False) -> AsyncIterator[World]:
    """Everything of the workspace is in east. Args: queues: the clusters have an API that the workspace binds."""
    async with running(directory, patch, config=replace(QUIET, wanted=("queues.demo.example.io",)) if queues else QUIET) as world:
        await world.client.resource(SYNC_TARGETS).patch("east", {"metadata": {"labels": {"site": "east"}}})
        rule = {"type": "Label", "field": "site", "operator": "In", "values": ["east"]}
        await world.client.resource(PLACEMENTS).patch("all", {"spec": {"numberOfClusters": 1, "constraints": {"rules": [rule]}}})
        if queues:
            await publish_queues(world)
        yield world


async def publish_queues(world: World) -> None:
    for cluster in world.clusters.values():
        await cluster.client().resource(CRDS).create(crd({"type": "integer"}))
    exports = [{"path": "root:compute", "export": "kubernetes"}, {"export": "kubernetes"}]
    for target in world.clusters:
        await world.client.resource(SYNC_TARGETS).patch(target, {"spec": {"supportedAPIExports": exports}})

    async def published() -> bool:
        listed = (await world.client.resource(NEGOTIATED).list()).items
        return any(conditions.is_true(obj, "Published") for obj in listed if obj["spec"]["plural"] == "queues")

    await until(published, bool, timeout_s=20.0)
    await world.create(BINDINGS, "APIBinding", "own", spec={"reference": {"export": {"name": "kubernetes"}}})
    await until(world.client.discover, lambda found: QUEUES in {r.gvr for r in found}, timeout_s=20.0)


async def copies(world: World, gvr: GVR, name: str = "x") -> list[str]:
    """Clusters that have a copy which does something: is not stopped, and not on its way out."""
    found = []
    for cluster in world.clusters.values():
        for copy in (await cluster.client().resource(gvr).list()).items:
            stopped = copy["spec"].get("suspend") or copy["spec"].get("replicas") == 0 or meta.deletion_timestamp(copy)
            found += [cluster.name] if meta.name(copy) == name and not stopped else []
    return found


async def migrate(world: World, name: str, gvr: GVR, mode: str, **more: Any) -> None:
    workload = {"apiVersion": gvr.api_version, "kind": NAMES[gvr], "name": "x"}
    spec = {"workload": workload, "from": "east", "to": "west", "strategy": mode, **more}
    await world.create(MIGRATIONS, "Migration", name, namespace="default", spec=spec)


async def status_of(world: World, name: str) -> JSONObject:
    found: JSONObject = (await world.client.resource(MIGRATIONS).get(name, namespace="default")).get("status") or {}
    return found


async def make(world: World, gvr: GVR, name: str = "x", **more: Any) -> None:
    await world.create(gvr, NAMES[gvr], name, namespace="default", spec={**SPECS[gvr], **more})
    await until(lambda: copies(world, gvr, name), lambda found: found == ["east"])


async def is_clean(world: World, gvr: GVR) -> None:
    """Nothing of a migration is left."""
    held = await world.client.resource(gvr).get("x", namespace="default")
    assert MOVE_ANNOTATION not in meta.annotations(held)
    assert pins(await world.client.resource(NAMESPACES).get("default")) == {}

    async def diffs() -> dict[str, str]:
        return keys_with(meta.annotations(await world.client.resource(gvr).get("x", namespace="default")), SPEC_DIFF_ANNOTATION)

    await until(diffs, lambda found: not found)


@pytest.mark.parametrize(
    ("gvr", "modes"),
    [(STATEFUL_SETS, ("live", "halt-resume", "snapshot")), (JOBS, ("halt-resume", "snapshot")), (CRON_JOBS, ("halt-resume", "snapshot"))],
)
async def test_a_workload_moves_each_way_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gvr: GVR, modes: tuple[str, ...]
) -> None:
    async with at_home(tmp_path, monkeypatch) as world:
        await make(world, gvr)
        await make(world, gvr, "other")
        await world.create(CONFIG_MAPS, "ConfigMap", "settings", namespace="default", data={"a": "1"})
        for mode in modes:
            await there_and_back(world, gvr, mode)


async def settings(world: World) -> set[str]:
    """What went along to west."""
    return {meta.name(m) for m in (await world.clusters["west"].client().resource(CONFIG_MAPS).list()).items}


async def there_and_back(world: World, gvr: GVR, mode: str) -> None:
    seen: set[tuple[str, ...]] = set()

    async def phase() -> str:
        seen.add(tuple(await copies(world, gvr)))
        return str((await status_of(world, mode)).get("phase"))

    await migrate(world, mode, gvr, mode)
    await until(phase, lambda found: found in ("Completed", "Failed", "RolledBack"), timeout_s=25.0)
    status = await status_of(world, mode)
    assert status["message"] == "west runs it", status
    assert await copies(world, gvr) == ["west"]
    assert await copies(world, gvr, "other") == ["east"], "what was not moved stays"
    await until(lambda: settings(world), lambda found: "settings" in found)
    assert (("east", "west") in seen) == (mode == "live"), seen
    await world.client.resource(MIGRATIONS).patch(mode, {"spec": {"rollback": True}}, namespace="default")
    seen.clear()
    await until(phase, lambda found: found == "RolledBack", timeout_s=25.0)
    await until(lambda: copies(world, gvr), lambda found: found == ["east"])
    if gvr != STATEFUL_SETS:
        assert ("east", "west") not in seen, "a Job is not done twice on the way back either"
    await is_clean(world, gvr)


async def test_a_kind_with_a_status_rule_moves_when_the_rule_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with at_home(tmp_path, monkeypatch, queues=True) as world:
        await make(world, QUEUES)
        await make(world, QUEUES, "other")
        await migrate(world, "early", QUEUES, "live")
        await ends(world, "early", "Failed")
        assert (await status_of(world, "early"))["message"].startswith(
            "spec.workload.kind: nothing says when a Queue is healthy: make a StatusRule"
        )
        await world.create(STATUS_RULES, "StatusRule", "queues", spec=RULE)
        await migrate(world, "halt", QUEUES, "halt-resume")
        await ends(world, "halt", "Failed")
        assert (await status_of(world, "halt"))["message"].startswith("spec.strategy: nobody knows how a Queue is stopped: use live")
        await migrate(world, "m", QUEUES, "live")
        await until(lambda: copies(world, QUEUES), lambda found: found == ["east", "west"])
        await until(functools.partial(status_of, world, "m"), lambda found: "west reports Unknown" in found.get("message", ""))
        west = world.clusters["west"].client().resource(QUEUES)
        (copy,) = [c for c in (await west.list()).items if meta.name(c) == "x"]
        await west.patch("x", {"status": {"open": True}}, namespace=meta.namespace(copy), subresource="status")
        await ends(world, "m", "Completed")
        assert (await copies(world, QUEUES), await copies(world, QUEUES, "other")) == (["west"], ["east"])


SENSELESS = [
    ({"kind": "DaemonSet"}, "spec.workload.kind: .*a DaemonSet runs on every node"),
    ({"apiVersion": "v1", "kind": "ConfigMap"}, "spec.workload.kind: .*goes along with the workloads"),
    ({"apiVersion": "batch/v1", "kind": "Job"}, "spec.strategy: .*use halt-resume"),
    ({"apiVersion": "v1", "kind": "Pod"}, "spec.workload.kind: .*name the workload that it was made for"),
]


async def test_what_makes_no_sense_is_refused_with_field_and_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with at_home(tmp_path, monkeypatch) as world:
        for workload, text in SENSELESS:
            spec = {"workload": {**workload, "name": "x"}, "from": "east", "to": "west"}
            with pytest.raises(Invalid, match=text):
                await world.create(MIGRATIONS, "Migration", "m", namespace="default", spec=spec)
        claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
        await make(world, STATEFUL_SETS, volumeClaimTemplates=[claim])
        await migrate(world, "m", STATEFUL_SETS, "live")
        await ends(world, "m", "Failed")
        assert (await status_of(world, "m"))["message"].startswith("spec.strategy: its volumes do not move")
        await migrate(world, "odd", STATEFUL_SETS, "live", workload={"apiVersion": "apps/v9", "kind": "StatefulSet", "name": "x"})
        await ends(world, "odd", "Failed")
        assert "this workspace serves no StatefulSet of apps/v9" in (await status_of(world, "odd"))["message"]
