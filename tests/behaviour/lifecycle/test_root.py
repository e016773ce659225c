"""What stands in `root` from the first start on, and what that means for users of every workspace.

Source: kcp config/root, config/root-phase0, pkg/authorization/bootstrap/policy.go.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.behaviour.lifecycle.town import ADA, Town

from kcp.aio.clock import SystemClock
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Forbidden
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.client.inprocess import AsgiTransport
from kcp.client.transport import RawRequest
from kcp.exports.names import BINDINGS, EXPORTS
from kcp.registry.backend import UserInfo
from kcp.server.compose import run_server
from kcp.server.options import Options
from kcp.server.tmcoptions import TMCOptions
from kcp.tenancy.kinds import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, LOGICAL_CLUSTERS, NAMESPACES, SHARDS, WORKSPACE_TYPES, WORKSPACES

ADMINISTRATOR = UserInfo("kcp-admin", ("system:kcp:admin", "system:authenticated"))
EXTERNAL = UserInfo("proxy", ("system:kcp:external-logical-cluster-admin", "system:authenticated"))
NEGOTIATED = GVR("apiresource.kcp.io", "v1alpha1", "negotiatedapiresources")
ACCOUNTS = GVR("", "v1", "serviceaccounts")


async def test_the_shard_types_apis_and_roles_are_there(town: Town) -> None:
    root = town.at("root", user=ADMINISTRATOR)
    shard = await root.resource(SHARDS).get("root")
    assert meta.labels(shard)["name"] == "root"
    assert shard["spec"]["baseURL"] == shard["spec"]["externalURL"] == shard["spec"]["virtualWorkspaceURL"] == town.server.admin.server
    types = {meta.name(t) for t in (await root.resource(WORKSPACE_TYPES).list()).items}
    assert types == {"root", "universal", "organization", "team", "home"}
    exports = (await root.resource(EXPORTS).list()).items
    assert {meta.name(e) for e in exports} == {"tenancy.kcp.io", "topology.kcp.io", "shards.core.kcp.io"}
    assert all(conditions.is_true(e, "IdentityValid") for e in exports)
    assert {b["status"]["phase"] for b in (await root.resource(BINDINGS).list()).items} == {"Bound"}
    cluster = await root.resource(LOGICAL_CLUSTERS).get("cluster")
    assert (meta.annotations(cluster)["kcp.io/path"], cluster["status"]["phase"]) == ("root", "Ready")
    namespaces = {meta.name(n) for n in (await root.resource(NAMESPACES).list()).items}
    assert {"default", "kcp-system"} <= namespaces
    roles = {meta.name(r) for r in (await root.resource(CLUSTER_ROLES).list()).items}
    assert roles >= {
        "system:kcp:apiexport:tenancy:bind", "system:kcp:apiexport:topology:bind", "system:kcp:apiexport:shards:bind",
        "system:kcp:apiexport:tenancy:maximal-permission-policy", "system:kcp:apiexport:kcp-admin:maximal-permission-policy",
        "system:kcp:universal-workspacetype-use", "system:kcp:metrics-reader",
    }  # fmt: skip


async def test_administrators_of_a_workspace_do_not_write_the_status_of_what_root_exports(town: Town) -> None:
    await town.type("shop")
    await town.workspace("shop", "shop")
    ready = {"status": {"phase": "Unavailable"}}
    for resource, name in ((WORKSPACES, "shop"), (WORKSPACE_TYPES, "shop")):
        with pytest.raises(Forbidden, match=rf'cannot patch resource "{resource.resource}/status"'):
            await town.at(user=ADA).resource(resource).patch(name, ready, subresource="status")
        assert await town.at(user=ADA).resource(resource).get(name)
    await town.at(user=ADA).resource(WORKSPACES).patch("shop", {"metadata": {"labels": {"a": "b"}}})
    touched: JSONObject = {"status": {"conditions": []}}
    assert await town.at(user=ADMINISTRATOR).resource(WORKSPACE_TYPES).patch("shop", touched, subresource="status")


async def test_nor_of_negotiated_apis(tmp_path: Path) -> None:
    """Source: kcp 0.11 config/root/clusterrole-apiresource-maximal-permission-policy.yaml."""
    options = Options(root_directory=tmp_path, in_memory=True, tmc=TMCOptions(enabled=True))
    async with run_server(options, clock=SystemClock(), with_socket=False) as running:
        town = Town(running)
        await town.open()
        spec = {"groupVersion": {"group": "example.com", "version": "v1"}, "plural": "tools", "kind": "Tool", "scope": "Namespaced"}
        imports = {"apiVersion": NEGOTIATED.api_version, "kind": "NegotiatedAPIResource", "metadata": {"name": "tools.v1.example.com"}}
        held = town.at(user=ADA).resource(NEGOTIATED)
        await held.create({**imports, "spec": {**spec, "publish": False, "openAPIV3Schema": {"type": "object"}}})
        with pytest.raises(Forbidden, match=r"cannot patch resource \"negotiatedapiresources/status\""):
            await held.patch("tools.v1.example.com", {"status": {}}, subresource="status")
        named = {"metadata": {"labels": {"a": "b"}}}
        assert meta.labels(await held.patch("tools.v1.example.com", named)) == {"a": "b"}


async def test_metrics_are_for_readers_of_them(town: Town) -> None:
    reader = UserInfo("prometheus", ("system:authenticated",))

    async def ask(path: str) -> int:
        return (await AsgiTransport(town.server.app, reader).request(RawRequest("GET", path))).status

    assert await ask("/metrics") == 403
    subject = {"apiGroup": CLUSTER_ROLES.group, "kind": "User", "name": "prometheus"}
    role = {"apiGroup": CLUSTER_ROLES.group, "kind": "ClusterRole", "name": "system:kcp:metrics-reader"}
    binding = {"apiVersion": CLUSTER_ROLES.api_version, "kind": "ClusterRoleBinding", "metadata": {"name": "metrics"}}
    await town.at("root").resource(CLUSTER_ROLE_BINDINGS).create({**binding, "roleRef": role, "subjects": [subject]})
    assert await ask("/metrics") == 200


async def test_external_administrators_of_logical_clusters_may_what_upstreams_may(town: Town) -> None:
    await town.type("shop", extend={"with": [{"name": "universal", "path": "root"}]})
    await town.workspace("shop", "shop")
    inside = town.at("root:town:shop", user=EXTERNAL)
    assert await inside.resource(LOGICAL_CLUSTERS).get("cluster")
    assert await inside.resource(ACCOUNTS).get("default", namespace="default")
    assert await inside.resource(GVR("apis.kcp.io", "v1alpha1", "apiexportendpointslices")).list()
    with pytest.raises(Forbidden):
        await inside.resource(ACCOUNTS).list()
    with pytest.raises(Forbidden):
        await inside.resource(NAMESPACES).list()


async def test_a_workspace_waits_for_a_shard(town: Town) -> None:
    """Source: kcp test/e2e/reconciler/workspace/controller_test.go."""
    root = town.at("root", user=ADMINISTRATOR)
    shards, workspaces = root.resource(SHARDS), root.resource(WORKSPACES)
    held = await shards.get("root")
    await shards.delete_collection()
    spec = {"type": {"name": "universal", "path": "root"}}
    await workspaces.create({"apiVersion": WORKSPACES.api_version, "kind": "Workspace", "metadata": {"name": "steve"}, "spec": spec})
    waiting = await town.until(workspaces, "steve", lambda w: conditions.is_false(w, "WorkspaceScheduled"), "the condition")
    told = conditions.get(waiting, "WorkspaceScheduled")
    assert told is not None
    assert told["reason"] == "Unschedulable"
    base = held["spec"]["baseURL"]
    made = await shards.create({**held, "metadata": {"name": "root", "labels": meta.labels(held)}, "spec": {"baseURL": base}})
    assert made["spec"] == {"baseURL": base, "externalURL": base, "virtualWorkspaceURL": base}
    scheduled = await town.until(workspaces, "steve", lambda w: conditions.is_true(w, "WorkspaceScheduled"), "the shard")
    assert scheduled["spec"]["URL"] == f"{base}/clusters/root:steve"
