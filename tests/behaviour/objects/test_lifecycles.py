"""The life of one object of each of Kubernetes' kinds, as the conformance tests describe it: discovery of the kind, create, get, list in
one namespace and in all, watch, patch, update, status (read, patch, update), deletion of a collection by label.

Source: k8s.io/kubernetes/test/conformance/testdata/conformance.yaml, the tests whose names end in "API operations" or "lifecycle".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.objects.samples import SAMPLES, Sample
from tests.behaviour.objects.world import Api, World, simulated

from kcp.aio.clock import SystemClock
from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.server.compose import run_server
from kcp.server.options import Options
from kcp.tenancy import kinds
from kcp.tenancy.waiting import wait_for

NAMESPACE = "lifecycle"
STATUS_ALONE = (
    "APIService", "FlowSchema", "PriorityLevelConfiguration", "ResourceClaim", "ServiceCIDR", "ValidatingAdmissionPolicy", "VolumeAttachment",
)  # fmt: skip
"""Kinds whose status strategy puts metadata back."""


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with simulated() as running:
        await running.make("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        yield running


def _filled(sample: Sample, number: int, label: str) -> dict[str, Any]:
    obj = sample.named(number, lifecycle=label)
    if sample.kind == "APIService":
        obj["spec"] = {**obj["spec"], "version": f"v1alpha{number}"}
    return obj


async def test_every_kind_lives_as_the_conformance_tests_describe(world: World) -> None:
    await _all_live(world, SAMPLES)


async def test_the_kinds_of_a_workspace_live_there_too(tmp_path: Path) -> None:
    options = Options(root_directory=tmp_path / ".kcp", in_memory=True)
    async with run_server(options, clock=SystemClock(), with_socket=False) as server:
        workspaces = server.client.cluster("root").resource(kinds.WORKSPACES)
        spec = {"type": {"name": "universal", "path": "root"}}
        await workspaces.create({"apiVersion": kinds.WORKSPACES.api_version, "kind": "Workspace", "metadata": {"name": "w"}, "spec": spec})
        await wait_for(workspaces, "w", lambda w: meta.nested(w, "status", "phase") == "Ready", timeout_s=10.0, what="w")
        api = Api(server.client.cluster("root:w"))
        await api.make("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        await _all_live(api, [sample for sample in SAMPLES if sample.in_workspaces])


async def _all_live(world: Api, samples: Iterable[Sample]) -> None:
    faults = []
    for sample in samples:
        try:
            await _live(world, sample)
        except AssertionError as fault:
            faults.append(f"{sample.gvr}: {fault}")
    assert not faults, "\n".join(faults)


async def _live(world: Api, sample: Sample) -> None:
    await _discovered(world, sample)
    made = await world.make(sample.path(NAMESPACE), _filled(sample, 1, "first"))
    name = meta.name(made)
    assert all((meta.uid(made), meta.resource_version(made), meta.creation_timestamp(made)))
    start = meta.resource_version(made)
    one = sample.path(NAMESPACE, name)
    assert (await world.get(one))["kind"] == sample.kind
    for where in (sample.path(NAMESPACE), sample.path()):
        listed = await world.get(where, labelSelector="lifecycle=first")
        assert [meta.name(item) for item in listed["items"]] == [name]
        assert listed["kind"] == f"{sample.kind}List"
    patched = await world.change(one, {"metadata": {"annotations": {"patched": "true"}}})
    assert meta.annotations(patched)["patched"] == "true"
    await _updated(world, one)
    if sample.status is not None:
        await _status(world, sample, one, sample.status)
    await world.make(sample.path(NAMESPACE), _filled(sample, 2, "second"))
    await _collected(world, sample, start)


async def _discovered(world: Api, sample: Sample) -> None:
    group, version = sample.gvr.group, sample.gvr.version
    if group:
        groups = {item["name"]: item for item in (await world.get("/apis"))["groups"]}
        assert version in [v["version"] for v in groups[group]["versions"]]
        assert (await world.get(f"/apis/{group}"))["name"] == group
    base = f"/apis/{group}/{version}" if group else f"/api/{version}"
    served = {entry["name"]: entry for entry in (await world.get(base))["resources"]}
    assert served[sample.gvr.resource]["kind"] == sample.kind
    assert served[sample.gvr.resource]["namespaced"] is sample.namespaced
    assert (f"{sample.gvr.resource}/status" in served) == (sample.status is not None)


async def _updated(world: Api, one: str) -> None:
    for _ in range(20):
        obj = await world.get(one)
        meta.ensure(obj, "metadata", "annotations")["updated"] = "true"
        answer = await world.call("PUT", one, obj)
        if answer.status != 409:
            assert answer.status == 200, answer.message
            assert meta.annotations(answer.body) == meta.annotations(obj)
            return
    raise AssertionError("somebody else writes it all the time")


async def _status(world: Api, sample: Sample, one: str, status: JSONObject) -> None:
    """The patch may carry annotations: only what the kind's strategy names is kept back."""
    assert (await world.get(f"{one}/status"))["kind"] == sample.kind
    found = await world.change(f"{one}/status", {"status": status, "metadata": {"annotations": {"patchedstatus": "true"}}})
    assert ("patchedstatus" in meta.annotations(found)) is (sample.kind not in STATUS_ALONE)
    for field, value in status.items():
        assert found["status"].get(field, []) == value, f"status.{field} is {found['status'].get(field)}"
    for _ in range(20):
        obj = await world.get(f"{one}/status")
        answer = await world.call("PUT", f"{one}/status", obj)
        if answer.status != 409:
            break
    assert answer.status == 200, answer.message
    before = (await world.get(one)).get("status")
    after = await world.change(one, {"status": None, "metadata": {"annotations": {"kept": "yes"}}})
    assert after.get("status") == before or sample.kind in ("Deployment", "ReplicaSet"), "the main endpoint keeps the status"


