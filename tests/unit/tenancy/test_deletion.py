"""Emptying a logical cluster: what is deleted in which order, and what is said about the rest."""

from __future__ import annotations

from dataclasses import dataclass

from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.tenancy.logicalcluster.deletion import Remaining, Stage, deletable


@dataclass(frozen=True)
class Served:
    gvr: GVR
    namespaced: bool = False
    verbs: tuple[str, ...] = ("list", "delete", "deletecollection")


def test_bindings_come_after_objects_and_rbac_last() -> None:
    served = [
        Served(GVR("rbac.authorization.k8s.io", "v1", "clusterroles")),
        Served(GVR("apis.kcp.io", "v1alpha1", "apibindings")),
        Served(GVR("apis.kcp.io", "v1alpha2", "apibindings")),
        Served(GVR("tenancy.kcp.io", "v1alpha1", "workspaces")),
        Served(GVR("core.kcp.io", "v1alpha1", "logicalclusters")),
        Served(GVR("authorization.k8s.io", "v1", "subjectaccessreviews"), verbs=("create",)),
        Served(GVR("", "v1", "configmaps"), namespaced=True),
        Served(GVR("", "v1", "namespaces")),
    ]
    assert [(Stage.of(r).name, r.gvr.resource) for r in deletable(served)] == [
        ("CLUSTER", "namespaces"),
        ("CLUSTER", "workspaces"),
        ("NAMESPACED", "configmaps"),
        ("BINDINGS", "apibindings"),
        ("RBAC", "clusterroles"),
    ]


def test_each_resource_is_taken_once_whatever_its_versions() -> None:
    both = [Served(GVR("apis.kcp.io", v, "apiexports")) for v in ("v1alpha1", "v1alpha2")]
    assert len(deletable(both)) == 1


def test_message_names_resources_and_finalizers() -> None:
    remaining = Remaining()
    assert not remaining
    remaining.add(GroupResource("", "configmaps"), [{"metadata": {"finalizers": ["x/hold"]}}, {"metadata": {}}])
    assert remaining
    assert (
        remaining.message()
        == "Some resources are remaining: configmaps has 2 resource instances; held by finalizers: x/hold in 1 instances"
    )
