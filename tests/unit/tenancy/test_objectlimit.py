"""The limit on all objects of a logical cluster: whose it is, what it lets pass, what it says."""

from __future__ import annotations

import pytest

from kcp.apimachinery.errors import Forbidden
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.registry.backend import Attributes, Scope, UserInfo
from kcp.registry.builtin import builtin_resources
from kcp.tenancy.logicalcluster.index import ClusterRecord, WorkspaceIndex
from kcp.tenancy.logicalcluster.objectlimit import ObjectLimit

TEAM = ClusterName("2lpvmbh5xyj8ljfs")


def record(cluster: ClusterName = TEAM, *, annotation: str = "", phase: str = "Ready") -> ClusterRecord | None:
    index = WorkspaceIndex()
    annotations = {"core.kcp.io/max-total-objects": annotation} if annotation else {}
    obj: JSONObject = {"metadata": {"name": "cluster", "annotations": annotations}, "status": {"phase": phase}}
    index.on_logical_cluster(ObjectKey(cluster, "", "cluster"), None, obj)
    return index.record(cluster)


def limit(held: ClusterRecord | None, count: int, *, default: int = 0) -> ObjectLimit:
    async def counted(_cluster: ClusterName) -> int:
        return count

    return ObjectLimit(lambda _cluster: held, counted, default)


def creation(resource: GroupResource, name: str = "x", cluster: ClusterName = TEAM) -> Attributes:
    return Attributes("CREATE", Scope(builtin_resources([resource])[0], cluster, "default", name), UserInfo("a"), {}, None)


MAPS = GroupResource("", "configmaps")


async def test_a_full_cluster_refuses_with_count_and_limit() -> None:
    with pytest.raises(Forbidden) as refused:
        await limit(record(annotation="40"), 40).check(creation(MAPS))
    assert refused.value.message == (
        'configmaps "x" is forbidden: logical cluster "2lpvmbh5xyj8ljfs" has reached its total object count limit (40/40 objects); '
        "delete objects to free up capacity"
    )
    await limit(record(annotation="40"), 39).check(creation(MAPS))


@pytest.mark.parametrize("annotation", ["0", "-1"])
async def test_the_annotation_wins_over_the_default(annotation: str) -> None:
    await limit(record(annotation=annotation), 100, default=10).check(creation(MAPS))
    for said in ("", "many"):
        with pytest.raises(Forbidden):
            await limit(record(annotation=said), 100, default=10).check(creation(MAPS))


@pytest.mark.parametrize("cluster", ["root", "system:admin"])
async def test_the_default_spares_the_servers_own_clusters(cluster: str) -> None:
    name = ClusterName(cluster)
    await limit(record(name), 100, default=10).check(creation(MAPS, cluster=name))
    with pytest.raises(Forbidden):
        await limit(record(name, annotation="5"), 100).check(creation(MAPS, cluster=name))


async def test_what_a_workspace_begins_with_and_events_pass() -> None:
    full = limit(record(annotation="1"), 5)
    rbac = GroupResource("rbac.authorization.k8s.io", "clusterrolebindings")
    for allowed in (creation(GroupResource("", "events")), creation(rbac, "workspace-admin")):
        await full.check(allowed)
    with pytest.raises(Forbidden):
        await full.check(creation(rbac, "mine"))
    for held in (record(annotation="1", phase="Initializing"), None):
        await limit(held, 5).check(creation(MAPS))
