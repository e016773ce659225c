"""Catalogs: priority of sources, hiding, versions."""

from __future__ import annotations

from tests.unit.registry.crds import established

from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.keys import ClusterName
from kcp.registry.builtin import CLUSTER_KINDS, WORKSPACE_KINDS, builtin_resources
from kcp.registry.catalog import DynamicCatalog, StaticCatalog
from kcp.registry.crd import LocalCRDSource
from kcp.registry.resource import Origin

A, B = ClusterName("a"), ClusterName("b")
CONFIG_MAPS = GVR("", "v1", "configmaps")


def test_static_catalog_serves_the_same_everywhere() -> None:
    catalog = StaticCatalog(builtin_resources(CLUSTER_KINDS))
    found = catalog.resolve(A, GVR("apps", "v1", "deployments"))
    assert found is not None
    assert found is catalog.resolve(B, GVR("apps", "v1", "deployments"))
    assert catalog.resolve(A, GVR("apps", "v1beta1", "deployments")) is None
    assert len({r.gvr for r in catalog.resources(A)}) == len(catalog.resources(A))


def test_earlier_source_wins_and_hides_other_versions_of_the_name() -> None:
    local = LocalCRDSource()
    local.changed(A, "configmaps.core", established("configmaps", "ConfigMap", group="", versions=("v1", "v2")))
    catalog = DynamicCatalog([StaticCatalog(builtin_resources(WORKSPACE_KINDS)), local])
    found = catalog.resolve(A, CONFIG_MAPS)
    assert found is not None
    assert found.origin is Origin.BUILTIN
    listed = [r for r in catalog.resources(A) if r.group_resource == GroupResource("", "configmaps")]
    assert listed == [found]


def test_version_changes_with_the_cluster_that_changed_only() -> None:
    local = LocalCRDSource()
    catalog = DynamicCatalog([StaticCatalog([]), local])
    before = catalog.version(A), catalog.version(B)
    local.changed(A, "widgets.example.com", established("widgets", "Widget"))
    assert catalog.version(A) != before[0]
    assert catalog.version(B) == before[1]
