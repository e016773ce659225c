"""A workspace from creation to Ready and to its end, as its users and their tools see it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime

import pytest
from tests.behaviour.workspaces.server import ALICE, URL, Kcp, kcp_server, url_of

from kcp.aio.clock import Clock, VirtualClock
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Forbidden, InternalError, NotFound, TooManyRequests
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import ResourceClient
from kcp.registry.backend import UserInfo
from kcp.tenancy import kinds
from kcp.tenancy.home import HomeWorkspaces
from kcp.tenancy.waiting import wait_for

CONFIG_MAPS = GVR("", "v1", "configmaps")


@pytest.fixture
async def kcp() -> AsyncIterator[Kcp]:
    async with kcp_server() as made:
        yield made


def workspaces(kcp: Kcp, path: str = "root") -> ResourceClient:
    return kcp.client(ALICE).cluster(path).resource(kinds.WORKSPACES)


def workspace(name: str, **spec: object) -> JSONObject:
    return {"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "Workspace", "metadata": {"name": name}, "spec": spec}


def is_ready(obj: JSONObject) -> bool:
    return bool(meta.nested(obj, "status", "phase") == "Ready")


async def create(kcp: Kcp, path: str, name: str, **spec: object) -> JSONObject:
    resource = workspaces(kcp, path)
    await resource.create(workspace(name, **spec))
    return await wait_for(resource, name, is_ready, timeout_s=10, what=name)


async def wait_absent(resource: ResourceClient, name: str) -> None:
    selector = f"metadata.name={name}"
    present = await resource.list(field_selector=selector)
    if not present.items:
        return
    async with asyncio.timeout(10), aclosing(resource.watch(field_selector=selector, resource_version=present.resource_version)) as events:
        async for event in events:
            if event.type == "DELETED":
                return


async def test_workspace_becomes_ready_with_kcps_fields(kcp: Kcp) -> None:
    made = await create(kcp, "root", "org")
    cluster = made["spec"]["cluster"]
    assert len(cluster) == 16
    assert made["spec"]["URL"] == f"{URL}/clusters/root:org"
    assert made["spec"]["type"] == {"name": "organization", "path": "root"}
    assert meta.annotations(made)["internal.tenancy.kcp.io/cluster"] == cluster
    assert meta.annotations(made)["core.kcp.io/shard"] == "root"
    assert meta.annotations(made)["internal.tenancy.kcp.io/shard"] == "1pfxsevk", (
        "base36(sha224(root)), which kcp's test framework looks for"
    )
    assert '"username":"alice"' in meta.annotations(made)["experimental.tenancy.kcp.io/owner"]
    assert meta.finalizers(made) == ["core.kcp.io/logicalcluster"]
    assert conditions.is_true(made, "WorkspaceScheduled")
    assert conditions.is_true(made, "WorkspaceInitialized")
    assert "initializers" not in made["status"]
    labelled = await wait_for(
        workspaces(kcp), "org", lambda w: meta.labels(w).get("tenancy.kcp.io/phase") == "Ready", timeout_s=5, what="the label"
    )
    assert [k for k in meta.labels(labelled) if k.startswith("initializer.")] == []


async def test_content_of_a_new_workspace_is_initialized(kcp: Kcp) -> None:
    made = await create(kcp, "root", "org")
    inside = kcp.client().cluster("root:org")
    cluster = await inside.resource(kinds.LOGICAL_CLUSTERS).get("cluster")
    assert meta.annotations(cluster)["kcp.io/path"] == "root:org"
    assert meta.annotations(cluster)["internal.tenancy.kcp.io/type"] == "root:organization"
    assert cluster["spec"]["owner"]["name"] == "org"
    assert cluster["status"]["phase"] == "Ready"
    assert cluster["status"]["URL"] == f"{URL}/clusters/root:org"
    assert await inside.resource(kinds.NAMESPACES).get("default")
    admin = await inside.resource(kinds.CLUSTER_ROLE_BINDINGS).get("workspace-admin")
    assert [s["name"] for s in admin["subjects"]] == ["alice"]
    bindings = (await inside.resource(kinds.API_BINDINGS).list()).items
    assert {b["spec"]["reference"]["export"]["name"] for b in bindings} == {"tenancy.kcp.io", "topology.kcp.io"}
    assert all(meta.name(b).rpartition("-")[0] == b["spec"]["reference"]["export"]["name"] for b in bindings)
    assert kcp.index.resolve("root:org") == made["spec"]["cluster"]


async def test_children_are_reached_by_path_and_by_cluster_name(kcp: Kcp) -> None:
    org = await create(kcp, "root", "org")
    await create(kcp, "root:org", "team")
    inside = kcp.client().cluster("root:org:team").resource(CONFIG_MAPS)
    await inside.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "default"}})
    same = kcp.client().cluster(f"{org['spec']['cluster']}:team").resource(CONFIG_MAPS)
    assert meta.name(await same.get("x", namespace="default")) == "x"
    with pytest.raises(NotFound):
        await kcp.client().cluster("root:org").resource(CONFIG_MAPS).get("x", namespace="default")


async def test_unknown_path_is_refused_clearly(kcp: Kcp) -> None:
    with pytest.raises(Forbidden, match='workspace "root:nope" not found or not accessible'):
        await kcp.client().cluster("root:nope").resource(CONFIG_MAPS).list()


async def test_deleted_workspace_takes_its_tree_along(kcp: Kcp) -> None:
    org = await create(kcp, "root", "org")
    team = await create(kcp, "root:org", "team")
    inside = kcp.client().cluster("root:org:team").resource(CONFIG_MAPS)
    await inside.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "default"}})
    await workspaces(kcp).delete("org")
    await wait_absent(workspaces(kcp), "org")
    left = {
        key
        for item in (await kcp.store.list(b"/registry/")).items
        for key in (item.key.decode(),)
        if any(f"/{c['spec']['cluster']}/" in key for c in (org, team))
    }
    assert left == set()
    assert kcp.index.resolve("root:org") is None


async def test_deletion_waits_for_finalizers_and_says_so(kcp: Kcp) -> None:
    org = await create(kcp, "root", "org")
    inside = kcp.client().cluster(org["spec"]["cluster"])
    held = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "default", "finalizers": ["example.com/hold"]}}
    await inside.resource(CONFIG_MAPS).create(held)
    await workspaces(kcp).delete("org")
    clusters = inside.resource(kinds.LOGICAL_CLUSTERS)
    cluster = await wait_for(
        clusters, "cluster", lambda c: conditions.is_false(c, "WorkspaceContentDeleted"), timeout_s=10, what="the condition"
    )
    condition = conditions.get(cluster, "WorkspaceContentDeleted")
    assert condition is not None
    assert "configmaps has 1 resource instances; held by finalizers: example.com/hold" in condition["message"]
    await inside.resource(CONFIG_MAPS).patch("x", {"metadata": {"finalizers": None}}, namespace="default")
    await wait_absent(workspaces(kcp), "org")


async def test_workspace_waits_for_its_bindings_and_says_for_what(kcp: Kcp) -> None:
    kcp.unbindable.add("topology.kcp.io")
    await workspaces(kcp).create(workspace("slow"))
    waiting = await wait_for(
        workspaces(kcp), "slow", lambda w: meta.nested(w, "status", "initializers") == ["system:apibindings"], timeout_s=10, what="slow"
    )
    assert waiting["status"]["phase"] == "Initializing"
    condition = conditions.get(waiting, "WorkspaceInitialized")
    assert condition is not None
    assert condition["reason"] == "InitializerExists"
    cluster = ClusterName(waiting["spec"]["cluster"])
    resource = kcp.client().cluster(cluster).resource(kinds.API_BINDINGS)
    stuck = next(b for b in (await resource.list()).items if b["spec"]["reference"]["export"]["name"] == "topology.kcp.io")
    await resource.patch(meta.name(stuck), {"status": {"phase": "Bound"}}, subresource="status")
    await wait_for(workspaces(kcp), "slow", is_ready, timeout_s=10, what="slow")


async def test_workspace_without_matching_shard_waits_for_one(kcp: Kcp) -> None:
    await workspaces(kcp).create(workspace("eu", location={"selector": {"matchLabels": {"region": "eu"}}}))
    waiting = await wait_for(workspaces(kcp), "eu", lambda w: conditions.is_false(w, "WorkspaceScheduled"), timeout_s=10, what="eu")
    condition = conditions.get(waiting, "WorkspaceScheduled")
    assert condition is not None
    assert condition["reason"] == "Unschedulable"
    await kcp.client().cluster("root").resource(kinds.SHARDS).patch("root", {"metadata": {"labels": {"region": "eu"}}})
    await wait_for(workspaces(kcp), "eu", is_ready, timeout_s=10, what="eu")


async def test_initializer_of_ones_own_holds_the_workspace(kcp: Kcp) -> None:
    types = kcp.client().cluster("root").resource(kinds.WORKSPACE_TYPES)
    spec = {"initializer": True, "extend": {"with": [{"name": "universal", "path": "root"}]}, "additionalWorkspaceLabels": {"tier": "gold"}}
    await types.create({"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "WorkspaceType", "metadata": {"name": "mine"}, "spec": spec})
    await workspaces(kcp).create(workspace("held", type={"name": "mine"}))
    waiting = await wait_for(
        workspaces(kcp), "held", lambda w: meta.nested(w, "status", "initializers") == ["root:mine"], timeout_s=10, what="held"
    )
    assert meta.labels(waiting)["tier"] == "gold"
    cluster = kcp.client().cluster(waiting["spec"]["cluster"]).resource(kinds.LOGICAL_CLUSTERS)
    await cluster.patch("cluster", {"status": {"initializers": []}}, subresource="status")
    await wait_for(workspaces(kcp), "held", is_ready, timeout_s=10, what="held")


async def test_home_workspace_is_made_on_first_sight(kcp: Kcp) -> None:
    home = await workspaces(kcp).get("~")
    assert home["spec"]["URL"] == f"{URL}/clusters/user:alice"
    assert home["status"]["phase"] == "Ready"
    assert (await workspaces(kcp).get("~"))["spec"]["cluster"] == home["spec"]["cluster"]
    assert await kcp.client().cluster("user:alice").resource(kinds.NAMESPACES).get("default")


def has_urls(type_: JSONObject) -> bool:
    return conditions.is_true(type_, kinds.VIRTUAL_WORKSPACE_URLS_READY)


async def test_a_home_that_takes_long_is_asked_for_again_and_given_up_in_the_end(kcp: Kcp) -> None:
    async def everybody(user: UserInfo) -> bool:
        return True

    def homes(clock: Clock) -> HomeWorkspaces:
        return HomeWorkspaces(kcp.client(), kcp.types, url_of, kcp.index.expect, clock, everybody, patience_s=0.05)

    kcp.unbindable.add("tenancy.kcp.io")
    with pytest.raises(TooManyRequests) as asked:
        await homes(VirtualClock()).get(ALICE)
    assert asked.value.retry_after_s == 1
    late = VirtualClock(datetime(2999, 1, 1, tzinfo=UTC))
    with pytest.raises(InternalError, match="home workspace creation timeout"):
        await homes(late).get(ALICE)


async def test_second_start_writes_nothing(kcp: Kcp) -> None:
    from kcp.tenancy.bootstrap.content import BootstrapOptions
    from kcp.tenancy.bootstrap.run import bootstrap

    types = kcp.client().cluster("root").resource(kinds.WORKSPACE_TYPES)
    for found in (await types.list()).items:  # their status is the last thing that a first start brings about
        await wait_for(types, meta.name(found), has_urls, timeout_s=10.0, what=meta.name(found))
    before = await kcp.store.current_revision()
    await bootstrap(kcp.client(), BootstrapOptions(shard_base_url=URL))
    assert await kcp.store.current_revision() == before


async def test_compute_workspace_is_bootstrapped_with_tmc() -> None:
    from kcp.tenancy.bootstrap.content import BootstrapOptions

    async with kcp_server(options=BootstrapOptions(shard_base_url=URL, tmc=True)) as kcp:
        compute = await kcp.client().cluster("root").resource(kinds.WORKSPACES).get("compute")
        assert is_ready(compute)
        bindings = (await kcp.client().cluster("root:compute").resource(kinds.API_BINDINGS).list()).items
        assert "kubernetes" not in {b["spec"]["reference"]["export"]["name"] for b in bindings}
