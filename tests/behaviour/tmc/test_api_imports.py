"""Which APIs a cluster has: imports written by its syncer, compared by the control plane, told in `status.syncedResources`; APIs that come and
go while everybody runs, found long before the next poll.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.tmc.gosyncer import started
from tests.behaviour.tmc.world import QUIET, World, running, until, with_target

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.exports.names import BINDINGS, EXPORTS, SCHEMAS
from kcp.tmc.apis.imports import IMPORTS
from kcp.tmc.model.kinds import SYNC_TARGETS
from kcp.tmc.syncer.importer import CRDS

QUEUES = GVR("demo.example.io", "v1", "queues")
LENGTH = {"type": "integer"}
assert QUIET.discovery_period_s > 600, "nothing here may wait for a poll"


def structure(length: JSONObject) -> JSONObject:
    spec = {"type": "object", "properties": {"length": length, "owner": {"type": "string"}}}
    status = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {"type": "object", "properties": {"spec": spec, "status": status}}


def crd(length: JSONObject) -> JSONObject:
    names = {"plural": "queues", "singular": "queue", "kind": "Queue", "listKind": "QueueList"}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": structure(length)},
        "subresources": {"status": {}},
    }
    spec = {"group": QUEUES.group, "names": names, "scope": "Namespaced", "versions": [version]}
    metadata = {"name": "queues.demo.example.io"}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": metadata, "spec": spec}


async def publish(world: World) -> None:
    """An API for TMC, exported, bound and supported by both targets."""
    made = crd(LENGTH)
    version = {**made["spec"]["versions"][0], "schema": structure(LENGTH)}
    schema = {**made["spec"], "versions": [version]}
    name = "v1.queues.demo.example.io"
    await world.create(SCHEMAS, "APIResourceSchema", name, spec=schema)
    resource = {"group": QUEUES.group, "name": "queues", "schema": name, "storage": {"crd": {}}}
    metadata = {"name": "queues", "annotations": {"extra.apis.kcp.io/compute.workload.kcp.io": "true"}}
    await world.create(EXPORTS, "APIExport", "queues", metadata=metadata, spec={"resources": [resource]})
    await world.create(BINDINGS, "APIBinding", "queues", spec={"reference": {"export": {"name": "queues"}}})
    exports = [{"path": "root:compute", "export": "kubernetes"}, {"export": "queues"}]
    for target in world.clusters:
        await world.client.resource(SYNC_TARGETS).patch(target, {"spec": {"supportedAPIExports": exports}})


async def entry(world: World, target: str, resource: str = "queues") -> dict[str, Any]:
    found = await world.client.resource(SYNC_TARGETS).get(target)
    entries = meta.nested(found, "status", "syncedResources", default=())
    return next((dict(e) for e in entries if e["resource"] == resource), {})


async def copies(world: World) -> list[str]:
    found: list[str] = []
    for cluster in world.clusters.values():
        served = {r.gvr for r in await cluster.client().discover()}
        if QUEUES in served:
            found += [cluster.name for q in (await cluster.client().resource(QUEUES).list()).items if meta.name(q) == "jobs"]
    return found


async def test_what_a_cluster_has_is_imported_and_accepted_with_its_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        found = await until(functools.partial(entry, world, "east", "deployments"), lambda e: e.get("state") == "Accepted")
        export = await world.server.client.cluster("root:compute").resource(EXPORTS).get("kubernetes")
        assert (found["group"], found["versions"], found["identityHash"]) == ("apps", ["v1"], export["status"]["identityHash"])
        held = await world.client.resource(IMPORTS).get("deployments.east.v1.apps")
        assert (held["spec"]["location"], held["spec"]["kind"]) == ("east", "Deployment")
        assert [owner["name"] for owner in meta.owner_references(held)] == ["east"]


async def test_an_api_that_appears_in_a_cluster_is_synced_within_two_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        await publish(world)
        await until(functools.partial(entry, world, "east"), lambda e: e.get("state") == "Incompatible")
        assert (await entry(world, "east"))["message"] == "the cluster does not serve it"
        await until(lambda: world.client.discover(), lambda found: QUEUES in {r.gvr for r in found})
        await world.create(QUEUES, "Queue", "jobs", namespace="default", spec={"length": 3})
        await world.clusters["east"].client().resource(CRDS).create(crd(LENGTH))
        await until(functools.partial(copies, world), lambda names: names == ["east"])
        await until(functools.partial(entry, world, "east"), lambda e: e.get("state") == "Accepted")
        await world.clusters["east"].client().resource(CRDS).delete("queues.demo.example.io")
        await until(functools.partial(entry, world, "east"), lambda e: e.get("state") == "Incompatible")


async def test_an_api_that_means_something_else_in_a_cluster_is_incompatible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        await world.clusters["west"].client().resource(CRDS).create(crd({"type": "string"}))
        await world.clusters["east"].client().resource(CRDS).create(crd({"type": "integer", "maximum": 10}))
        await publish(world)
        found = await until(functools.partial(entry, world, "west"), lambda e: "string" in e.get("message", ""))
        assert (found["state"], found["message"]) == ("Incompatible", ".spec.length: is string there, not integer")
        found = await until(functools.partial(entry, world, "east"), lambda e: "maximum" in e.get("message", ""))
        assert found["message"] == ".spec.length: maximum is 10 there"


async def test_the_syncer_of_kcp_0_11_has_its_imports_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with with_target(tmp_path, monkeypatch) as world:
        await publish(world)
        syncer = await started(world, "east")
        await until(functools.partial(entry, world, "east"), lambda e: e.get("state") == "Pending")
        await syncer.import_apis([crd(LENGTH)])
        assert (await until(functools.partial(entry, world, "east"), lambda e: e.get("state") == "Accepted"))["identityHash"]
        await syncer.import_apis([crd({"type": "string"})])
        await until(functools.partial(entry, world, "east"), lambda e: e.get("state") == "Incompatible")
        await world.client.resource(SYNC_TARGETS).delete("east")
        await world.gone(IMPORTS, "queues.east.v1.demo.example.io")
