"""The end of workspaces and logical clusters: what they wait for is said, and nothing stays stuck once its cause is gone.

Source: kcp test/e2e/workspace/deletion_test.go, pkg/reconciler/core/logicalclusterdeletion, pkg/admission/logicalcluster.
"""

from __future__ import annotations

import pytest
from tests.behaviour.lifecycle.town import ADA, CONFIG_MAPS, Town, config_map, phase

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Forbidden, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.client.rest import Client
from kcp.registry.backend import UserInfo
from kcp.tenancy.kinds import LOGICAL_CLUSTERS, NAMESPACES, WORKSPACE_TYPES, WORKSPACES

ADMINISTRATOR = UserInfo("kcp-admin", ("system:kcp:admin", "system:authenticated"))
CRDS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")
HOLD = "example.com/hold"


@pytest.fixture
async def shop(town: Town) -> Client:
    await town.type("shop", extend={"with": [{"name": "universal", "path": "root"}]})
    await town.workspace("shop", "shop")
    return town.at("root:town:shop")


async def test_a_foreign_finalizer_holds_the_cluster_and_with_it_the_workspace(town: Town, shop: Client) -> None:
    clusters, workspaces = shop.resource(LOGICAL_CLUSTERS), town.at(user=ADA).resource(WORKSPACES)
    held = await clusters.get("cluster")
    await clusters.patch("cluster", {"metadata": {"finalizers": [*meta.finalizers(held), HOLD]}})
    await workspaces.delete("shop")
    emptied = await town.until(clusters, "cluster", lambda c: meta.finalizers(c) == [HOLD], "the content's end")
    assert meta.deletion_timestamp(emptied)
    workspace = await workspaces.get("shop")
    assert meta.deletion_timestamp(workspace)
    assert meta.finalizers(workspace) == ["core.kcp.io/logicalcluster"]
    await clusters.patch("cluster", {"metadata": {"finalizers": []}})
    await town.gone(town.at().resource(WORKSPACES), "shop")
    with pytest.raises(NotFound):
        await town.at("root:town:shop", user=ADMINISTRATOR).resource(LOGICAL_CLUSTERS).get("cluster")


async def test_both_say_what_remains_and_for_whom(town: Town, shop: Client) -> None:
    obj = config_map("held")
    await shop.resource(CONFIG_MAPS).create({**obj, "metadata": {**obj["metadata"], "finalizers": [HOLD]}})
    await town.at(user=ADA).resource(WORKSPACES).delete("shop")
    for resource, name in ((shop.resource(LOGICAL_CLUSTERS), "cluster"), (town.at().resource(WORKSPACES), "shop")):
        waiting = await town.until(resource, name, lambda o: conditions.is_false(o, "WorkspaceContentDeleted"), name)
        told = conditions.get(waiting, "WorkspaceContentDeleted")
        assert told is not None
        assert told["reason"] == "SomeFinalizersRemain"
        assert "namespaces has 1 resource instances" in told["message"] or "configmaps has 1 resource instances" in told["message"]
        await town.until(resource, name, lambda o: phase(o) == "Deleting", name)
    with pytest.raises(Forbidden):
        await shop.resource(CONFIG_MAPS).create(config_map("late"))
    await shop.resource(CONFIG_MAPS).patch("held", {"metadata": {"finalizers": None}}, namespace="default")
    await town.gone(town.at().resource(WORKSPACES), "shop")


async def test_custom_objects_that_nobody_finishes_can_be_let_go(town: Town, shop: Client) -> None:
    """Their operator is gone, and its definition is deleted with the workspace."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    names = {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    spec = {"group": "example.com", "names": names, "scope": "Cluster", "versions": [version]}
    crd = {"apiVersion": CRDS.api_version, "kind": "CustomResourceDefinition", "metadata": {"name": "things.example.com"}, "spec": spec}
    await shop.resource(CRDS).create(crd)
    await town.until(shop.resource(CRDS), "things.example.com", lambda c: conditions.is_true(c, "Established"), "the definition")
    things = shop.resource(GVR("example.com", "v1", "things"))
    await things.create({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t", "finalizers": [HOLD]}})
    await town.at(user=ADA).resource(WORKSPACES).delete("shop")
    clusters = shop.resource(LOGICAL_CLUSTERS)
    waiting = await town.until(clusters, "cluster", lambda c: conditions.is_false(c, "WorkspaceContentDeleted"), "what remains")
    told = conditions.get(waiting, "WorkspaceContentDeleted")
    assert told is not None
    assert HOLD in told["message"]
    await things.patch("t", {"metadata": {"finalizers": None}})
    await town.gone(town.at().resource(WORKSPACES), "shop")


async def test_a_cluster_is_deleted_directly_only_where_it_says_so(town: Town, shop: Client) -> None:
    inside = town.at("root:town:shop", user=ADA).resource(LOGICAL_CLUSTERS)
    with pytest.raises(Forbidden, match="delete its Workspace in the parent workspace"):
        await inside.delete("cluster")
    await shop.resource(LOGICAL_CLUSTERS).patch("cluster", {"spec": {"directlyDeletable": True}})
    await inside.delete("cluster")
    await town.gone(town.at().resource(WORKSPACES), "shop")


async def test_a_tree_goes_at_once_whatever_type_is_gone_before(town: Town, shop: Client) -> None:
    children = shop.resource(WORKSPACES)
    for name in ("a", "b"):
        spec = {"type": {"name": "universal", "path": "root"}}
        await children.create({"apiVersion": WORKSPACES.api_version, "kind": "Workspace", "metadata": {"name": name}, "spec": spec})
        await town.until(children, name, lambda w: phase(w) == "Ready", name)
    await town.at().resource(WORKSPACE_TYPES).delete("shop")
    await town.at(user=ADA).resource(WORKSPACES).delete("shop")
    await town.gone(town.at().resource(WORKSPACES), "shop")
    assert town.server.foundation.index.resolve("root:town:shop:a") is None


async def test_the_default_namespace_stays_as_long_as_its_workspace(town: Town, shop: Client) -> None:
    with pytest.raises(Forbidden):
        await town.at("root:town:shop", user=ADA).resource(NAMESPACES).delete("default")


async def test_a_workspace_that_comes_again_under_its_name_is_another_one(town: Town, shop: Client) -> None:
    await shop.resource(CONFIG_MAPS).create(config_map("old"))
    first = await town.at().resource(WORKSPACES).get("shop")
    await town.at(user=ADA).resource(WORKSPACES).delete("shop")
    await town.gone(town.at().resource(WORKSPACES), "shop")
    second = await town.workspace("shop", "shop")
    assert second["spec"]["cluster"] != first["spec"]["cluster"]
    with pytest.raises(NotFound):
        await town.at("root:town:shop", user=ADA).resource(CONFIG_MAPS).get("old", namespace="default")


async def test_of_a_cluster_that_is_gone_nothing_is_left(town: Town, shop: Client) -> None:
    """Whoever administers the server looks there by its name."""
    name = meta.cluster(await shop.resource(LOGICAL_CLUSTERS).get("cluster"))
    await shop.resource(CONFIG_MAPS).create(config_map("x"))
    await town.at(user=ADA).resource(WORKSPACES).delete("shop")
    await town.gone(town.at().resource(WORKSPACES), "shop")
    for resource in (NAMESPACES, CONFIG_MAPS, LOGICAL_CLUSTERS):
        assert (await town.at(name).resource(resource).list()).items == []
    with pytest.raises(NotFound):
        await town.at(name).resource(WORKSPACES).list()