async def _collected(world: Api, sample: Sample, start: str) -> None:
    background = {"propagationPolicy": "Background"}  # some kinds orphan their pods by default, which takes the collector a moment
    answer = await world.call("DELETE", sample.path(NAMESPACE), query={"labelSelector": "lifecycle=first", **background})
    assert answer.status == 200, answer.message
    left = [meta.labels(item).get("lifecycle") for item in (await world.get(sample.path()))["items"] if "lifecycle" in meta.labels(item)]
    if sample.is_collected:
        assert left == ["second"]
    await world.call("DELETE", sample.path(NAMESPACE), query={"labelSelector": "lifecycle=second", **background})
    gvr, namespace = sample.gvr, NAMESPACE if sample.namespaced else ""
    seen = []
    async for event in world.client.resource(gvr).watch(namespace=namespace, resource_version=start, label_selector="lifecycle=first"):
        seen.append(event.type)
        if event.type == "DELETED" or (not sample.is_collected and len(seen) >= 2):
            break
    assert set(seen[:-1]) == {"MODIFIED"}


async def test_what_a_condition_leaves_out_is_empty_and_no_fault(world: World) -> None:
    # Go decodes into structs: the fields that the published schema requires are there, empty.
    path = "/api/v1/namespaces/default/services/web"
    await world.make("/api/v1/namespaces/default/services", {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}})
    held = await world.change(f"{path}/status", {"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
    assert held["status"]["conditions"] == [{"type": "Ready", "status": "True", "reason": "", "message": ""}]
    budget = {"metadata": {"name": "few"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "minAvailable": 1}}
    await world.make("/apis/policy/v1/namespaces/default/poddisruptionbudgets", budget)
    status = {"status": {"conditions": [{"type": "DisruptionAllowed", "status": "True"}]}}
    answer = await world.call(
        "PATCH", "/apis/policy/v1/namespaces/default/poddisruptionbudgets/few/status", status, content="application/merge-patch+json"
    )
    assert answer.status == 422
    assert "status.conditions[0].lastTransitionTime" in {field for field, _ in answer.causes}


async def test_a_namespace_has_a_status_and_finalizers_of_its_own(world: World) -> None:
    # Source: test/e2e/apimachinery/namespace.go ("should apply changes to a namespace status", "should apply a finalizer to a Namespace")
    path = "/api/v1/namespaces/n1"
    await world.make("/api/v1/namespaces", {"metadata": {"name": "n1"}})
    patched = {"type": "StatusPatch", "status": "True", "reason": "E2E", "message": "Patched by an e2e test"}
    held = await world.change(
        f"{path}/status", {"metadata": {"annotations": {"patchedstatus": "true"}}, "status": {"conditions": [patched]}}
    )
    assert (held["metadata"]["annotations"], held["status"]) == ({"patchedstatus": "true"}, {"phase": "Active", "conditions": [patched]})
    held["status"]["conditions"].append({"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Updated by an e2e test"})
    held["spec"]["finalizers"] = []
    updated = await world.call("PUT", f"{path}/status", held)
    assert [condition["type"] for condition in updated.body["status"]["conditions"]] == ["StatusPatch", "StatusUpdate"]
    assert updated.body["spec"]["finalizers"] == ["kubernetes"], "they are none of the status's"
    held = updated.body
    held["spec"]["finalizers"].append("e2e.example.com/fakeFinalizer")
    held["status"] = {"phase": "Terminating"}
    finalized = await world.call("PUT", f"{path}/finalize", held)
    assert finalized.body["spec"]["finalizers"] == ["kubernetes", "e2e.example.com/fakeFinalizer"]
    assert finalized.body["status"]["phase"] == "Active", "it is none of the finalizers'"
    await world.call("DELETE", path)
    await world.clock.advance(5)
    waiting = await world.get(path)
    assert (waiting["spec"]["finalizers"], waiting["status"]["phase"]) == (["e2e.example.com/fakeFinalizer"], "Terminating")
    waiting["spec"]["finalizers"] = []
    assert (await world.call("PUT", f"{path}/finalize", waiting)).status == 200
    assert (await world.call("GET", path)).status == 404


async def test_a_status_gets_its_defaults_when_it_is_written(world: World) -> None:
    """Source: pkg/apis/core/v1/defaults.go (SetDefaults_ServiceSpec's addresses, SetDefaults_NodeStatus)."""
    services, nodes = "/api/v1/namespaces/default/services", "/api/v1/nodes"
    spec = {"type": "LoadBalancer", "ports": [{"port": 80}]}
    await world.make(services, {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "lb"}, "spec": spec})
    told = await world.change(f"{services}/lb/status", {"status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.9"}, {"hostname": "a.b"}]}}})
    assert told["status"]["loadBalancer"]["ingress"] == [{"ip": "10.0.0.9", "ipMode": "VIP"}, {"hostname": "a.b"}]
    await world.make(nodes, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "bare"}})
    held = await world.change(f"{nodes}/bare/status", {"status": {"capacity": {"cpu": "2000m", "memory": "1024Mi"}}})
    assert held["status"]["allocatable"] == held["status"]["capacity"] == {"cpu": "2", "memory": "1Gi"}
