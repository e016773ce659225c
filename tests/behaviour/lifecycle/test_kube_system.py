"""`kube-system` is there for who asks for it, and costs nobody else anything.

Source: kcp config/universal/kube-system-namespace.yaml, test/e2e/quota/quota_test.go.
"""

from __future__ import annotations

import asyncio

import pytest
from tests.behaviour.lifecycle.town import ADA, BOB, Town

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Forbidden, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.tenancy.kinds import LOGICAL_CLUSTERS, MAX_TOTAL_OBJECTS, NAMESPACES, WORKSPACES

LEASES = GVR("coordination.k8s.io", "v1", "leases")
LEASE: JSONObject = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "leader"}, "spec": {}}


async def names(client: Client) -> set[str]:
    return {meta.name(namespace) for namespace in (await client.resource(NAMESPACES).list()).items}


async def test_it_comes_when_it_is_asked_for(town: Town) -> None:
    inside = town.at(user=ADA)
    assert "kube-system" not in await names(inside)
    for _ in range(2):
        with pytest.raises(NotFound):
            await inside.resource(NAMESPACES).get("kube-public")
    asked = await asyncio.gather(*(inside.resource(NAMESPACES).get("kube-system") for _ in range(5)))
    assert len({meta.uid(namespace) for namespace in asked}) == 1
    assert "kube-system" in await names(inside)


async def test_it_comes_when_something_is_put_into_it(town: Town) -> None:
    inside = town.at(user=ADA)
    assert meta.namespace(await inside.resource(LEASES).create(LEASE, namespace="kube-system")) == "kube-system"
    with pytest.raises(NotFound):
        await inside.resource(LEASES).create(LEASE, namespace="kube-public")


@pytest.mark.parametrize(("annotations", "is_made"), [({"experimental.quota.kcp.io/cluster-scoped": "true"}, True), ({}, False)])
async def test_it_comes_before_everything_in_the_workspace_is_counted(town: Town, annotations: JSONObject, *, is_made: bool) -> None:
    """Source: kcp 0.31 test/e2e/quota/quota_test.go (TestClusterScopedQuota)."""
    inside = town.at(user=ADA)
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q", "annotations": annotations}}
    quotas = inside.resource(GVR("", "v1", "resourcequotas"))
    await quotas.create({**quota, "spec": {"hard": {"count/configmaps": "2"}}}, namespace="default")
    assert ("kube-system" in await names(inside)) is is_made
    if is_made:
        expected = {"count/configmaps": "2"}
        await town.until(quotas, "q", lambda q: meta.nested(q, "status", "used") == expected, "a kube-root-ca.crt each")


async def test_who_may_not_read_it_does_not_make_it(town: Town) -> None:
    with pytest.raises(Forbidden):
        await town.at(user=BOB).resource(NAMESPACES).get("kube-system")
    with pytest.raises(Forbidden):
        await town.at(user=BOB).resource(LEASES).create(LEASE, namespace="kube-system")
    assert "kube-system" not in await names(town.at())


async def test_a_workspace_without_default_has_none(town: Town) -> None:
    await town.type("bare")
    await town.workspace("bare", "bare")
    with pytest.raises(NotFound):
        await town.at("root:town:bare", user=ADA).resource(NAMESPACES).get("kube-system")


async def test_it_does_not_keep_a_workspace_from_going(town: Town) -> None:
    await town.type("shop", extend={"with": [{"name": "universal", "path": "root"}]})
    await town.workspace("shop", "shop")
    inside = town.at("root:town:shop", user=ADA)
    await inside.resource(LEASES).create(LEASE, namespace="kube-system")
    await town.at(user=ADA).resource(WORKSPACES).delete("shop")
    await town.gone(town.at().resource(WORKSPACES), "shop")


async def test_a_full_workspace_has_none(town: Town) -> None:
    await town.type("shop", extend={"with": [{"name": "universal", "path": "root"}]})
    await town.workspace("shop", "shop")
    clusters = town.at("root:town:shop").resource(LOGICAL_CLUSTERS)
    await clusters.patch("cluster", {"metadata": {"annotations": {MAX_TOTAL_OBJECTS: "1"}}})
    with pytest.raises(NotFound):
        await town.at("root:town:shop", user=ADA).resource(NAMESPACES).get("kube-system")
